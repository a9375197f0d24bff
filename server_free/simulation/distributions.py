"""Distributions of times and rates, and uniform numbers that belong to a node and a round.

The numbers are those of Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC 2011), computed for many counters at once: node i's numbers depend neither on
how many nodes there are nor on which others are asked, and nothing is kept between calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PlanError

__all__ = ["Choice", "Distribution", "Exponential", "LogNormal", "Uniform", "philox", "uniforms"]

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

_MULTIPLIERS = np.array([[0xCD9E8D57], [0xD2511F53]], dtype=np.uint64)  # M1, M0
_WEYL = np.array([[0x9E3779B9], [0xBB67AE85]], dtype=np.uint64)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_NUM_STEPS = 10


class Distribution(Protocol):
    """What a quantity is drawn from: any object with this method will do."""

    def draw(self, u: Floats, v: Floats) -> Floats:
        """Return one value for each pair of independent uniform numbers in (0, 1)."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """Equally likely between ``low`` and ``high``; 0 <= low <= high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check("Uniform", "low", self.low, least=0.0)
        _check("Uniform", "high", self.high, least=self.low)

    def draw(self, u: Floats, v: Floats) -> Floats:
        """Return one value for each number of ``u``."""
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True, slots=True)
class Exponential:
    """Exponential with the given mean, > 0: waiting times without memory."""

    mean: float

    def __post_init__(self) -> None:
        _check("Exponential", "mean", self.mean, above=0.0)

    def draw(self, u: Floats, v: Floats) -> Floats:
        """Return one value > 0 for each number of ``u``."""
        return -self.mean * np.log(u)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Log-normal: half the values lie below ``median`` (> 0), log(value) has deviation ``sigma``.

    About 68 % lie within a factor of exp(sigma) of the median.
    """

    median: float
    sigma: float

    def __post_init__(self) -> None:
        _check("LogNormal", "median", self.median, above=0.0)
        _check("LogNormal", "sigma", self.sigma, least=0.0)

    def draw(self, u: Floats, v: Floats) -> Floats:
        """Return one value > 0 for each pair (Box & Muller 1958)."""
        normal = np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v)
        return self.median * np.exp(self.sigma * normal)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of ``values``, with probabilities proportional to ``weights`` (equal when empty)."""

    values: Sequence[float]
    weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "weights", tuple(self.weights) or (1.0,) * len(self.values))
        if not self.values or len(self.values) != len(self.weights):
            raise PlanError(
                f"Choice has {len(self.values)} values and {len(self.weights)} weights; "
                "allowed are one value or more, and one weight for each."
            )
        for value in self.values:
            _check("Choice", "values", value, least=0.0, infinite=True)
        for weight in self.weights:
            _check("Choice", "weights", weight, least=0.0)
        _check("Choice", "the sum of weights", float(sum(self.weights)), above=0.0)

    def draw(self, u: Floats, v: Floats) -> Floats:
        """Return one value for each number of ``u``."""
        # A value of weight 0 must not be drawn, not even at the very end of (0, 1).
        held = [(x, w) for x, w in zip(self.values, self.weights, strict=True) if w > 0]
        steps = np.cumsum([weight for _, weight in held])
        places = np.searchsorted(steps[:-1], u * steps[-1], side="right")
        values: Floats = np.array([value for value, _ in held], dtype=np.float64)[places]
        return values


def uniforms(
    seed: int, purpose: str, first: ArrayLike, second: ArrayLike = 0, third: ArrayLike = 0
) -> tuple[Floats, Floats]:
    """Return two independent uniform numbers in (0, 1) for each triple of counters.

    Parameters
    ----------
    seed, purpose : int, str
        Numbers of different seeds or purposes are independent.
    first, second, third : ints from 0 to 2^32 - 1, broadcast together
        Mostly a node, a round or another node, and an index.

    Returns
    -------
    two float64 arrays of the broadcast shape
        Odd multiples of 2^-53: never 0, never 1.
    """
    counters = np.broadcast_arrays(first, second, third)
    shape = counters[0].shape
    words = np.zeros((4, counters[0].size), dtype=np.uint64)
    for word, counter in zip(words, counters, strict=False):
        word[:] = counter.ravel()
    bits = philox(words, _key(seed, purpose))
    # 52 bits: with 53 the half would be rounded, at the very end up to 1.
    u, v = ((((bits[::2] << _HALF) | bits[1::2]) >> np.uint64(12)) + 0.5) * 2.0**-52
    return u.reshape(shape), v.reshape(shape)


def philox(counters: Words, key: tuple[int, int]) -> Words:
    """Return Philox4x32-10 of (4, m) counters under one key, (4, m) words below 2^32.

    All are 32-bit words kept in uint64, so that a product holds both its halves.
    """
    even, odd = counters[::2], counters[1::2]
    bump = np.array(key, dtype=np.uint64)[:, None]
    for _ in range(_NUM_STEPS):
        # Rows reversed: (M1 * c2, M0 * c0); c0 takes the high half of the first, c1 the low half.
        product = even[::-1] * _MULTIPLIERS
        even = (product >> _HALF) ^ odd ^ bump
        odd = product & _LOW
        bump = (bump + _WEYL) & _LOW
    mixed = np.empty_like(counters)
    mixed[::2], mixed[1::2] = even, odd
    return mixed


@lru_cache(maxsize=256)
def _key(seed: int, purpose: str) -> tuple[int, int]:
    digest = hashlib.sha256(f"flwr-gossip network {purpose} {seed}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def _check(
    owner: str,
    name: str,
    value: float,
    *,
    least: float = -inf,
    above: float = -inf,
    infinite: bool = False,
) -> None:
    """Raise ``PlanError`` unless the value is a number within the limits."""
    number = isinstance(value, int | float | np.integer | np.floating)
    if number and value >= least and value > above and (infinite or value < inf):
        return
    limit = f"above {above:g}" if above > -inf else f"from {least:g}"
    size = "" if infinite else "finite "
    raise PlanError(f"{owner}: {name} is {value!r}, allowed is a {size}number {limit}.")
