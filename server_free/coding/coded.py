"""Coded models: again a model, whose first tensor describes how to read the others.

Each tensor keeps its name and place. One that is coded is a flat array of its coding's dtype; the
description (bytes of JSON, one entry a tensor) has ``[coding, dtype, shape]`` for it and ``null``
for one that travels as it is. A ``+`` before the coding says that the numbers are a difference, to
be added to a model that the reader has. So whatever carries models carries coded ones, counts
their true bytes, and a reader need not be told how they were made.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..draws import Words
from ..errors import ModelError, WireError
from ..models import Model, ReadOnlyModel, TensorSpec, signature
from .numbers import Numbers, numbers

__all__ = ["DESCRIPTION", "NoBase", "claimed", "coded", "decoded", "is_coded"]

Array = NDArray[Any]

DESCRIPTION = "\x1ecoding"
"""Name of the tensor that describes the others."""

FLOATS = ("float16", "float32", "float64")
MAX_DESCRIPTION = 16 << 20
MAX_DIMENSIONS = 32


class NoBase(WireError):
    """A difference came, and the model that it is to be added to is not here."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """How one tensor was coded, and what it is when decoded."""

    numbers: Numbers
    is_difference: bool
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def is_coded(model: Model) -> bool:
    """Return whether ``model`` is a coded one."""
    return DESCRIPTION in model


def coded(
    model: Model, how: Numbers, bits: Words | None = None, base: Model | None = None
) -> dict[str, Array]:
    """Return ``model`` with the floating tensors coded that get smaller by it.

    Parameters
    ----------
    model : Model
        Finite; it is not changed.
    how : Numbers
        The coding.
    bits : Words, optional
        The stream of random words by which numbers are rounded; to nearest without it.
    base : Model, optional
        With it the difference is coded of each tensor that ``base`` has with that shape and dtype.

    Raises
    ------
    ModelError
        If a number is too large for the coding, or a tensor has the description's name.
    """
    if is_coded(model):
        raise ModelError(f"a tensor has the reserved name {DESCRIPTION!r}; rename it.")
    entries: list[list[object] | None] = []
    tensors: dict[str, Array] = {}
    for name, array in model.items():
        tensors[name] = array
        if not _gets_smaller(array, how):
            entries.append(None)
            continue
        old = None if base is None else _counterpart(base, name, array.shape, array.dtype)
        tensors[name] = _coded(name, array, old, how, bits)
        label = how.name if old is None else f"+{how.name}"
        entries.append([label, array.dtype.name, [*array.shape]])
    return {DESCRIPTION: _bytes(json.dumps(entries, separators=(",", ":"))), **tensors}


def claimed(model: Model) -> tuple[TensorSpec, ...]:
    """Return the signature of the model that a coded or plain one stands for, undecoded.

    A coded model takes a fraction of the memory that it claims: look before it is decoded.
    Raises ``WireError`` as :func:`decoded`.
    """
    if not is_coded(model):
        return signature(model)
    return tuple(
        TensorSpec(name, array.shape, array.dtype.name)
        if entry is None
        else TensorSpec(name, entry.shape, entry.dtype.name)
        for name, array, entry in _described(model)
    )


def decoded(model: Model, base: Model | None = None) -> ReadOnlyModel:
    """Return the model that a coded one stands for, the same for all readers; read-only.

    Raises
    ------
    NoBase
        If it is a difference and ``base`` does not have the tensor that it is to.
    WireError
        If the description is not one, or does not fit the tensors.
    """
    return ReadOnlyModel(
        (name, array if entry is None else _decoded(name, array, entry, base))
        for name, array, entry in _described(model)
    )


def _described(model: Model) -> list[tuple[str, Array, _Entry | None]]:
    """Return the tensors with their entries, checked against each other."""
    entries = _entries(model[DESCRIPTION])
    names = [name for name in model if name != DESCRIPTION]
    if len(names) != len(entries):
        raise WireError(f"a coded model describes {len(entries)} tensors and has {len(names)}")
    for name, entry in zip(names, entries, strict=True):
        _check(name, model[name], entry)
    return [(name, model[name], entry) for name, entry in zip(names, entries, strict=True)]


def _gets_smaller(array: Array, how: Numbers) -> bool:
    if array.dtype.name not in FLOATS or array.ndim > MAX_DIMENSIONS:
        return False
    return how.size(array.size) * how.dtype.itemsize < array.nbytes


def _coded(name: str, array: Array, old: Array | None, how: Numbers, bits: Words | None) -> Array:
    values = np.ascontiguousarray(array).reshape(-1)
    if old is not None:
        values = _wide(values) - _wide(np.ascontiguousarray(old).reshape(-1))
    try:
        return how.encode(values, bits)
    except OverflowError as error:
        raise ModelError(
            f"tensor {name!r} has numbers above {error}, the largest of the codec {how.name}. "
            "Use another codec, or a smaller learning rate if the training diverges."
        ) from None


def _decoded(name: str, array: Array, entry: _Entry, base: Model | None) -> Array:
    how, dtype = entry.numbers, entry.dtype
    if not entry.is_difference:
        values = how.decode(array, entry.count, dtype)
    else:
        old = None if base is None else _counterpart(base, name, entry.shape, dtype)
        if old is None:
            raise NoBase(f"a difference came for {name!r}, to a model that is not here")
        start = _wide(np.ascontiguousarray(old).reshape(-1))
        values = (start + how.decode(array, entry.count, start.dtype)).astype(dtype, copy=False)
    values.flags.writeable = False
    return values.reshape(entry.shape)


def _wide(values: Array) -> Array:
    """Return the values in float32 at least: in what differences are taken and added."""
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)


def _counterpart(
    base: Model, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Array | None:
    old = base.get(name)
    return old if old is not None and (old.shape, old.dtype) == (shape, dtype) else None


def _check(name: str, array: Array, entry: _Entry | None) -> None:
    """Raise ``WireError`` unless the coded array is what its entry makes of it."""
    if entry is None:
        return
    wanted = (entry.numbers.size(entry.count),)
    if (array.shape, array.dtype) != (wanted, entry.numbers.dtype):
        raise WireError(
            f"tensor {name!r} of shape {entry.shape} coded as {entry.numbers.name} has the shape "
            f"{array.shape} and dtype {array.dtype}, expected are {wanted} and "
            f"{entry.numbers.dtype}"
        )


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode(), np.uint8)


def _entries(description: Array) -> tuple[_Entry | None, ...]:
    if description.dtype != np.uint8 or description.nbytes > MAX_DESCRIPTION:
        raise WireError("the description of a coded model is not one")
    return _parsed(description.tobytes())


@lru_cache(maxsize=16)
def _parsed(text: bytes) -> tuple[_Entry | None, ...]:
    try:
        content = json.loads(text)
        if not isinstance(content, list):
            raise ValueError("no list")
        return tuple(None if one is None else _entry(*one) for one in content)
    except WireError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WireError(f"the description of a coded model cannot be read: {error}") from error


def _entry(label: str, dtype: str, shape: list[int]) -> _Entry:
    if dtype not in FLOATS:
        raise WireError(f"a coded tensor has dtype {dtype!r}, allowed are {FLOATS}")
    sizes = [size for size in shape if type(size) is int and 0 <= size < 2**63]
    if len(sizes) < len(shape) or len(shape) > MAX_DIMENSIONS or not math.prod(sizes):
        raise WireError(f"a coded tensor has the impossible shape {shape!r:.100}")
    is_difference = label.startswith("+")
    how = numbers(label.removeprefix("+"))
    return _Entry(how, is_difference, np.dtype(dtype), tuple(sizes))
