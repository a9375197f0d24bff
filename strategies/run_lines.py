"""The rows of a training's record: what has come to it since the last ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ..server_free.orders import Loss
from ..server_free.run_rows import (
    EndRow,
    EvaluationRow,
    LeftOutRow,
    LossRow,
    RoundRow,
    Row,
    SegmentRow,
    ServerEvaluationRow,
)
from .training import Training

__all__ = ["RunLines"]

V = TypeVar("V")

MOST_LOSSES = 10_000
"""How many models that did not arrive have a row of their own."""


@dataclass(slots=True)
class RunLines:
    """Turns what is new in a training into rows.

    Parameters
    ----------
    training : Training
        Whose result is looked at; nothing that is in it changes later.
    late : bool
        Whether the metrics are known only at the end, as in a search, where they are those of
        the best candidate.
    """

    training: Training
    late: bool
    began: float = field(default_factory=time.monotonic)
    first: int = 0
    told: dict[str, int] = field(default_factory=dict)
    marks: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        result = self.training.result
        self.first = self.training.last + 1
        self.marks.append((self.training.last, 0.0))
        for name in _METRICS:  # of an earlier run that goes on
            self._new(name)
        self._fresh("losses", result.losses)
        self._fresh_failures()

    def seconds(self) -> float:
        """Return the wall seconds since the start."""
        return round(time.monotonic() - self.began, 3)

    def of_rounds(self) -> Iterator[Row]:
        """Yield the rounds that are done and the models that did not arrive in them."""
        self.marks.append((self.training.last, self.seconds()))
        if not self.late:
            yield from self._rounds()

    def of_segment(self) -> Iterator[Row]:
        """Yield the evaluations and what the segment cost, which counts them in."""
        training, result = self.training, self.training.result
        if not self.late:
            yield from self._evaluations()
        missing = self._fresh_failures()
        losses = self._fresh("losses", result.losses)
        for loss in losses:
            missing.setdefault(loss.holder, loss.reason)
        yield from self._loss_rows(losses)
        costs = training.per_node
        yield SegmentRow(
            first=self.first,
            last=training.last,
            seconds=self.seconds(),
            live=len(training.attendance.live),
            missing=dict(sorted(missing.items())),
            returned=tuple(costs.returned),
            bytes_between_clients=result.traffic.bytes_between_clients,
            bytes_through_server=result.traffic.bytes_through_server,
            consensus_distance=result.consensus_distance.get(training.last),
            node_bytes=dict(sorted(costs.bytes.items())),
            node_seconds={node: round(s, 4) for node, s in sorted(costs.seconds.items())},
        )
        costs.clear()
        self.first = training.last + 1

    def of_end(self, status: str, error: str | None) -> Iterator[Row]:
        """Yield what is left to say, and the end."""
        yield from self._rounds()
        yield from self._evaluations()
        left_out = self.told.get("losses", 0) - MOST_LOSSES
        if left_out > 0:
            yield LeftOutRow(left_out)
        yield EndRow(self.training.last, self.seconds(), status, error)

    def _rounds(self) -> Iterator[Row]:
        entries = self._new("train_metrics_clientapp")
        for (t, metrics), seconds in zip(entries, self._when(entries), strict=True):
            yield RoundRow(t, seconds, dict(metrics))

    def _evaluations(self) -> Iterator[Row]:
        own = dict(sorted(self.training.per_node.metrics.items()))
        entries = self._new("evaluate_metrics_clientapp")
        for (t, metrics), seconds in zip(entries, self._when(entries), strict=True):
            nodes = own if t == self.training.last else {}
            yield EvaluationRow(t, seconds, dict(metrics), nodes)
        entries = self._new("evaluate_metrics_serverapp")
        for (t, metrics), seconds in zip(entries, self._when(entries), strict=True):
            yield ServerEvaluationRow(t, seconds, dict(metrics))

    def _when(self, entries: Sequence[tuple[int, Any]]) -> list[float]:
        """Return when each round was done: those of a segment are spread evenly over it."""
        rounds, seconds = zip(*self.marks, strict=True)
        found = np.interp([t for t, _ in entries], rounds, seconds)
        return [round(float(value), 3) for value in found]

    def _fresh_failures(self) -> dict[int, str]:
        """Return node -> what first went wrong there since the last call."""
        found = {}
        for node, reasons in self.training.attendance.failures.items():
            fresh = self._fresh(f"failures {node}", reasons)
            found.update({node: fresh[0]} if fresh else {})
        return found

    def _loss_rows(self, losses: Sequence[Loss]) -> Iterator[Row]:
        before = self.told["losses"] - len(losses)
        yield from (LossRow(loss) for loss in losses[: max(0, MOST_LOSSES - before)])

    def _new(self, name: str) -> list[tuple[int, Mapping[str, Any]]]:
        return self._fresh(name, list(getattr(self.training.result, name).items()))

    def _fresh(self, name: str, entries: Sequence[V]) -> list[V]:
        """Return the entries that came since the last call for ``name``."""
        before = self.told.get(name, 0)
        self.told[name] = len(entries)
        return list(islice(entries, before, None))


_METRICS = (
    "train_metrics_clientapp",
    "evaluate_metrics_clientapp",
    "evaluate_metrics_serverapp",
)
