"""What each node sent and fetched, and which models did not arrive."""

from __future__ import annotations

from ..plans import Plan
from ..schedules import AllActive
from .figures import Bars, Table
from .reading import Reading
from .thinning import evenly
from .words import count, size, size_unit

__all__ = ["MOST_LOSSES", "bytes_picture", "losses_table", "node_seconds"]

MOST_LOSSES = 50
_MOST_BARS = 64
_MOST_ROWS = 100
_MOST_ROUNDS = 32
_MOST_CALLS = 20_000


def bytes_picture(reading: Reading) -> list[Bars]:
    """Return the bytes that each node sent and fetched; none where nothing was counted."""
    totals = _totals(reading)
    if not totals:
        return []
    nodes = range(reading.config.num_nodes)
    groups = _groups(len(nodes))
    fetched = [float(totals.get(node, (0, 0))[0]) for node in nodes]
    sent = _sent(reading, totals)
    scale, unit = size_unit(max(_means(fetched, groups) + _means(sent, groups)))
    series = tuple(
        (label, tuple(value / scale for value in _means(values, groups)))
        for label, values in (("sent", sent), ("fetched", fetched))
    )
    most = max(nodes, key=lambda node: sent[node])
    mean = sum(sent) / len(sent)
    note = (
        "Fetched is counted. Sent is what a node published times the number of nodes that read it, "
        "which follows from the plan."
    )
    if len(groups) < len(nodes):
        note += (
            f" Each bar is the mean of about {count(len(nodes) / len(groups))} neighbouring nodes."
        )
    return [
        Bars(
            name=f"run{reading.place + 1}-bytes",
            title="Bytes of each node",
            summary=f"Each node sent {size(mean)} in the mean; {reading.node(most)} sent the most, "
            f"{size(sent[most])}.",
            table=_table(reading, sent, fetched),
            note=note,
            x_label="node",
            y_label=unit,
            groups=tuple(str(group[0]) for group in groups),
            series=series,
        )
    ]


def _totals(reading: Reading) -> dict[int, tuple[int, int]]:
    """Return node -> (fetched, published) bytes."""
    found: dict[int, tuple[int, int]] = {}
    for segment in reading.run.segments:
        for node, (fetched, published) in segment.node_bytes.items():
            if 0 <= node < reading.config.num_nodes:
                before = found.get(node, (0, 0))
                found[node] = (before[0] + fetched, before[1] + published)
    return found


def _sent(reading: Reading, totals: dict[int, tuple[int, int]]) -> list[float]:
    nodes = range(reading.config.num_nodes)
    if reading.plan is None:
        return [float(totals.get(node, (0, 0))[1]) for node in nodes]
    readers = _mean_readers(reading.plan, reading.run.last_round)
    return [totals.get(node, (0, 0))[1] * readers[node] for node in nodes]


def _mean_readers(plan: Plan, last: int) -> list[float]:
    """Return how many nodes read a model of each node, in the mean over some rounds.

    Where other nodes are active in each round, it is the mean over all of them.
    """
    most = max(1, min(_MOST_ROUNDS, _MOST_CALLS // plan.num_slots))
    found: list[list[int]] = [[] for _ in range(plan.num_nodes)]
    for round in evenly(range(1, max(1, last) + 1), most + 1)[:-1] or [1]:
        for node in plan.active(round):
            if node >= 0:
                found[node].append(len(plan.readers(node, round)))
    every = [reader for own in found for reader in own]
    mean = sum(every) / max(1, len(every))
    if not isinstance(plan.schedule, AllActive):
        return [mean] * plan.num_nodes
    return [sum(own) / len(own) if own else mean for own in found]


def _groups(total: int) -> list[range]:
    bars = min(total, _MOST_BARS)
    return [range(i * total // bars, (i + 1) * total // bars) for i in range(bars)]


def _means(values: list[float], groups: list[range]) -> list[float]:
    return [sum(values[node] for node in group) / len(group) for group in groups]


def _table(reading: Reading, sent: list[float], fetched: list[float]) -> Table:
    order = sorted(range(len(sent)), key=lambda node: (-sent[node] - fetched[node], node))
    half = _MOST_ROWS // 2
    shown = order if len(order) <= _MOST_ROWS else order[:half] + order[-half:]
    note = (
        ""
        if len(shown) == len(order)
        else f"The {half} with the most and the {half} with the least of {len(order):,}."
    )
    rows = tuple((reading.node(node), size(sent[node]), size(fetched[node])) for node in shown)
    return Table(("node", "sent", "fetched"), rows, note)


def node_seconds(reading: Reading) -> dict[int, float]:
    """Return node -> wall seconds in a round it was asked for, in the mean over its segments."""
    times: dict[int, list[float]] = {}
    for segment in reading.run.segments:
        rounds = max(1, segment.last - segment.first + 1)
        for node, seconds in segment.node_seconds.items():
            times.setdefault(node, []).append(seconds / rounds)
    return {node: sum(own) / len(own) for node, own in times.items()}


def losses_table(reading: Reading) -> Table | None:
    """Return who missed whose model, when and why; None where every model arrived."""
    losses = reading.run.losses
    total = len(losses) + reading.run.losses_left_out
    if not total:
        return None
    rows = tuple(
        (
            count(loss.round),
            reading.node(loss.reader),
            reading.node(loss.holder),
            f"{loss.kind}: {loss.reason}",
            loss.used,
        )
        for loss in losses[:MOST_LOSSES]
    )
    note = "" if len(rows) == total else f"The first {len(rows)} of {total:,}."
    return Table(("round", "who missed it", "whose model", "why", "used instead"), rows, note)
