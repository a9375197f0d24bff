"""Evaluations of a run, each with what had been spent until then."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ..plans import Plan
from ..runs import Run, RunConfig
from .metric_names import numbers, spread

__all__ = ["Moment", "Progress"]


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


class Progress:
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
        """Return the local updates of all nodes until after a round, NaN where not known."""
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
        """Return an evaluation, or a round's training, with what had been spent until then."""
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
