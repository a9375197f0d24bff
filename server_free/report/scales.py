"""Axes: round numbers for ticks, and where a value lies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .words import number

__all__ = ["Scale", "scale_of"]


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from ``low`` to ``high``, both above zero where it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies: 0 at ``low``, 1 at ``high``; NaN for what has no place."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Return (value, text) of at most about so many ticks."""
        values = _decades(self.low, self.high, most) if self.log else _steps(self, most)
        return [(value, number(value)) for value in values]


def scale_of(values: Iterable[float], log: bool = False, zero: bool = False) -> Scale:
    """Return an axis that has room for the values, from zero where ``zero`` says so."""
    known = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    low, high = min(known, default=0.1), max(known, default=1.0)
    if log:
        return Scale(low / 1.2, high * 1.2, True)
    if zero:
        low = min(0.0, low)
    spare = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low if zero and low == 0 else low - spare, high + spare)


def _steps(scale: Scale, most: int) -> list[float]:
    rough = (scale.high - scale.low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    if last - first < 1:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        return [value for value in fine if low <= value <= high]
    step = max(1, -(-(last - first) // (most - 1)))
    return [10.0**power for power in range(first, last + 1, step)]
