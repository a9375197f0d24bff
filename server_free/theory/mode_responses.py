"""The response of a topology whose phases share one basis: each mode is a number of its own.

Closed forms of the sums (2) and (3) of :mod:`~.responses`, so that a late round costs no more than
an early one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..topologies.base import Modes

__all__ = ["ModeResponse"]

Vector = NDArray[np.float64]
Numbers = NDArray[Any]  # complex128, or float64 where all eigenvalues are real
Counts = NDArray[np.int64]

_ROUNDING = 1e-12
_AT_ONCE = 1 << 19


@dataclass(frozen=True, slots=True)
class ModeResponse:
    """The response where all phases are diagonal in one basis: each mode v is a number.

    Parameters
    ----------
    eigenvalues : (p, m) complex128 or float64
        Of each phase, in expectation where W is random; the constant vector left out.
    energies : (p, m) float64
        ``E |W v|^2``.
    shares : (m,) float64
        How often each mode occurs, divided by the number of slots.
    is_random : bool
        Whether W is random, so that energies exceed ``|eigenvalues|^2``; p is 1 then.
    """

    eigenvalues: Numbers
    energies: Vector
    shares: Vector
    is_random: bool

    @staticmethod
    def of(phases: Sequence[Modes]) -> ModeResponse:
        """Return the response; equal modes, and complex conjugate ones, are counted once."""
        values = np.stack([modes.eigenvalues for modes in phases])
        energies = np.stack([modes.energies for modes in phases])
        values, energies = values[:, 1:], np.minimum(energies[:, 1:], 1.0)
        first = (np.abs(values.imag) > _ROUNDING).argmax(axis=0)
        mirrored = values.imag[first, np.arange(values.shape[1])] < 0
        values = np.where(mirrored, values.conj(), values)
        keys = np.concatenate([values.real, values.imag, energies]).round(13)
        _, chosen, counts = np.unique(keys, axis=1, return_index=True, return_counts=True)
        values, energies = values[:, chosen], energies[:, chosen]
        return ModeResponse(
            values.real if np.abs(values.imag).max(initial=0.0) < _ROUNDING else values,
            energies,
            counts / len(phases[0].eigenvalues),
            bool((energies - np.abs(values) ** 2 > _ROUNDING).any()),
        )

    def noise(self, rounds: Counts, rates: Vector) -> Vector:
        """Return the response to noise, (R, L), exact up to rounding, in O(R L m + p L m)."""
        periods = _Periods.of(self.energies, np.square(1.0 - rates)[:, None])
        return self._mean(periods.after, rounds, rates)

    def drift(self, rounds: Counts, rates: Vector) -> Vector:
        """Return the response to fixed differences, (R, L), as :meth:`noise`."""
        keep = (1.0 - rates)[:, None]
        if self.is_random:
            return self._mean(lambda some: self._random_drift(some, keep), rounds, rates)
        periods = _Periods.of(self.eigenvalues, keep)
        return self._mean(lambda some: np.square(np.abs(periods.after(some))), rounds, rates)

    def _mean(self, after: Callable[[Counts], Numbers], rounds: Counts, rates: Vector) -> Vector:
        """Return eta^2 times the mean over the modes of ``after(rounds)``, some rounds at once."""
        at_once = max(1, _AT_ONCE // max(1, self.shares.size * len(rates)))
        parts = [rounds[start : start + at_once] for start in range(0, len(rounds), at_once)]
        return np.concatenate([after(part) @ self.shares for part in parts]) * np.square(rates)

    def _random_drift(self, rounds: Counts, keep: Vector) -> Vector:
        """Return E |b_t|^2 of ``b_t = W_t (d b_{t-1} + u)`` for |u| = 1, independent W, (R, L, m).

        With ``x_t = E<u, b_t> = mu (d x_{t-1} + 1)`` it is ``a (d^2 E|b|^2 + 2 d x_{t-1} + 1)``:
        solved with q = d mu and g = d^2 a, where x_t = x (1 - q^t).
        """
        mu, a = self.eigenvalues[0].real, self.energies[0]
        q, g, rounds = keep * mu, keep**2 * a, rounds[:, None, None]
        x = mu / (1.0 - q)
        apart = np.where(np.abs(g - q) < 1e-9, 1.0, g - q)
        powers = np.where(
            np.abs(g - q) < 1e-9,
            rounds * q ** np.maximum(rounds - 1, 0),
            (g**rounds - q**rounds) / apart,
        )
        steady = (1.0 + 2.0 * keep * x) * (1.0 - g**rounds) / (1.0 - g)
        return np.asarray(a * (steady - 2.0 * keep * x * powers))


@dataclass(frozen=True, slots=True)
class _Periods:
    """The sequence ``x_t = f_t (x_{t-1} d + 1)`` from 0 on, whose factors f have a period.

    Parameters
    ----------
    factors : (p + 1, L, m)
        What the rounds of a period before the r-th, r = 0..p, multiply the value at its start by.
    gains : (p + 1, L, m)
        What they add.
    """

    factors: Numbers
    gains: Numbers

    @staticmethod
    def of(phases: Numbers, keep: Vector) -> _Periods:
        shape = (len(phases) + 1, len(keep), phases.shape[1])
        factors, gains = np.ones(shape, phases.dtype), np.zeros(shape, phases.dtype)
        for r, phase in enumerate(phases):
            factors[r + 1] = phase * keep * factors[r]
            gains[r + 1] = phase * (keep * gains[r] + 1.0)
        return _Periods(factors, gains)

    def after(self, rounds: Counts) -> Numbers:
        """Return x_t for each t of ``rounds``, (R, L, m)."""
        period = len(self.factors) - 1
        whole, rest = np.divmod(rounds, period)
        powers = self.factors[-1] ** whole[:, None, None]
        at_start = self.gains[-1] * (1.0 - powers) / (1.0 - self.factors[-1])
        return np.asarray(self.factors[rest] * at_start + self.gains[rest])
