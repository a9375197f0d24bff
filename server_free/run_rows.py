"""The rows of a run's ``metrics.jsonl``: what each kind says, as JSON and back.

Numbers that are not finite are null in the file, and NaN again when they are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import RunError
from .orders import Loss

__all__ = [
    "EndRow",
    "EvaluationRow",
    "LeftOutRow",
    "LossRow",
    "Metrics",
    "RoundRow",
    "Row",
    "SegmentRow",
    "ServerEvaluationRow",
    "SimulatedRow",
    "line_of",
    "parsed",
]

Metrics = Mapping[str, float | Sequence[float]]
"""Metric -> value."""


@dataclass(frozen=True, slots=True)
class RoundRow:
    """A round of training: the metrics over the nodes that trained.

    ``seconds`` are, in every row, wall seconds since the start when it was known.
    """

    round: int
    seconds: float
    train: Metrics


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """The end of a segment: who was there, and what it cost.

    Attributes
    ----------
    first, last : int
        Its rounds.
    live : int
        Nodes that are live after it.
    missing : dict of int to str
        Node -> first reason why a model of it did not arrive.
    returned : tuple of int
        Nodes that were back at its start.
    bytes_between_clients, bytes_through_server : int
        Totals since the start.
    consensus_distance : float or None
        After ``last``, where it was measured.
    node_bytes : dict of int to (int, int)
        Node -> bytes (fetched, published) in this segment.
    node_seconds : dict of int to float
        Node -> wall seconds in its rounds.
    """

    first: int
    last: int
    seconds: float
    live: int
    missing: dict[int, str] = field(default_factory=dict)
    returned: tuple[int, ...] = ()
    bytes_between_clients: int = 0
    bytes_through_server: int = 0
    consensus_distance: float | None = None
    node_bytes: dict[int, tuple[int, int]] = field(default_factory=dict)
    node_seconds: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """The nodes' evaluation after a round: over the nodes, and each node's own metrics."""

    round: int
    seconds: float
    metrics: Metrics
    nodes: dict[int, Metrics] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerEvaluationRow:
    """What ``evaluate_fn`` said of the mean model after a round."""

    round: int
    seconds: float
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class LossRow:
    """A model that did not arrive."""

    loss: Loss


@dataclass(frozen=True, slots=True)
class LeftOutRow:
    """How many further models did not arrive, which have no row of their own."""

    count: int


@dataclass(frozen=True, slots=True)
class SimulatedRow:
    """A round of the vectorized runtime: the record of its history."""

    record: dict[str, float]


@dataclass(frozen=True, slots=True)
class EndRow:
    """The end: after which round, and how ("finished" or "failed")."""

    round: int
    seconds: float
    status: str
    error: str | None = None


Row = (
    RoundRow
    | SegmentRow
    | EvaluationRow
    | ServerEvaluationRow
    | LossRow
    | LeftOutRow
    | SimulatedRow
    | EndRow
)

_KINDS: dict[type, str] = {
    RoundRow: "round",
    SegmentRow: "segment",
    EvaluationRow: "evaluation",
    ServerEvaluationRow: "server-evaluation",
    LossRow: "loss",
    LeftOutRow: "losses-left-out",
    SimulatedRow: "simulated",
    EndRow: "end",
}


def line_of(row: Row) -> str:
    """Return the row as a line of JSON, with its end."""
    if isinstance(row, LossRow):
        values = asdict(row.loss)
        values["missing"] = values.pop("kind")
    elif isinstance(row, SimulatedRow):
        values = dict(row.record)
    else:
        values = {name: getattr(row, name) for name in row.__dataclass_fields__}
    content = {"kind": _KINDS[type(row)], **values}
    try:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:  # looked for only where there is one
        text = json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))
    return text + "\n"


def parsed(line: bytes, place: str) -> Row | None:
    """Return the row in a line, None for a kind that this version does not know.

    Raises ``RunError``, which names ``place``, for what is no row.
    """
    try:
        content = json.loads(line)
        kind = content.pop("kind")
    except (ValueError, KeyError, AttributeError, TypeError):
        shown = line[:60].decode(errors="replace")
        raise RunError(f'{place} is {shown!r}, allowed is a JSON object with a "kind".') from None
    make = _READERS.get(kind)
    try:
        return make(content) if make else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{place}, a {kind!r}, is damaged: {type(error).__name__}: {error}."
        ) from None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _number(value: Any) -> Any:
    """Return a metric: NaN for null, a list for a list."""
    if value is None:
        return math.nan
    if isinstance(value, list):
        return [_number(inner) for inner in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is no number")
    return value


def _metrics(content: Mapping[str, Any]) -> Metrics:
    return {str(name): _number(value) for name, value in content.items()}


def _segment(content: Mapping[str, Any]) -> SegmentRow:
    distance = content.get("consensus_distance")
    nodes_bytes = content.get("node_bytes", {}).items()
    return SegmentRow(
        first=int(content["first"]),
        last=int(content["last"]),
        seconds=float(_number(content["seconds"])),
        live=int(content["live"]),
        missing={int(node): str(why) for node, why in content.get("missing", {}).items()},
        returned=tuple(map(int, content.get("returned", ()))),
        bytes_between_clients=int(content.get("bytes_between_clients", 0)),
        bytes_through_server=int(content.get("bytes_through_server", 0)),
        consensus_distance=None if distance is None else float(distance),
        node_bytes={int(node): (int(pair[0]), int(pair[1])) for node, pair in nodes_bytes},
        node_seconds={
            int(n): float(_number(s)) for n, s in content.get("node_seconds", {}).items()
        },
    )


def _evaluation(content: Mapping[str, Any]) -> EvaluationRow:
    nodes = {int(node): _metrics(own) for node, own in content.get("nodes", {}).items()}
    return EvaluationRow(
        int(content["round"]), float(content["seconds"]), _metrics(content["metrics"]), nodes
    )


def _loss(content: Mapping[str, Any]) -> LossRow:
    round, slot, holder = int(content["round"]), int(content["slot"]), int(content["holder"])
    reader, reader_slot = int(content["reader"]), int(content["reader_slot"])
    texts = str(content["missing"]), str(content["reason"]), str(content["used"])
    return LossRow(Loss(round, slot, holder, reader, reader_slot, *texts))


def _simulated(content: Mapping[str, Any]) -> SimulatedRow:
    int(content["round"])
    return SimulatedRow({name: _number(value) for name, value in content.items()})


def _end(content: Mapping[str, Any]) -> EndRow:
    error = content.get("error")
    status = str(content["status"])
    return EndRow(
        int(content["round"]),
        float(content["seconds"]),
        status,
        None if error is None else str(error),
    )


_READERS: dict[str, Callable[[dict[str, Any]], Row]] = {
    "round": lambda c: RoundRow(int(c["round"]), float(c["seconds"]), _metrics(c["train"])),
    "segment": _segment,
    "evaluation": _evaluation,
    "server-evaluation": lambda c: ServerEvaluationRow(
        int(c["round"]), float(c["seconds"]), _metrics(c["metrics"])
    ),
    "loss": _loss,
    "losses-left-out": lambda c: LeftOutRow(int(c["count"])),
    "simulated": _simulated,
    "end": _end,
}
