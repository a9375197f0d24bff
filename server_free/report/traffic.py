"""What each node sent and fetched, and which models did not arrive."""

from __future__ import annotations

from statistics import median

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
        "Fetched is counted. Sent is worked out: what all fetched, shared out by what each node "
        "published and by how many nodes read it in the plan."
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
    readers = [1.0] * len(nodes)
    if reading.plan is not None:
        readers = _mean_readers(reading.plan, reading.run.last_round)
    shares = [totals.get(node, (0, 0))[1] * readers[node] for node in nodes]
    fetched = sum(pair[0] for pair in totals.values())
    return [fetched * share / (sum(shares) or 1.0) for share in shares]


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
    """Return node -> wall seconds that a round took it, the median over its segments.

    How many rounds it worked in is taken from what it published, where that is known.
    """
    times: dict[int, list[float]] = {}
    for segment in reading.run.segments:
        for node, seconds in segment.node_seconds.items():
            published = segment.node_bytes.get(node, (0, 0))[1]
            rounds = published / max(1, reading.config.model_bytes)
            length = segment.last - segment.first + 1
            times.setdefault(node, []).append(seconds / (rounds or max(1, length)))
    return {node: median(own) for node, own in times.items()}


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
