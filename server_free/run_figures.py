"""What a person wants to know of a run that is under way, from the rows of its record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from .run_rows import EndRow, EvaluationRow, Metrics, RoundRow, Row, SegmentRow, SimulatedRow
from .runs import RunConfig

__all__ = ["Figures"]

_MOST_MISSING = 3


@dataclass(slots=True)
class Figures:
    """The newest figures of a run.

    Parameters
    ----------
    config : RunConfig
        What the run is.
    """

    config: RunConfig
    round: int = 0
    seconds: float = 0.0
    live: int = 0
    active: int = 0
    train: Metrics = field(default_factory=dict)
    evaluated: Metrics = field(default_factory=dict)
    evaluated_after: int = 0
    distance: float | None = None
    between: int = 0
    through: int | None = None
    missing: dict[int, str] = field(default_factory=dict)
    missing_models: int = 0
    end: EndRow | None = None

    def __post_init__(self) -> None:
        self.round = self.config.resumed_after
        self.live, self.active = self.config.num_nodes, self.config.num_slots

    def take(self, rows: Iterable[Row]) -> None:
        """Take in further rows."""
        for row in rows:
            if isinstance(row, RoundRow):
                self.round, self.seconds, self.train = row.round, row.seconds, row.train
            elif isinstance(row, SegmentRow):
                self._segment(row)
            elif isinstance(row, EvaluationRow):
                self.evaluated, self.evaluated_after = row.metrics, row.round
            elif isinstance(row, SimulatedRow):
                self._simulated(row.record)
            elif isinstance(row, EndRow):
                self.seconds, self.end = row.seconds, row

    def _segment(self, row: SegmentRow) -> None:
        self.round, self.seconds = row.last, row.seconds
        self.live, self.active = row.live, min(row.live, self.config.num_slots)
        self.missing = row.missing
        self.between, self.through = row.bytes_between_clients, row.bytes_through_server
        if row.consensus_distance is not None:
            self.distance = row.consensus_distance

    def _simulated(self, record: Mapping[str, float]) -> None:
        self.round, self.active = int(record["round"]), int(record.get("active", self.active))
        self.live = self.config.num_nodes - int(record.get("offline", 0))
        self.train = {"loss": record.get("train_loss", math.nan)}
        self.between += int(record.get("bytes", 0))
        self.missing_models += int(record.get("missing", 0))
        self.seconds = record.get("seconds", self.seconds)
        self.distance = record.get("consensus_distance", self.distance)
        tested = {k.removeprefix("test_"): v for k, v in record.items() if k.startswith("test_")}
        if tested:
            self.evaluated = {_dashed(name): value for name, value in tested.items()}
            self.evaluated_after = self.round

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return self.round / max(1, self.config.num_rounds)

    def seconds_left(self) -> float | None:
        """Return how long the rest takes at the speed so far; None before the first round."""
        done = self.round - self.config.resumed_after
        if done <= 0 or self.end or self.config.runtime == "vectorized":
            return None
        return self.seconds / done * (self.config.num_rounds - self.round)

    def lines(self) -> list[tuple[str, str]]:
        """Return (what, value) for each figure that is known."""
        found = [("active", self._nodes())]
        if (loss := _chosen(self.train, "loss")) is not None:
            found.append((_trained(loss[0]), f"{loss[1]:.4g}"))
        if (
            judged := _chosen(self.evaluated, "acc") or _chosen(self.evaluated, "loss")
        ) is not None:
            found.append((judged[0], f"{_spread(self.evaluated, *judged)}, {self._when()}"))
        if self.distance is not None:
            found.append(("consensus distance", f"{self.distance:.3g}"))
        if self.between or self.through:
            through = "" if self.through is None else f", {_size(self.through)} through the server"
            found.append(("bytes", f"{_size(self.between)} between clients{through}"))
        if self.missing or self.missing_models:
            found.append(("missing", self._missing()))
        if self.seconds:
            found.append(("time", self._time()))
        return found

    def line(self) -> str:
        """Return all in one line, for a log."""
        done = f"round {self.round}/{self.config.num_rounds}"
        return ", ".join([done, *(f"{what}: {value}" for what, value in self.lines())])

    def _nodes(self) -> str:
        nodes = self.config.num_nodes
        gone = "" if self.live == nodes else f", {nodes - self.live} not there"
        return f"{self.active} of {nodes} nodes{gone}"

    def _when(self) -> str:
        return f"after round {self.evaluated_after}"

    def _missing(self) -> str:
        if self.missing_models:
            return f"{self.missing_models} models"
        shown = [f"node {node} ({why})" for node, why in self.missing.items()]
        more = len(shown) - _MOST_MISSING
        return ", ".join(shown[:_MOST_MISSING]) + (f" and {more} more" if more > 0 else "")

    def _time(self) -> str:
        left = self.seconds_left()
        unit = " simulated" if self.config.runtime == "vectorized" and not self.end else ""
        spent = f"{_clock(self.seconds)}{unit}"
        return spent if left is None else f"{spent}, about {_clock(left)} left"


def _chosen(metrics: Metrics, wanted: str) -> tuple[str, float] | None:
    """Return the first metric that is a number and has ``wanted`` in its name."""
    for name, value in metrics.items():
        if wanted in name.lower() and isinstance(value, int | float):
            return name, float(value)
    return None


def _trained(name: str) -> str:
    """Return the name of a train metric; many apps have said already that it is one."""
    return name if name.lower().startswith("train") else f"train {name}"


def _spread(metrics: Metrics, name: str, mean: float) -> str:
    """Return mean and worst; which end is the worst depends on what is measured."""
    worst = metrics.get(f"{name}-max" if "loss" in name.lower() else f"{name}-min")
    shown = f", worst {worst:.4g}" if isinstance(worst, int | float) else ""
    return f"mean {mean:.4g}{shown}"


def _dashed(name: str) -> str:
    for end in ("min", "max"):
        if name.endswith(f"_{end}"):
            return f"{name.removesuffix(f'_{end}')}-{end}"
    return name


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if math.isfinite(seconds) else "?"
