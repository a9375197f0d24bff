"""The topology of a run, its nodes coloured by a metric; of a large one the mixing matrix."""

from __future__ import annotations

import math

from ..topologies import Topology
from .figures import Cells, Graph, Layer, Table, Ticks
from .metric_names import word
from .reading import Reading
from .words import count, number

__all__ = ["topology_picture"]

_MOST_NODES = 200
_MOST_EDGES = 3000
_MOST_PHASES = 8
_MOST_CELLS = 128
_MOST_READ = 512
_MOST_ROWS = 100


def topology_picture(reading: Reading, metric: str | None) -> list[Graph | Cells]:
    """Return the picture of who averages with whom; none for a run without a plan."""
    if reading.plan is None:
        return []
    topology = reading.plan.topology
    if topology.num_nodes > _MOST_NODES:
        return [_matrix(reading, topology)]
    from ..theory.layouts import edges, positions

    phases = _phases(topology)
    both, single = set(), set()
    for round in range(1, phases + 1):
        mutual, one_way = edges(topology, round)
        both.update(mutual)
        single.update(one_way)
    drawn = sorted(both | single)
    if len(drawn) > _MOST_EDGES:
        return [_matrix(reading, topology)]
    values = _slot_values(reading, metric)
    known = [value for value in values if math.isfinite(value)]
    unit = "node" if _is_whole(reading) else "slot"
    points = tuple((float(x), float(y)) for x, y in positions(topology, drawn))
    return [
        Graph(
            name=f"run{reading.place + 1}-topology",
            title=f"Topology: {topology.spec}",
            summary=_summary(topology, unit, len(drawn), metric, known),
            table=_table(reading, drawn, values, metric, unit),
            note=_note(reading, topology, phases, unit, metric),
            points=points,
            edges=tuple(drawn),
            arrows=not both and len(drawn) <= 300,
            values=values,
            names=tuple(_name(reading, slot) for slot in range(topology.num_nodes)),
            value_label=word(metric or ""),
            low=min(known, default=math.nan),
            high=max(known, default=math.nan),
        )
    ]


def _is_whole(reading: Reading) -> bool:
    """Whether a slot is a node: all nodes are active in every round."""
    return reading.config.num_slots == reading.config.num_nodes


def _name(reading: Reading, slot: int) -> str:
    return reading.node(slot) if _is_whole(reading) else f"slot {slot}"


def _phases(topology: Topology) -> int:
    period = topology.period or 1  # fresh in each round: the first as an example
    return min(period, _MOST_PHASES)


def _slot_values(reading: Reading, metric: str | None) -> tuple[float, ...]:
    """Return each slot's metric at the last evaluation: node i evaluates that of slot i mod k."""
    slots = reading.config.num_slots
    found: list[list[float]] = [[] for _ in range(slots)]
    having = [m for m in reading.moments if any(metric in v for v in m.nodes.values())]
    for node, values in having[-1].nodes.items() if having else ():
        if metric in values and math.isfinite(values[metric]):
            found[node % slots].append(values[metric])
    return tuple(sum(own) / len(own) if own else math.nan for own in found)


def _summary(
    topology: Topology, unit: str, edge_count: int, metric: str | None, known: list[float]
) -> str:
    text = f"{topology.num_nodes} {unit}s and {edge_count:,} pairs that exchange models."
    if known:
        text += (
            f" Their {word(metric or '')} goes from {number(min(known))} to {number(max(known))}."
        )
    return text


def _note(reading: Reading, topology: Topology, phases: int, unit: str, metric: str | None) -> str:
    parts = []
    if topology.period is None or topology.period == 0:
        parts.append("The graph is drawn afresh in each round; this is round 1.")
    elif topology.period > 1:
        shown = "all" if phases == topology.period else f"the first {phases}"
        parts.append(f"It changes with a period of {topology.period} rounds; {shown} are drawn.")
    if unit == "slot":
        parts.append(
            "Its places are slots, which other nodes hold in each round. A slot's colour is the "
            "mean over the nodes that evaluated its model."
        )
    if metric and not any(math.isfinite(v) for v in _slot_values(reading, metric)):
        parts.append("No node's own value is known, so all have one colour.")
    return " ".join(parts)


def _table(
    reading: Reading,
    drawn: list[tuple[int, int]],
    values: tuple[float, ...],
    metric: str | None,
    unit: str,
) -> Table:
    near: dict[int, set[int]] = {}
    for a, b in drawn:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    rows = []
    for slot in range(min(len(values), _MOST_ROWS)):
        others = sorted(near.get(slot, ()))
        text = ", ".join(map(str, others[:12])) + (" ..." if len(others) > 12 else "")
        rows.append((_name(reading, slot), number(values[slot]), text or "none"))
    note = "" if len(values) <= _MOST_ROWS else f"The first {_MOST_ROWS} of {len(values):,}."
    return Table((unit, word(metric or "value"), "exchanges models with"), tuple(rows), note)


def _matrix(reading: Reading, topology: Topology) -> Cells:
    """Return who receives from whom, nodes taken together into at most so many cells a side."""
    total = topology.num_nodes
    side = min(total, _MOST_CELLS)
    readers = range(0, total, max(1, -(-total // _MOST_READ)))
    filled: set[tuple[int, int]] = set()
    degrees = []
    for round in range(1, _phases(topology) + 1):
        for receiver in readers:
            senders = [s for s in topology.weights(receiver, round) if s != receiver]
            degrees.append(len(senders))
            row = receiver * side // total
            filled.update((s * side // total, row) for s in senders)
    cells = tuple((column, row, 1) for column, row in sorted(filled))
    unit = "node" if _is_whole(reading) else "slot"
    ticks: Ticks = tuple((p * (side - 1) / 4 + 0.5, count(p * (total - 1) / 4)) for p in range(5))
    sampled = "" if len(readers) == total else f" Of the rows {len(readers):,} were looked at."
    mean = sum(degrees) / max(1, len(degrees))
    rows = (
        (f"{unit}s", count(total)),
        ("senders to one of them in a round, mean", number(mean)),
        ("senders, least", count(min(degrees, default=0))),
        ("senders, most", count(max(degrees, default=0))),
    )
    return Cells(
        name=f"run{reading.place + 1}-topology",
        title=f"Topology: {topology.spec}",
        summary=f"The mixing matrix over {total:,} {unit}s: {number(mean)} senders to each of them "
        "in a round, in the mean.",
        table=Table(("what", "value"), rows),
        note=f"Too many to draw as a graph, so this is the mixing matrix: a cell is filled where a "
        f"{unit} of that row receives from one of that column; a cell stands for about "
        f"{number(total / side, 2)} x {number(total / side, 2)} of them.{sampled}",
        x_label=f"sender ({unit})",
        y_label=f"receiver ({unit})",
        columns=side,
        rows=side,
        layers=(Layer(label="exchange", tone="cell", cells=cells, height=1.0),),
        x_ticks=ticks,
        y_ticks=ticks,
    )
