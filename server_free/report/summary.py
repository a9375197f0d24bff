"""The tables of a report: what each run was and came to, and how runs compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .answers import ending
from .budgets import standings
from .curves import report_metrics
from .figures import Table
from .metric_names import chosen, word
from .progress import Moment
from .reading import Reading
from .words import count, duration, number, size

__all__ = ["budget_table", "summary_table"]

_MOST_METRICS = 12

Row = tuple[str, Callable[[Reading], str]]


def summary_table(readings: Sequence[Reading]) -> Table:
    """Return a row for each property, a column for each run; empty rows are left out."""
    rows = [*_PROPERTIES, *_metric_rows(readings), ("Consensus distance, last", _last_distance)]
    found = [(title, *(text(reading) for reading in readings)) for title, text in rows]
    kept = tuple(row for row in found if any(cell not in ("", "-") for cell in row[1:]))
    return Table(("", *(reading.label for reading in readings)), kept)


def budget_table(readings: Sequence[Reading]) -> Table | None:
    """Return each metric under the same budgets, a column for each run; None for a single run."""
    rows = []
    for metric in report_metrics(readings):
        for standing in standings(readings, metric):
            by = f", {standing.means}" if standing.means else ""
            by += ", mean model" if standing.served else ""
            best = standing.best
            cells = (
                number(value) + (" (best)" if place == best else "")
                for place, value in enumerate(standing.values)
            )
            rows.append((f"{word(metric)}{by}", standing.budget, standing.amount, *cells))
    if not rows:
        return None
    headers = ("metric", "same", "amount", *(reading.label for reading in readings))
    note = "The last evaluation of each run within what the shortest of them used."
    return Table(headers, tuple(rows), note)


def _active(reading: Reading) -> str:
    return count(reading.config.num_slots) if reading.config.num_slots else "-"


def _codec(reading: Reading) -> str:
    settings = reading.config.strategy.get("settings") or {}
    codec = settings.get("codec") if isinstance(settings, dict) else None
    if codec:
        return str(codec)
    return "none: models as they are" if reading.plan else "-"


def _lost(reading: Reading) -> str:
    if not reading.run.segments:
        return "-"
    return count(len(reading.run.losses) + reading.run.losses_left_out)


def _missing(reading: Reading) -> str:
    if not reading.run.segments:
        return "-"
    return count(len({node for segment in reading.run.segments for node in segment.missing}))


def _last_distance(reading: Reading) -> str:
    return number(reading.distances[-1][1]) if reading.distances else "-"


def _ratio(reading: Reading) -> str:
    return size(reading.bytes / reading.updates) if reading.updates else "-"


_PROPERTIES: list[Row] = [
    ("Ended", ending),
    ("Strategy", lambda r: str(r.config.strategy.get("description") or r.strategy)),
    ("Topology", lambda r: r.topology),
    ("Nodes", lambda r: count(r.config.num_nodes or math.nan)),
    ("Active in a round", _active),
    ("Rounds", lambda r: count(r.run.last_round or r.config.num_rounds or math.nan)),
    ("Local updates", lambda r: count(r.updates)),
    ("Codec", _codec),
    ("Parameters of the model", lambda r: count(r.config.parameters or math.nan)),
    ("Bytes of the model", lambda r: size(r.config.model_bytes or math.nan)),
    ("Runtime", lambda r: r.config.runtime),
    ("Started", lambda r: r.config.started.replace("T", " ")),
    ("Time", lambda r: duration(r.seconds)),
    ("Sent between clients", lambda r: size(r.bytes_between)),
    ("Sent through the server", lambda r: size(r.bytes_through)),
    ("Sent for each local update", _ratio),
    ("Nodes that were missing", _missing),
    ("Models that did not arrive", _lost),
]


def _metric_rows(readings: Sequence[Reading]) -> list[Row]:
    rows: list[Row] = []
    for name in chosen(name for reading in readings for name in reading.names)[:_MOST_METRICS]:
        told = word(name).capitalize()
        rows += [
            (f"{told}, mean over the nodes", _metric(name, name, 0)),
            (f"{told}, mean by examples", _metric(name, f"{name}-weighted", None)),
            (f"{told}, worst node", _metric(name, name, 1)),
            (f"{told}, best node", _metric(name, name, 2)),
            (f"{told}, mean model", _served(name)),
        ]
    return rows


def _metric(name: str, key: str, part: int | None) -> Callable[[Reading], str]:
    def text(reading: Reading) -> str:
        moment = reading.last(name)
        if moment is None:
            return "-"
        if part is None:
            return number(moment.metrics.get(key, math.nan))
        if part == 0 and not _has_plain_mean(moment, name):
            return "-"
        return number(moment.spread(name)[part])

    return text


def _has_plain_mean(moment: Moment, name: str) -> bool:
    return name in moment.metrics or any(name in values for values in moment.nodes.values())


def _served(name: str) -> Callable[[Reading], str]:
    def text(reading: Reading) -> str:
        having = [m for m in reading.served if math.isfinite(m.metrics.get(name, math.nan))]
        return number(having[-1].metrics[name]) if having else "-"

    return text
