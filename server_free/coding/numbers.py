"""The codings of floating numbers, by the name under which the wire states them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..draws import Words
from ..errors import WireError
from .block_int8 import BlockInt8
from .half import BFloat16, Float16

__all__ = ["NAMES", "Numbers", "numbers"]

Array = NDArray[np.generic]


class Numbers(Protocol):
    """One way to write floating numbers in fewer bytes.

    ``dtype`` is that of the array on the wire, ``coarse`` whether trainings that exchange such
    numbers end at an error that the user has to accept, ``effect`` how far a number moves.
    """

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> np.dtype[np.generic]: ...

    @property
    def coarse(self) -> bool: ...

    @property
    def effect(self) -> str: ...

    def size(self, count: int) -> int:
        """Return how many elements the array on the wire has for ``count`` numbers."""

    def encode(self, values: Array, bits: Words | None) -> Array:
        """Return the coded (count,) floats, (size(count),) of ``dtype``.

        With ``bits``, a stream of random words, numbers are rounded at random so that their mean
        is exact, else to nearest. Raises ``OverflowError`` naming the largest magnitude allowed
        for a value beyond it.
        """

    def decode(self, coded: Array, count: int, dtype: np.dtype[np.generic]) -> Array:
        """Return the (count,) numbers in a floating ``dtype``; any bytes give some numbers."""


_ALL: dict[str, Numbers] = {one.name: one for one in (Float16(), BFloat16(), BlockInt8())}
NAMES = tuple(_ALL)


def numbers(name: str) -> Numbers:
    """Return the coding of this name; ``WireError`` if there is none."""
    if name not in _ALL:
        raise WireError(f"the coding of numbers is {name!r}, known are {[*_ALL]}")
    return _ALL[name]
