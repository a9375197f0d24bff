"""Curves: metrics against rounds, epochs or local updates, bytes and time; consensus; spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .figures import Curve, Lines, Table
from .metric_names import SHOWN, chosen, is_loss, word
from .progress import Moment
from .reading import Reading
from .thinning import evenly, thinned_note
from .words import count, duration, number, size, size_unit, time_unit

__all__ = ["consensus", "metric_curves", "node_spread", "report_metrics", "train_curves"]

_MOST_POINTS = 300
_MOST_ROWS = 60
_MOST_BANDS = 3
_MOST_NAMED = 100

Column = Callable[[Moment], float]
Axis = tuple[str, str, Column, Callable[[float], str], float]
"""Name, label, value of a moment, its text in the table, and what one unit of the axis is."""


def report_metrics(readings: Sequence[Reading]) -> list[str]:
    """Return the metrics that a report draws, the one that it speaks of first."""
    return chosen(name for reading in readings for name in reading.names)[:SHOWN]


def axes(readings: Sequence[Reading]) -> list[Axis]:
    """Return the axes against which there is something to draw."""
    moments = [m for r in readings for m in (*r.moments, *r.served, *r.train)]
    bytes_scale, bytes_unit = size_unit(_largest(moments, lambda m: m.bytes))
    time_scale, time_name = time_unit(_largest(moments, lambda m: m.seconds))
    candidates: list[Axis] = [
        ("rounds", "round", lambda m: m.round, count, 1.0),
        ("epochs", "epochs (of all nodes' data)", lambda m: m.epoch, number, 1.0),
        ("updates", "local updates of all nodes", lambda m: m.updates, count, 1.0),
        ("bytes", f"{bytes_unit} sent so far", lambda m: m.bytes, size, bytes_scale),
        ("time", f"{time_name} since the start", lambda m: m.seconds, duration, time_scale),
    ]
    found = [axis for axis in candidates if _largest(moments, axis[2]) > 0]
    epochs = all(math.isfinite(m.epoch) for m in moments)
    return [axis for axis in found if axis[0] != "updates" or not epochs]


def metric_curves(readings: Sequence[Reading], name: str, key: str) -> list[Lines]:
    """Return a metric's pictures, one for each axis; none where no run has it.

    ``key`` starts their names.
    """
    pictures = []
    for axis, x_label, column, text, unit in axes(readings):
        curves = [_curve(r, _points(r, name), column, name, unit) for r in readings]
        drawn = tuple(curve for curve in curves if curve.x)
        if not drawn:
            continue
        bands = sum(1 for curve in drawn if curve.low) if len(drawn) <= _MOST_BANDS else 0
        if not bands:
            drawn = tuple(Curve(c.label, c.place, c.x, c.y) for c in drawn)
        pictures.append(
            Lines(
                name=f"{key}-{axis}",
                title=f"{word(name).capitalize()} against {axis}",
                summary=_course(drawn, word(name), x_label),
                table=_metric_table(readings, name, x_label, column, text),
                note="The line is the mean over the nodes, the band goes from worst to best."
                if bands
                else "The mean over the nodes.",
                x_label=x_label,
                y_label=word(name),
                curves=drawn,
            )
        )
    return pictures


def train_curves(readings: Sequence[Reading]) -> list[Lines]:
    """Return the picture of the training loss, or of what training reports first."""
    names = chosen(name for r in readings for m in r.train for name in m.metrics)
    names.sort(key=lambda name: not is_loss(name))
    if not names:
        return []
    name = names[0]
    said = word(name) if "train" in name.lower() else f"training {word(name)}"
    curves, rows, total = [], [], 0
    for reading in readings:
        moments = [m for m in reading.train if math.isfinite(m.spread(name)[0])]
        total += len(moments)
        shown = evenly(moments, _MOST_POINTS)
        x, y = [float(m.round) for m in shown], [m.spread(name)[0] for m in shown]
        if shown:
            curves.append(Curve(reading.label, reading.place, tuple(x), tuple(y)))
        for m in evenly(moments, max(2, _MOST_ROWS // len(readings))):
            rows.append((reading.label, count(m.round), number(m.spread(name)[0])))
    if not curves:
        return []
    return [
        Lines(
            name="training",
            title=f"{said.capitalize()} against rounds",
            summary=_course(curves, said, "round"),
            table=Table(
                ("run", "round", word(name)), tuple(rows), thinned_note(len(rows), total, "rounds")
            ),
            note="The mean over the nodes that trained in a round, as their ClientApps report it.",
            x_label="round",
            y_label=said,
            curves=tuple(curves),
        )
    ]


def consensus(readings: Sequence[Reading]) -> list[Lines]:
    """Return the picture of the consensus distance, logarithmic; none where none was measured."""
    curves, rows, total = [], [], 0
    for reading in readings:
        known = [(t, d) for t, d in reading.distances if d > 0]
        total += len(known)
        shown = evenly(known, _MOST_POINTS)
        if shown:
            x, y = zip(*((float(t), d) for t, d in shown), strict=True)
            curves.append(Curve(reading.label, reading.place, x, y))
        for t, d in evenly(known, max(2, _MOST_ROWS // len(readings))):
            rows.append((reading.label, count(t), number(d)))
    if not curves:
        return []
    return [
        Lines(
            name="consensus",
            title="Consensus distance",
            summary=_course(curves, "consensus distance", "round"),
            table=Table(
                ("run", "round", "distance"), tuple(rows), thinned_note(len(rows), total, "values")
            ),
            note="How far the nodes' models lie apart: the mean square of their distance from "
            "their mean. The axis is logarithmic; down is closer.",
            x_label="round",
            y_label="consensus distance",
            curves=tuple(curves),
            log=True,
        )
    ]


def node_spread(readings: Sequence[Reading], name: str, key: str) -> list[Lines]:
    """Return the nodes of the last evaluation, sorted by a metric; none without per-node values."""
    curves, rows, notes = [], [], []
    for reading in readings:
        found = _sorted_nodes(reading, name)
        if not found:
            continue
        total = len(found)
        ranked = [(100 * (i + 0.5) / total, v) for i, (v, _) in enumerate(found)]
        x, y = zip(*evenly(ranked, _MOST_POINTS), strict=True)
        curves.append(Curve(reading.label, reading.place, x, y))
        half = max(2, _MOST_NAMED // len(readings)) // 2
        listed = found if total <= 2 * half else found[:half] + found[-half:]
        rows += [(reading.label, reading.node(node), number(value)) for value, node in listed]
        if total > 2 * half:
            notes.append(f"{reading.label}: the {half} lowest and the {half} highest of {total:,}.")
    if not curves:
        return []
    lows = "; ".join(f"{c.label}: from {number(c.y[0])} to {number(c.y[-1])}" for c in curves)
    return [
        Lines(
            name=f"{key}-nodes",
            title=f"{word(name).capitalize()} of each node at the last evaluation",
            summary=f"The nodes sorted by {word(name)}. {lows}.",
            table=Table(("run", "node", word(name)), tuple(rows), " ".join(notes)),
            note="A dot is a node, sorted from the lowest to the highest. The flatter, the more "
            "alike they are.",
            x_label="share of the nodes (%)",
            y_label=word(name),
            curves=tuple(curves),
            dots=True,
        )
    ]


def _sorted_nodes(reading: Reading, name: str) -> list[tuple[float, int]]:
    with_nodes = [m for m in reading.moments if any(name in v for v in m.nodes.values())]
    if not with_nodes:
        return []
    values = [(v[name], node) for node, v in with_nodes[-1].nodes.items() if name in v]
    return sorted((v, node) for v, node in values if math.isfinite(v))


def _points(reading: Reading, name: str) -> list[Moment]:
    """Return the evaluations by the nodes, or those of the mean model where nodes have none."""
    by_nodes = [m for m in reading.moments if math.isfinite(m.spread(name)[0])]
    return by_nodes or [m for m in reading.served if math.isfinite(m.spread(name)[0])]


def _curve(reading: Reading, points: list[Moment], column: Column, name: str, unit: float) -> Curve:
    shown = evenly([m for m in points if math.isfinite(column(m))], _MOST_POINTS)
    spreads = [m.spread(name) for m in shown]
    lows = tuple(min(worst, best) for _, worst, best in spreads)
    highs = tuple(max(worst, best) for _, worst, best in spreads)
    banded = any(math.isfinite(low) and high > low for low, high in zip(lows, highs, strict=True))
    return Curve(
        reading.label,
        reading.place,
        tuple(column(m) / unit for m in shown),
        tuple(mean for mean, _, _ in spreads),
        lows if banded else (),
        highs if banded else (),
    )


def _metric_table(
    readings: Sequence[Reading],
    name: str,
    x_label: str,
    column: Column,
    text: Callable[[float], str],
) -> Table:
    rows, total = [], 0
    for reading in readings:
        points = [m for m in _points(reading, name) if math.isfinite(column(m))]
        total += len(points)
        for m in evenly(points, max(2, _MOST_ROWS // len(readings))):
            texts = (number(value) for value in m.spread(name))
            rows.append((reading.label, text(column(m)), *texts))
    headers = (
        "run",
        x_label if text is count else x_label.split(" ", 1)[-1],
        "mean",
        "worst",
        "best",
    )
    return Table(headers, tuple(rows), thinned_note(len(rows), total, "evaluations"))


def _course(curves: Sequence[Curve], what: str, x_label: str) -> str:
    """Return in words where each curve starts and ends."""
    parts = []
    for curve in curves:
        known = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
        if known:
            (first, start), (last, end) = known[0], known[-1]
            span = f"between {number(first)} and {number(last)}"
            parts.append(f"{curve.label}: from {number(start)} to {number(end)} {span}")
    return f"{what.capitalize()} over {x_label}. {'; '.join(parts)}."


def _largest(moments: Sequence[Moment], column: Column) -> float:
    return max((v for v in map(column, moments) if math.isfinite(v)), default=0.0)
