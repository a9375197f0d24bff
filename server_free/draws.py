"""Draws: random numbers that are a function of a seed, a round and a purpose, for ever.

The bits are those of Philox4x64-10 (Salmon et al. 2011), whose stream numpy guarantees. What is
made of them here uses whole numbers, comparisons and products only, no logarithms and the like,
so that no version of a library and no processor draws another number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .counts import as_count
from .errors import PlanError

__all__ = ["Words", "below", "check_seed", "one_by_one", "sample", "shuffled", "uniforms", "words"]

Words = Callable[[int], NDArray[np.uint64]]
"""``count -> (count,) uint64``: the next words of one stream, uniform and independent."""

_LOW = (1 << 64) - 1


def words(seed: int, round: int, purpose: str) -> Words:
    """Return the stream of Philox4x64-10 with key H(purpose, seed) and a counter led by the round.

    Streams of different seeds, rounds or purposes are independent. How the words are asked for,
    one or many at a time, does not change them.
    """
    digest = hashlib.sha256(f"flwr-gossip {purpose} {seed}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    generator = np.random.Philox(counter=np.array([0, 0, 0, round], dtype=np.uint64), key=key)
    return lambda count: generator.random_raw(count)


def one_by_one(stream: Words) -> Iterator[int]:
    """Yield the words of a stream as whole numbers below 2^64."""
    while True:
        yield from stream(16).tolist()


def below(bits: Iterator[int], bound: int) -> int:
    """Return an unbiased integer in 0..bound-1 (Lemire 2019, arXiv:1805.10941, Algorithm 5)."""
    product = next(bits) * bound
    if (product & _LOW) < bound:
        threshold = (1 << 64) % bound
        while (product & _LOW) < threshold:
            product = next(bits) * bound
    return product >> 64


def sample(seed: int, round: int, population: int, count: int, purpose: str) -> list[int]:
    """Draw ``count`` of ``range(population)`` without replacement, in random order, in O(count).

    A Fisher-Yates shuffle of a virtual list of which only the touched places are stored. Draws
    for different purposes are independent.
    """
    bits = one_by_one(words(seed, round, purpose))
    moved: dict[int, int] = {}
    drawn = []
    for place in range(count):
        other = place + below(bits, population - place)
        drawn.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return drawn


def shuffled(stream: Words, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the items in random order, (m,) int64: sorted by one word each, m log m at once.

    Equal words keep their order, which makes orders unequally likely by m^2 / 2^65 at most.
    """
    return items[np.argsort(stream(len(items)), kind="stable")]


def uniforms(stream: Words, count: int) -> NDArray[np.float64]:
    """Return uniform multiples of 2^-53 in [0, 1), (count,) float64: the words' upper 53 bits."""
    upper: NDArray[np.float64] = (stream(count) >> np.uint64(11)).astype(np.float64)
    return upper * 2.0**-53


def check_seed(seed: int) -> int:
    """Return the seed; ``PlanError`` unless it is a whole number that fits into a message."""
    given = as_count(seed)
    if given is None or not 0 <= given < 1 << 63:
        raise PlanError(f"seed is {seed!r}, allowed is a whole number from 0 to 2^63 - 1.")
    return given
