"""Two bytes a number: IEEE half precision, and bfloat16 without a library for it.

bfloat16 is the upper half of a float32: Google Brain's format, as in Kalamkar et al. 2019,
arXiv:1905.12322. Rounded at random, a number goes up with the probability that makes its mean
exact: random bits are added to those that are cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..draws import Words

__all__ = ["PIECE", "BFloat16", "Float16", "pieces", "sixteen_bits"]

Array = NDArray[np.generic]

PIECE = 1 << 15
"""Numbers worked on at a time."""


class Float16:
    """IEEE binary16: 11 significant bits, magnitudes up to 65504.

    To nearest a number moves by up to 2^-11 of itself, at random by less than 2^-10; near 0 by up
    to 2^-25, to nearest in both cases.
    """

    name: ClassVar[str] = "fp16"
    dtype: ClassVar[np.dtype[np.generic]] = np.dtype("<f2")
    coarse: ClassVar[bool] = False
    effect: ClassVar[str] = "each number moves by up to 0.1 % of itself"

    def size(self, count: int) -> int:
        """Return ``count``."""
        return count

    def encode(self, values: Array, bits: Words | None) -> Array:
        """Return the numbers as float16; raises ``OverflowError`` above 65504."""
        coded = np.empty(len(values), self.dtype)
        for piece in pieces(len(values)):
            with np.errstate(over="ignore"):
                if bits is None:
                    coded[piece] = values[piece]
                else:
                    whole = _as_words(values[piece])
                    whole += sixteen_bits(bits, len(whole)) >> 3
                    whole &= ~np.uint32(0x1FFF)
                    coded[piece] = whole.view(np.float32)
        if _any_of_exponent(coded.view("<u2"), 0x7C00):
            raise OverflowError("65504")
        return coded

    def decode(self, coded: Array, count: int, dtype: np.dtype[np.generic]) -> Array:
        """Return the numbers, exactly those that were sent."""
        return coded.astype(dtype)


class BFloat16:
    """bfloat16: 8 significant bits, magnitudes up to 3.38e38 as in float32.

    To nearest (ties to even) a number moves by up to 2^-8 of itself, at random by less than 2^-7.
    A float64 is rounded to float32 on the way.
    """

    name: ClassVar[str] = "bf16"
    dtype: ClassVar[np.dtype[np.generic]] = np.dtype("<u2")
    coarse: ClassVar[bool] = False
    effect: ClassVar[str] = "each number moves by up to 0.8 % of itself"

    def size(self, count: int) -> int:
        """Return ``count``."""
        return count

    def encode(self, values: Array, bits: Words | None) -> Array:
        """Return the upper halves of the numbers as float32."""
        coded = np.empty(len(values), self.dtype)
        for piece in pieces(len(values)):
            whole = _as_words(values[piece])
            whole += _half_up_to_even(whole) if bits is None else sixteen_bits(bits, len(whole))
            whole >>= 16
            coded[piece] = whole
        if _any_of_exponent(coded, 0x7F80):
            raise OverflowError("3.38e38")
        return coded

    def decode(self, coded: Array, count: int, dtype: np.dtype[np.generic]) -> Array:
        """Return the numbers, exactly those that were sent."""
        decoded = np.empty(count, dtype)
        for piece in pieces(count):
            whole = coded[piece].astype(np.uint32)
            whole <<= 16
            decoded[piece] = whole.view(np.float32)
        return decoded


def pieces(count: int) -> Iterator[slice]:
    """Yield slices of ``range(count)`` so short that what lies between stays in the cache."""
    return (slice(start, start + PIECE) for start in range(0, count, PIECE))


def sixteen_bits(bits: Words, count: int) -> NDArray[np.uint16]:
    """Return (count,) random 16-bit numbers, four of each word."""
    return bits(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]


def _as_words(values: Array) -> NDArray[np.uint32]:
    """Return the bits of the values as float32, a copy."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).view(np.uint32)


def _half_up_to_even(whole: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return what, added to each word, rounds its upper half to nearest, ties to even."""
    rounding: NDArray[np.uint32] = whole >> np.uint32(16)
    rounding &= 1
    rounding += 0x7FFF
    return rounding


def _any_of_exponent(words: Array, mask: int) -> bool:
    """Return whether any 16-bit number has all bits of its exponent set: infinite or NaN."""
    wide = words.view("<u2")
    return any(bool(((wide[piece] & mask) == mask).any()) for piece in pieces(len(wide)))
