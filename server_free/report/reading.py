"""A run as a report sees it: every evaluation with what it had cost until then.

A run is a folder (:mod:`..runs`), or a JSONL file with rows of the same form, by which a FedAvg run
that this package did not make takes part in a comparison.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import PlanError, RunError
from ..plans import Plan
from ..runs import Run, RunConfig, Tail, read_run, sorted_rows
from .progress import Moment, Progress

__all__ = ["Reading", "read_all"]


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
    progress = Progress(run, plan)
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


def _names(moments: Iterable[Moment]) -> tuple[str, ...]:
    """Return every metric of the evaluations."""
    found: dict[str, None] = {}
    for moment in moments:
        found |= dict.fromkeys(moment.metrics)
        for values in moment.nodes.values():
            found.update(dict.fromkeys(values))
    return tuple(found)
