"""Who was active when: rounds to the right, nodes downwards, missing nodes marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..plans import Plan
from .figures import Cells, Layer, Table, Ticks
from .reading import Reading
from .thinning import evenly
from .words import count, listed

__all__ = ["presence_picture"]

_MOST_COLUMNS = 200
_MOST_ROWS = 100
_MOST_ROUNDS = 4000
_MOST_NAMED = 100
_SHADES = 4

Counts = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Raster:
    """Counts over (shown nodes, groups of rounds), and how many rounds each group has."""

    nodes: NDArray[np.int64]
    rounds: NDArray[np.int64]
    active: Counts
    absent: Counts
    missing: NDArray[np.bool_]
    looked_at: Counts
    total: Counts


class _Masks:
    """Turns nodes into a mask over all of them; many rounds in a row have the same nodes."""

    def __init__(self, num_nodes: int) -> None:
        self._nodes: tuple[int, ...] | None = None
        self._num_nodes = num_nodes
        self._mask = np.zeros(0, np.bool_)

    def of(self, nodes: tuple[int, ...]) -> NDArray[np.bool_]:
        if nodes is not self._nodes:
            self._nodes, self._mask = nodes, np.zeros(self._num_nodes, np.bool_)
            self._mask[[node for node in nodes if node >= 0]] = True
        return self._mask


def presence_picture(reading: Reading) -> list[Cells]:
    """Return the raster of a run; none for a run without a plan or without rounds."""
    last = reading.run.last_round
    if reading.plan is None or last < 1:
        return []
    raster = _raster(reading, reading.plan, last)
    rows, columns = raster.missing.shape
    lost = _lost_nodes(reading)
    return [
        Cells(
            name=f"run{reading.place + 1}-active",
            title="Who was active when",
            summary=f"{columns} columns of rounds 1 to {last:,}, {rows} rows of nodes. "
            + (
                f"Missing at some time: {listed(_named(reading, lost))}."
                if lost
                else "No node was missing."
            ),
            table=_table(reading, raster),
            note=_note(reading, raster, last),
            x_label="round",
            y_label="node",
            columns=columns,
            rows=rows,
            layers=_layers(raster),
            x_ticks=_round_ticks(raster),
            y_ticks=_node_ticks(raster),
        )
    ]


def _named(reading: Reading, nodes: list[int]) -> list[str]:
    return [reading.node(node) for node in nodes]


def _lost_nodes(reading: Reading) -> list[int]:
    """Return the nodes of which some model did not arrive, the most often missed first."""
    times: dict[int, int] = {}
    for node in [n for s in reading.run.segments for n in s.missing]:
        times[node] = times.get(node, 0) + 1
    for loss in reading.run.losses:
        times.setdefault(loss.holder, 1)
    return sorted((n for n in times if n >= 0), key=lambda node: (-times[node], node))


def _raster(reading: Reading, plan: Plan, last: int) -> _Raster:
    nodes = _shown_nodes(reading, plan.num_nodes)
    width = -(-last // _MOST_COLUMNS)
    firsts = np.append(np.arange(1, last + 1, width), last + 1)
    rounds = np.array(evenly(range(1, last + 1), _MOST_ROUNDS))
    shape = (len(nodes), len(firsts) - 1)
    active, absent = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    columns = np.searchsorted(firsts, rounds, side="right") - 1
    total = np.zeros(plan.num_nodes, np.int32)
    masks = _Masks(plan.num_nodes), _Masks(plan.num_nodes)
    for round, column in zip(rounds.tolist(), columns.tolist(), strict=True):
        here = masks[0].of(plan.active(round))
        total += here
        active[:, column] += here[nodes]
        if (live := plan.live_in(round)) is not None:
            absent[:, column] += ~masks[1].of(live)[nodes]
    looked_at = np.bincount(columns, minlength=shape[1]).astype(np.int32)
    missing = _missing(reading, nodes, firsts)
    return _Raster(nodes, firsts, active, absent, missing, looked_at, total)


def _shown_nodes(reading: Reading, total: int) -> NDArray[np.int64]:
    """Return the nodes that get a row: all, or a sample with those that were missing."""
    if total <= _MOST_ROWS:
        return np.arange(total)
    lost = [node for node in _lost_nodes(reading) if node < total][: _MOST_ROWS // 2]
    sample = evenly(range(total), _MOST_ROWS - len(lost))
    return np.array(sorted({*lost, *sample}))


def _missing(
    reading: Reading, nodes: NDArray[np.int64], firsts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return where a node's model did not arrive: in these rounds, or in the segment."""
    marked = np.zeros((len(nodes), len(firsts) - 1), np.bool_)
    row_of = {int(node): row for row, node in enumerate(nodes)}
    exact: dict[int, set[int]] = {}
    for loss in reading.run.losses:
        exact.setdefault(loss.holder, set()).add(loss.round)
    spans = [(n, t, t) for n, rounds in exact.items() for t in rounds]
    for segment in reading.run.segments:
        for node in segment.missing:
            known = exact.get(node, ())
            if not any(segment.first - 1 <= t <= segment.last for t in known):
                spans.append((node, segment.first, segment.last))
    for node, first, last in spans:
        if node in row_of and last >= 1:
            start, end = np.searchsorted(firsts, [max(first, 1), last], side="right") - 1
            marked[row_of[node], start : end + 1] = True
    return marked


