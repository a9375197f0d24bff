"""A run as a report sees it: every evaluation with what it had cost until then.

A run is a folder (:mod:`..runs`), or a JSONL file with rows of the same form, by which a FedAvg run
that this package did not make takes part in a comparison.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..errors import PlanError, RunError
from ..plans import Plan
from ..runs import Run, RunConfig, Tail, read_run, sorted_rows
from .metric_names import numbers, spread

__all__ = ["Moment", "Reading", "read_all"]


@dataclass(frozen=True, slots=True)
class Moment:
    """An evaluation, and what had been spent until then.

    Attributes
    ----------
    round : int
    updates : float
        Local updates (trainings of one node in one round) of all nodes so far.
    epoch, bytes, seconds : float
        NaN where not known. ``bytes`` are those between clients and through the server.
    metrics : dict of str to float
    nodes : dict of int to dict of str to float
        Each node's own metrics, where they are known.
    """

    round: int
    updates: float
    epoch: float
    bytes: float
    seconds: float
    metrics: dict[str, float]
    nodes: dict[int, dict[str, float]] = field(default_factory=dict)

    def spread(self, name: str) -> tuple[float, float, float]:
        """Return mean, worst and best of a metric over the nodes."""
        return spread(self.metrics, self.nodes, name)


@dataclass(frozen=True, slots=True)
class Reading:
    """One run in a report; ``place`` is its place among them, which says its colour."""

    run: Run
    label: str
    place: int
    plan: Plan | None
    moments: tuple[Moment, ...]
    served: tuple[Moment, ...]
    train: tuple[Moment, ...]
    distances: tuple[tuple[int, float], ...]
    names: tuple[str, ...]
    updates: float
    bytes_between: float
    bytes_through: float

    @property
    def config(self) -> RunConfig:
        """What the run is."""
        return self.run.config

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return str(self.config.strategy.get("name") or "run")

    @property
    def is_fedavg(self) -> bool:
        """Whether a server averaged the models."""
        return "fedavg" in self.strategy.lower()

    @property
    def topology(self) -> str:
        """The topology's spec; of a run with a server it is a star with that in the middle."""
        return self.plan.topology.spec if self.plan else "-"

    @property
    def bytes(self) -> float:
        """All bytes, NaN where nothing is known of them."""
        return self.bytes_between + self.bytes_through

    @property
    def seconds(self) -> float:
        """How long it took; simulated seconds where a network was simulated."""
        if self.is_timed:
            return max(m.seconds for m in self.train if math.isfinite(m.seconds))
        return self.run.seconds or math.nan

    @property
    def is_timed(self) -> bool:
        """Whether a simulated network says the time."""
        return bool(self.run.simulated) and any(math.isfinite(m.seconds) for m in self.train)

    def node(self, index: int) -> str:
        """Return a node's name with its index."""
        names = self.config.nodes
        name = names[index] if 0 <= index < len(names) else ""
        return f"{index}: {name}" if name and name != f"partition-id {index}" else f"node {index}"

    def last(self, name: str) -> Moment | None:
        """Return the last evaluation that has the metric."""
        having = [m for m in self.moments if math.isfinite(m.spread(name)[0])]
        return having[-1] if having else None


def read_all(paths: Sequence[Path]) -> list[Reading]:
    """Read runs, each with a label of its own.

    Raises ``RunError`` for what is none, and for one that is named twice.
    """
    places = [path.expanduser().resolve() for path in paths]
    twice = [path for place, path in enumerate(paths) if places[place] in places[:place]]
    if twice:
        raise RunError(f"{twice[0]} is named twice; name each run once.")
    readings = [_reading(_read(path), place) for place, path in enumerate(places)]
    labels = [reading.label for reading in readings]
    return [
        replace(r, label=f"{r.label} [{r.run.folder.name}]") if labels.count(r.label) > 1 else r
        for r in readings
    ]


def _read(path: Path) -> Run:
    if path.is_dir() or path.suffix != ".jsonl":
        return read_run(path)
    try:
        with path.open("rb") as file:
            first = file.readline()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    rows = Tail(path).read()
    return sorted_rows(path, _bare_config(path, first), rows)


def _bare_config(path: Path, line: bytes) -> RunConfig:
    """Return what the first line says of a run without a folder; it may say nothing."""
    try:
        content = json.loads(line)
    except ValueError:
        content = {}
    given = content if isinstance(content, dict) and content.get("kind") == "config" else {}
    strategy = given.get("strategy") or {"name": "FedAvg"}
    strategy = {"name": strategy} if isinstance(strategy, str) else strategy
    if not isinstance(strategy, dict):
        raise RunError(f"{path} line 1: strategy is {strategy!r:.60}, allowed is a name.")
    return RunConfig(
        version=str(given.get("version", "")),
        training="",
        flower_run=None,
        runtime=str(given.get("runtime", "-")),
        strategy=strategy,
        plan_json="",
        nodes=(),
        started="",
        status="finished",
        num_nodes=_count(path, given, "num_nodes"),
        num_slots=_count(path, given, "num_slots"),
        num_rounds=_count(path, given, "num_rounds"),
        parameters=_count(path, given, "parameters"),
        model_bytes=_count(path, given, "model_bytes"),
    )


def _count(path: Path, given: Mapping[str, Any], name: str) -> int:
    value = given.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RunError(f"{path} line 1: {name} is {value!r:.60}, allowed is a whole number.")
    return value


