"""Models as a mailbox holds them: as they were sent or, inside one process, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .codecs import DTYPES, EncodedModel, encode, encoded_bytes
from .models import Model, ReadOnlyModel, TensorSpec, signature

__all__ = ["HeldModel", "KeptModel"]


class HeldModel(Protocol):
    """What a mailbox holds: an :class:`.codecs.EncodedModel` or a :class:`KeptModel`."""

    @property
    def tensors(self) -> Sequence[TensorSpec]:
        """Names, shapes and dtypes."""

    @property
    def nbytes(self) -> int:
        """Size in bytes, as encoded."""

    def encoded(self) -> EncodedModel:
        """Return what is sent to another process."""

    def decoded(self) -> ReadOnlyModel:
        """Return the arrays; ``WireError`` when the bytes are damaged."""


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model whose readers are in this process: its arrays, which nobody can change."""

    tensors: tuple[TensorSpec, ...]
    nbytes: int
    model: ReadOnlyModel

    @staticmethod
    def of(model: Model) -> KeptModel:
        """Return ``model`` as it is now: arrays that can still change are copied.

        Raises ``ModelError`` for what :func:`.codecs.encode` refuses.
        """
        specs = signature(model)
        nbytes = encoded_bytes(specs)
        arrays = zip(specs, model.values(), strict=True)
        own = ReadOnlyModel((spec.name, _frozen(array, spec)) for spec, array in arrays)
        return KeptModel(specs, nbytes, own)

    def encoded(self) -> EncodedModel:
        """Return it as bytes."""
        return encode(self.model)

    def decoded(self) -> ReadOnlyModel:
        """Return the arrays, the same ones each time."""
        return self.model


def _frozen(array: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    dtype = DTYPES[spec.dtype]
    if array.dtype == dtype and array.flags.c_contiguous and _is_immutable(array):
        return array
    copied = np.array(array, dtype, order="C")
    copied.flags.writeable = False
    return copied


def _is_immutable(array: NDArray[np.generic]) -> bool:
    """Return whether it is a view of ``bytes``, as those of Flower's records are."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, bytes)