def _layers(raster: _Raster) -> tuple[Layer, ...]:
    share = raster.active / np.maximum(1, raster.looked_at)
    shades = np.ceil(share * _SHADES).astype(np.int64)
    used = [shade for shade in range(1, _SHADES + 1) if (shades == shade).any()]
    layers = [
        Layer(
            label=_shade_label(shade, used),
            tone="active",
            cells=_runs(shades == shade),
            strength=0.25 + 0.75 * shade / _SHADES,
        )
        for shade in used
    ]
    gone = (raster.absent > 0) & (raster.active == 0) & ~raster.missing
    if gone.any():
        layers.append(Layer(label="not live", tone="absent", cells=_runs(gone), height=0.2))
    if raster.missing.any():
        cells = _runs(raster.missing)
        label = "missing: a model did not arrive"
        layers.append(Layer(label=label, tone="missing", cells=cells, height=1.0))
    return tuple(layers)


def _shade_label(shade: int, used: list[int]) -> str:
    if used == [_SHADES]:
        return "active"
    step = 100 // _SHADES
    least = f"{(shade - 1) * step}" if shade > 1 else "up"
    return f"active in {least} to {shade * step} % of the rounds"


def _runs(mask: NDArray[np.bool_]) -> tuple[tuple[int, int, int], ...]:
    """Return (column, row, length) of the unbroken stretches in each row."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return tuple(zip(starts.tolist(), rows.tolist(), (ends - starts).tolist(), strict=True))


def _round_ticks(raster: _Raster) -> Ticks:
    columns = raster.missing.shape[1]
    chosen = evenly(range(columns), 6)
    return tuple((column + 0.5, count(raster.rounds[column])) for column in chosen)


def _node_ticks(raster: _Raster) -> Ticks:
    rows = evenly(range(len(raster.nodes)), 6 if len(raster.nodes) > 12 else 12)
    return tuple((row + 0.5, str(raster.nodes[row])) for row in rows)


def _note(reading: Reading, raster: _Raster, last: int) -> str:
    parts = ["Who was to be active is worked out from the plan."]
    rows, columns = raster.missing.shape
    if columns < last:
        parts.append(f"Each column stands for {-(-last // _MOST_COLUMNS):,} rounds.")
    if raster.looked_at.sum() < last:
        parts.append(f"Of them {count(raster.looked_at.sum())} were looked at.")
    if rows < reading.config.num_nodes:
        total = reading.config.num_nodes
        parts.append(
            f"{rows} of {total:,} nodes have a row: a sample, with those that were missing."
        )
    if reading.run.simulated:
        parts.append("Nodes that a simulated network had offline are not marked.")
    return " ".join(parts)


def _table(reading: Reading, raster: _Raster) -> Table:
    reasons: dict[int, str] = {}
    for segment in reading.run.segments:
        for node, why in segment.missing.items():
            reasons.setdefault(node, f"from round {segment.first}: {why}")
    for loss in reading.run.losses:
        reasons.setdefault(loss.holder, f"round {loss.round}: {loss.reason}")
    shown = evenly(raster.nodes.tolist(), _MOST_NAMED)
    looked_at = int(raster.looked_at.sum())
    rows = [
        (
            reading.node(n),
            f"{100 * raster.total[n] / max(1, looked_at):.0f} %",
            reasons.get(n, "no"),
        )
        for n in shown
    ]
    total = reading.config.num_nodes
    note = "" if len(shown) == total else f"{len(shown)} of {total:,} nodes, those of the picture."
    return Table(("node", "active in", "missing"), tuple(rows), note)