def _reading(run: Run, place: int) -> Reading:
    plan = _plan(run.config)
    progress = _Progress(run, plan)
    moments = [progress.moment(r.round, r.seconds, r.metrics, r.nodes) for r in run.evaluations]
    served = [progress.moment(r.round, r.seconds, r.metrics) for r in run.server_evaluations]
    train = [progress.moment(r.round, r.seconds, r.train) for r in run.rounds]
    distances = [(s.last, s.consensus_distance) for s in run.segments]
    if run.simulated:
        moments, served, train = progress.simulated()
        distances = [(int(r["round"]), r.get("consensus_distance")) for r in run.simulated]
    last = run.last_round or max((m.round for m in (*moments, *served)), default=0)
    between, through = progress.bytes_at(last)
    return Reading(
        run,
        _label(run.config, plan),
        place,
        plan,
        tuple(moments),
        tuple(served),
        tuple(train),
        tuple((t, d) for t, d in distances if d is not None and math.isfinite(d)),
        _names([*moments, *served]),
        progress.updates_at(last),
        between,
        through,
    )


def _plan(config: RunConfig) -> Plan | None:
    if not config.plan_json:
        return None
    try:
        return config.plan
    except PlanError:
        return None  # of another version, or damaged: what was measured is shown all the same


def _label(config: RunConfig, plan: Plan | None) -> str:
    name = str(config.strategy.get("name") or "run")
    if plan is None:
        return name
    if config.num_slots < config.num_nodes:
        return f"{name}, {plan.topology.spec}, {config.num_slots} active"
    return f"{name}, {plan.topology.spec}"


class _Progress:
    """What had been spent after each round."""

    def __init__(self, run: Run, plan: Plan | None) -> None:
        self._run = run
        self._eras = _eras(run.config, plan)
        self._lasts = [segment.last for segment in run.segments]
        self._records = run.simulated
        self._rounds = [int(record["round"]) for record in run.simulated]
        self._updates = list(accumulate(r.get("active", 0.0) for r in run.simulated))
        self._bytes = list(accumulate(r.get("bytes", 0.0) for r in run.simulated))

    def updates_at(self, round: int) -> float:
        if self._records:
            place = bisect_right(self._rounds, round)
            return self._updates[place - 1] if place else 0.0
        ends = [first - 1 for first, _ in self._eras[1:]] + [round]
        eras = zip(self._eras, ends, strict=True)
        total = sum(max(0, min(end, round) - first + 1) * size for (first, size), end in eras)
        return float(total) if total or not round else math.nan

    def bytes_at(self, round: int) -> tuple[float, float]:
        """Return the bytes between clients and through the server; FedAvg's may be worked out."""
        if self._records:
            place = bisect_right(self._rounds, round)
            return (self._bytes[place - 1] if place else 0.0), 0.0
        place = bisect_right(self._lasts, round)
        if place:
            segment = self._run.segments[place - 1]
            return float(segment.bytes_between_clients), float(segment.bytes_through_server)
        config = self._run.config
        if not self._lasts and not config.plan_json and config.model_bytes:
            return 0.0, 2 * config.model_bytes * self.updates_at(round)
        return (math.nan, math.nan) if not self._lasts else (0.0, 0.0)

    def moment(
        self,
        round: int,
        seconds: float,
        metrics: Mapping[str, Any],
        nodes: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> Moment:
        own = {node: numbers(values) for node, values in sorted((nodes or {}).items())}
        total = sum(self.bytes_at(round))
        updates = self.updates_at(round)
        return Moment(round, updates, math.nan, total, seconds, numbers(metrics), own)

    def simulated(self) -> tuple[list[Moment], list[Moment], list[Moment]]:
        """Return evaluations over the slots, those of the mean model, and the rounds' training."""
        found: tuple[list[Moment], list[Moment], list[Moment]] = ([], [], [])
        for record in self._records:
            parts = _renamed(record, "test_"), _renamed(record, "served_"), _train(record)
            for moments, metrics in zip(found, parts, strict=True):
                if metrics:
                    moments.append(self._simulated_moment(record, metrics))
        return found

    def _simulated_moment(self, record: Mapping[str, float], metrics: dict[str, float]) -> Moment:
        round = int(record["round"])
        epoch, seconds = record.get("epoch", math.nan), record.get("seconds", math.nan)
        total = sum(self.bytes_at(round))
        return Moment(round, self.updates_at(round), epoch, total, seconds, metrics)


def _eras(config: RunConfig, plan: Plan | None) -> list[tuple[int, int]]:
    """Return (first round, nodes that train in a round) for each list of live nodes."""
    if plan is None or not plan.live:
        return [(1, config.num_slots)]
    return [(first, min(plan.num_slots, len(nodes))) for first, nodes in plan.live]


def _renamed(record: Mapping[str, float], prefix: str) -> dict[str, float]:
    names = {name: name.removeprefix(prefix) for name in record if name.startswith(prefix)}
    dashed = {old: _dashed(new) for old, new in names.items()}
    return {dashed[name]: record[name] for name in names}


def _dashed(name: str) -> str:
    for suffix in ("_min", "_max"):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix)}-{suffix[1:]}"
    return name


def _train(record: Mapping[str, float]) -> dict[str, float]:
    return {"loss": record["train_loss"]} if "train_loss" in record else {}


def _names(moments: Iterable[Moment]) -> tuple[str, ...]:
    """Return every metric of the evaluations."""
    found: dict[str, None] = {}
    for moment in moments:
        found |= dict.fromkeys(moment.metrics)
        for values in moment.nodes.values():
            found.update(dict.fromkeys(values))
    return tuple(found)
