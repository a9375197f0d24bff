"""One byte a number: int8 in blocks that share a scale.

As in T. Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR 2022,
arXiv:2110.02861, with evenly spaced levels. On the wire: the float32 scales of all blocks, then
one int8 a number.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..draws import Words
from .half import pieces, sixteen_bits

__all__ = ["BLOCK", "BlockInt8"]

Array = NDArray[np.generic]

BLOCK = 256
"""Numbers that share a scale: 1.6 % more bytes; larger blocks are coarser where sizes differ."""

_LEVELS = np.float32(127)
_TINY = np.float32(2.0**-100)
"""A block with no larger magnitude is coded as zeros: the inverse of its scale must be finite."""


class BlockInt8:
    """int8 times the scale of a block, which is its largest magnitude / 127.

    To nearest a number moves by up to half the scale (and 2^-100), at random by less than the
    scale, and then its mean is exact. Magnitudes up to 3.4e38 as in float32.
    """

    name: ClassVar[str] = "block-int8"
    dtype: ClassVar[np.dtype[np.generic]] = np.dtype(np.uint8)
    coarse: ClassVar[bool] = True
    effect: ClassVar[str] = (
        f"each number moves by up to 0.8 % of the largest of the {BLOCK} in its block"
    )

    def size(self, count: int) -> int:
        """Return the bytes of scales and numbers."""
        return 4 * _num_blocks(count) + count

    def encode(self, values: Array, bits: Words | None) -> Array:
        """Return scales and numbers as bytes."""
        coded = np.empty(self.size(len(values)), np.uint8)
        scales, codes = _parts(coded, len(values))
        for piece in pieces(len(values)):
            blocks = _in_blocks(values[piece])
            first = piece.start // BLOCK
            found, levels = _quantized(blocks, bits)
            scales[first : first + len(blocks)] = found
            codes[piece] = levels.reshape(-1)[: len(values) - piece.start]
        return coded

    def decode(self, coded: Array, count: int, dtype: np.dtype[np.generic]) -> Array:
        """Return level times scale, rounded once, to float32."""
        scales, codes = _parts(coded, count)
        decoded = np.empty(count, dtype)
        whole = count - count % BLOCK
        for piece in pieces(whole):
            levels = codes[:whole][piece].reshape(-1, BLOCK).astype(np.float32)
            first = piece.start // BLOCK
            levels *= scales[first : first + len(levels), None]
            decoded[:whole][piece] = levels.reshape(-1)
        if whole < count:
            decoded[whole:] = codes[whole:].astype(np.float32) * scales[-1]
        return decoded


def _num_blocks(count: int) -> int:
    return -(-count // BLOCK)


def _parts(coded: Array, count: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return the views of the scales and of the numbers."""
    split = 4 * _num_blocks(count)
    return coded[:split].view("<f4"), coded[split:].view(np.int8)


def _in_blocks(values: Array) -> NDArray[np.float32]:
    """Return the values as rows of ``BLOCK`` float32, the last one filled up with zeros."""
    with np.errstate(over="ignore"):
        if len(values) % BLOCK == 0:
            return values.astype(np.float32, copy=False).reshape(-1, BLOCK)
        blocks = np.zeros(_num_blocks(len(values)) * BLOCK, np.float32)
        blocks[: len(values)] = values
    return blocks.reshape(-1, BLOCK)


def _quantized(
    blocks: NDArray[np.float32], bits: Words | None
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return the blocks' scales, (b,), and levels, (b, BLOCK) in -127..127."""
    peaks = np.maximum(blocks.max(axis=1), -blocks.min(axis=1))
    if not np.isfinite(peaks).all():
        raise OverflowError("3.4e38")
    tiny = peaks <= _TINY
    scales = np.where(tiny, np.float32(0), peaks / _LEVELS)
    levels = blocks * np.where(tiny, np.float32(0), _LEVELS / np.maximum(peaks, _TINY))[:, None]
    if bits is None:
        np.rint(levels, out=levels)
    else:
        levels += sixteen_bits(bits, levels.size).reshape(levels.shape) * np.float32(2.0**-16)
        np.floor(levels, out=levels)
    np.clip(levels, -_LEVELS, _LEVELS, out=levels)
    return scales, levels.astype(np.int8)
