"""What a model is to this package: named numpy arrays in a fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

__all__ = [
    "Model",
    "ReadOnlyModel",
    "TensorSpec",
    "check_dtypes",
    "check_finite",
    "check_signature",
    "digest",
    "num_bytes",
    "signature",
]

Model = Mapping[str, NDArray[np.generic]]
"""Tensor name -> array of any shape (0-d and empty included) and any bool, int or float dtype."""


class ReadOnlyModel(dict[str, NDArray[np.generic]]):
    """A model whose arrays nobody can change: one that is found good stays so.

    ``good_for`` is the digest of the signature for which it was found good, ``None`` before;
    ``stands_for`` the model that a coded one was found to be.
    """

    good_for: str | None = None
    stands_for: ReadOnlyModel | None = None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype (numpy name, e.g. ``"float32"``) of one tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def signature(model: Model) -> tuple[TensorSpec, ...]:
    """Return the specs of all tensors, in the model's order."""
    return tuple(_spec(name, array.shape, array.dtype) for name, array in model.items())


@lru_cache(maxsize=4096)
def _spec(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> TensorSpec:
    return TensorSpec(name, shape, dtype.name)  # the name takes numpy long to find


@lru_cache(maxsize=64)
def digest(specs: tuple[TensorSpec, ...]) -> str:
    """Return a fingerprint of a signature."""
    text = repr([(spec.name, spec.shape, spec.dtype) for spec in specs])
    return hashlib.sha256(text.encode()).hexdigest()


def num_bytes(model: Model) -> int:
    """Return the size of all buffers in bytes."""
    return sum(array.nbytes for array in model.values())


def check_signature(model: Model, expected: tuple[TensorSpec, ...], whose: str) -> None:
    """Raise ``ModelError`` naming the first tensor of ``whose`` model that is not as expected."""
    if signature(model) == expected:
        return
    names, allowed = list(model), [spec.name for spec in expected]
    if names != allowed:
        odd = sorted(set(names) ^ set(allowed)) or names
        raise ModelError(
            f"{whose} has tensors that differ from the training's in {odd[:5]}: it has "
            f"{len(names)} tensors, expected are {len(allowed)} ({allowed[:5]}...). "
            "Every node must use the same model."
        )
    for spec in expected:
        array = model[spec.name]
        if (array.shape, array.dtype.name) != (spec.shape, spec.dtype):
            raise ModelError(
                f"{whose} has {spec.name!r} of shape {array.shape} and dtype {array.dtype.name}, "
                f"expected is shape {spec.shape} and dtype {spec.dtype}. "
                "Every node must use the same model."
            )


def check_dtypes(model: Model, whose: str) -> None:
    """Raise ``ModelError`` naming the first tensor whose dtype is not bool, int or float."""
    for name, array in model.items():
        if array.dtype.kind not in "biuf":
            raise ModelError(
                f"{whose} has {name!r} of dtype {array.dtype}, allowed are bool, integer and "
                "float dtypes."
            )


def check_finite(model: Model, whose: str) -> None:
    """Raise ``ModelError`` naming the first tensor of ``whose`` model with NaN or infinity."""
    for name, array in model.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(
                f"{whose} has NaN or infinite values in {name!r}. "
                "Lower the learning rate or clip gradients."
            )
