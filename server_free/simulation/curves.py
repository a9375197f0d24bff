"""Curves of a history, and of several seeds' histories: mean, extremes and confidence."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .records import Record, read_jsonl

__all__ = ["Curve", "HasHistory", "Run", "Runs", "curve_of", "has_column", "histories_of"]

Floats = NDArray[np.float64]

_ADDED_UP = ("bytes", "missing", "transfers")
"""What a record tells of its round alone; on the x axis it stands for all rounds so far."""


class HasHistory(Protocol):
    """What is plotted: :class:`SimulationResult`, and whatever else has a history."""

    @property
    def history(self) -> Sequence[Record]:
        """One record a round."""


Run = HasHistory | Sequence[Record] | str | os.PathLike[str]
"""A result, its history, or the path of a file that ``to_jsonl`` wrote."""

Runs = Run | Sequence[Run]
"""A run, or runs of the same method that differ in their seeds."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One method's values over the rounds that all its runs have.

    Parameters
    ----------
    x, y : (m,) float64
        Means over the runs.
    nodes : pair of (m,) float64, or None
        Of the worst and the best node, means over the runs; None without ``y_min`` and ``y_max``.
    seeds : pair of (m,) float64, or None
        The 95 % confidence interval of y (Student's t); None for one run.
    num_runs, num_short : int
        Runs, and how many of them end before the longest: those that diverged.
    """

    x: Floats
    y: Floats
    nodes: tuple[Floats, Floats] | None
    seeds: tuple[Floats, Floats] | None
    num_runs: int
    num_short: int


def histories_of(label: str, runs: Runs) -> list[list[Record]]:
    """Return the histories of one label's runs; ``PlanError`` for what is none."""
    several = isinstance(runs, Sequence) and not isinstance(runs, str)
    if several and not (runs and isinstance(cast(Sequence[object], runs)[0], Mapping)):
        found = [_history(label, run) for run in cast(Sequence[Run], runs)]
    else:
        found = [_history(label, cast(Run, runs))]
    if not found or not all(found):
        raise PlanError(f"{label!r} has a history without rounds; give runs of 1 round or more.")
    return found


def curve_of(
    label: str, histories: Sequence[Sequence[Record]], x: str, y: str, log: bool = False
) -> Curve:
    """Return the curve of column y over column x; ``PlanError`` names columns that there are.

    ``bytes``, ``transfers`` and ``missing`` are added up over the rounds where they are x. With
    ``log`` the means and the interval are those of the logarithms; what is not above 0 is NaN.
    """
    series = [_series(label, history, x, y) for history in histories]
    common = sorted(set.intersection(*(set(one) for one in series)))
    if not common:
        raise PlanError(
            f"the {len(series)} runs of {label!r} have no round in common that has {y!r}; give "
            "them the same evaluate_every."
        )
    xs, ys, lows, highs = (
        np.array([[one[round][place] for round in common] for one in series]) for place in range(4)
    )
    if log:
        lows, ys, highs = _log(lows), _log(ys), _log(highs)
    back: Callable[[Floats], Floats] = np.exp if log else np.asarray
    mean, known = ys.mean(axis=0), bool(np.isfinite(lows).any() and np.isfinite(highs).any())
    half = _half_width(ys) if len(series) > 1 else None
    last = [max(one) for one in series]
    return Curve(
        x=xs.mean(axis=0),
        y=back(mean),
        nodes=(back(lows.mean(axis=0)), back(highs.mean(axis=0))) if known else None,
        seeds=None if half is None else (back(mean - half), back(mean + half)),
        num_runs=len(series),
        num_short=sum(end < max(last) for end in last),
    )


def has_column(histories: Sequence[Sequence[Record]], name: str) -> bool:
    """Return whether every history has the column in some round."""
    return all(any(name in record for record in history) for history in histories)


def _history(label: str, run: Run) -> list[Record]:
    if isinstance(run, str | os.PathLike):
        return read_jsonl(run)
    history = getattr(run, "history", run)
    if isinstance(history, Sequence) and all(isinstance(one, Mapping) for one in history):
        return list(cast(Sequence[Record], history))
    raise PlanError(
        f"{label!r} is {type(run).__name__}, allowed are results, histories (lists of records), "
        "paths of JSONL files, and lists of these."
    )


def _series(
    label: str, history: Sequence[Record], x: str, y: str
) -> dict[int, tuple[float, float, float, float]]:
    """Return round -> (x, y, least, greatest) of the rounds that have y; NaN for no extremes."""
    columns = list(dict.fromkeys(name for record in history for name in record))
    for name, value in (("x", x), ("y", y)):
        if value not in columns:
            raise PlanError(
                f"{name} is {value!r}, which {label!r} does not have; it has "
                f"{', '.join(sorted(columns))}."
            )
    places = [record.get(x, math.nan) for record in history]
    if x in _ADDED_UP:
        places = list(accumulate(places))
    return {
        int(record["round"]): (
            place,
            record[y],
            record.get(f"{y}_min", math.nan),
            record.get(f"{y}_max", math.nan),
        )
        for place, record in zip(places, history, strict=True)
        if y in record
    }


def _log(values: Floats) -> Floats:
    return np.log(np.where(values > 0, values, np.nan))


def _half_width(values: Floats) -> Floats:
    """Return half the 95 % confidence interval of the mean of (runs, m) values."""
    from scipy.special import stdtrit

    runs = len(values)
    quantile = float(stdtrit(runs - 1, 0.975))
    return np.asarray(quantile * values.std(axis=0, ddof=1) / math.sqrt(runs))
