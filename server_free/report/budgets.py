"""Runs under the same budget: as many local updates, as many bytes, as much time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .metric_names import is_loss
from .progress import Moment
from .reading import Reading
from .words import count, duration, size

__all__ = ["Standing", "standings"]

ALIKE = 0.005
"""Runs whose metrics differ by less than this share of the larger are called alike."""

_BUDGETS: tuple[tuple[str, Callable[[Moment], float], Callable[[float], str]], ...] = (
    ("local updates", lambda m: m.updates, lambda v: f"{count(v)} local updates"),
    ("bytes", lambda m: m.bytes, lambda v: f"{size(v)} sent"),
    ("time", lambda m: m.seconds, duration),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What each run had reached within a budget that all of them have used up.

    Attributes
    ----------
    budget, amount : str
        "local updates", "bytes" or "time", and how much of it, as text.
    metric : str
    means : str
        "" for plain means, else what the means are, since some run does not tell the plain one.
    served : bool
        Whether it is of the mean model (or the server's), since some run has no other.
    values : tuple of float
        One for each run, NaN where it had no evaluation yet.
    """

    budget: str
    amount: str
    metric: str
    means: str
    served: bool
    values: tuple[float, ...]

    @property
    def best(self) -> int | None:
        """The place of the best run; None where fewer than two have a value."""
        known = [place for place, value in enumerate(self.values) if math.isfinite(value)]
        pick = min if is_loss(self.metric) else max
        return pick(known, key=lambda place: self.values[place]) if len(known) > 1 else None

    def alike(self, one: int, other: int) -> bool:
        """Whether two runs differ by less than what this report calls a difference."""
        a, b = self.values[one], self.values[other]
        return abs(a - b) <= ALIKE * max(abs(a), abs(b))


def standings(readings: Sequence[Reading], metric: str) -> list[Standing]:
    """Return how the runs stand under each budget that all of them report."""
    if len(readings) < 2:
        return []
    served = not all(any(_is_known(m, metric) for m in r.moments) for r in readings)
    points = [_known(r, metric, served) for r in readings]
    if not all(points):
        return []
    plain, weighted = (
        all(known(m, metric) for own in points for m in own)
        for known in (_has_plain, _has_weighted)
    )
    means = (
        "" if plain else "by examples" if weighted else "by examples where the plain is not known"
    )
    found = []
    for name, column, text in _BUDGETS:
        used = [[m for m in own if math.isfinite(column(m)) and column(m) > 0] for own in points]
        if not all(used):
            continue
        budget = min(max(map(column, own)) for own in used)
        within = [[m for m in own if column(m) <= budget * (1 + 1e-9)] for own in used]
        values = tuple(
            _mean(own[-1], metric, weighted and not plain) if own else math.nan for own in within
        )
        found.append(Standing(name, text(budget), metric, means, served, values))
    return found


def _has_plain(moment: Moment, metric: str) -> bool:
    return metric in moment.metrics or any(metric in own for own in moment.nodes.values())


def _has_weighted(moment: Moment, metric: str) -> bool:
    return f"{metric}-weighted" in moment.metrics


def _known(reading: Reading, metric: str, served: bool) -> list[Moment]:
    moments = reading.served if served else reading.moments
    return [m for m in moments if _is_known(m, metric)]


def _is_known(moment: Moment, metric: str) -> bool:
    return math.isfinite(moment.spread(metric)[0])


def _mean(moment: Moment, metric: str, weighted: bool) -> float:
    if weighted and f"{metric}-weighted" in moment.metrics:
        return moment.metrics[f"{metric}-weighted"]
    return moment.spread(metric)[0]
