"""The cases, and strategies that note what a round costs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_gossip.strategies import Gossip, Teleportation
from flwr_gossip.strategies.settings import Options

TIMEOUT_S = 600.0
NEVER = 10**6
NUM_ACTIVE = 16
"""In Teleportation."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model, by the sizes of its layers, and how it is trained."""

    sizes: tuple[int, ...]
    training: str

    @property
    def num_parameters(self) -> int:
        """Number of weights and biases."""
        return sum((into + 1) * out for into, out in zip(self.sizes, self.sizes[1:], strict=False))


CASES = {
    "linear": Case((64, 10), "trivial"),
    "mlp": Case((64, 256, 128, 10), "trivial"),
    "mlp-torch": Case((64, 256, 128, 10), "torch"),
}


@dataclass(frozen=True, slots=True)
class Play:
    """A training to measure; as text ``case:strategy:rounds``."""

    case: str
    strategy: str
    rounds: int

    def __str__(self) -> str:
        return f"{self.case}:{self.strategy}:{self.rounds}"

    @staticmethod
    def read(text: str) -> Play:
        """Return the training that the text says."""
        case, strategy, rounds = text.split(":")
        return Play(case, strategy, int(rounds))


@dataclass(slots=True)
class Measured:
    """What rounds cost: each from its first message to the aggregate of its replies.

    ``cpu_s`` is that of all of them, of all processes together.
    """

    updates: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and all that it started, as Linux counts them."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        stats[int(path.parent.name)] = int(values[1]), sum(map(int, values[11:15]))
    family = {os.getpid()}
    while more := {pid for pid, (parent, _) in stats.items() if parent in family} - family:
        family |= more
    return sum(stats[pid][1] for pid in family) / os.sysconf("SC_CLK_TCK")


class Timed(Strategy):
    """Mixed into a strategy: its rounds are measured, but for the first, which starts processes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.measured = Measured()
        self.last_round = 0
        self._began = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Begin a round."""
        if server_round == 2:
            self.measured.cpu_s = -cpu_seconds()
        self._began = time.perf_counter()
        return super().configure_train(server_round, arrays, config, grid)  # type: ignore[safe-super]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """End a round."""
        received = list(replies)
        result = super().aggregate_train(server_round, received)  # type: ignore[safe-super]
        if server_round > 1:
            self.measured.seconds.append(time.perf_counter() - self._began)
            self.measured.updates.append(sum(not reply.has_error() for reply in received))
        if server_round == self.last_round:
            self.measured.cpu_s += cpu_seconds()
        return result


class TimedFedAvg(Timed, FedAvg):
    """Flower's FedAvg."""


class TimedGossip(Timed, Gossip):
    """Gossip."""


class TimedTeleportation(Timed, Teleportation):
    """Teleportation."""


def timed(strategy: str, num_nodes: int, sampled: int) -> Timed:
    """Return a strategy that evaluates nothing; FedAvg over ``sampled`` nodes a round."""
    # Before the last round nothing but rounds: at a stop every slot gets a message more.
    options: Options = {"fraction_evaluate": 0.0, "evaluate_every": NEVER}
    if strategy == "Gossip":
        return TimedGossip("ring", **options)
    if strategy == "Teleportation":
        return TimedTeleportation(min(NUM_ACTIVE, num_nodes), **options)
    return TimedFedAvg(
        fraction_train=sampled / num_nodes,
        min_train_nodes=sampled,
        min_available_nodes=num_nodes,
        fraction_evaluate=0.0,
    )


def measure(play: Play, grid: Grid, sampled: int) -> Measured:
    """Train as ``play`` says and return what its rounds, but for one before them, cost."""
    strategy = timed(play.strategy, len(list(grid.get_node_ids())), sampled)
    strategy.last_round = play.rounds + 1
    case = CASES[play.case]
    config = ConfigRecord({"training": case.training})
    start = initial(case)
    strategy.start(grid, start, strategy.last_round, timeout=TIMEOUT_S, train_config=config)
    return strategy.measured


def initial(case: Case) -> ArrayRecord:
    """Return a random model under the names that torch's Sequential gives."""
    draws = np.random.default_rng(0)
    arrays = {}
    for index, (into, out) in enumerate(zip(case.sizes, case.sizes[1:], strict=False)):
        weight = draws.standard_normal((out, into), np.float32) / np.float32(into**0.5)
        arrays[f"{2 * index}.weight"] = Array(weight)
        arrays[f"{2 * index}.bias"] = Array(np.zeros(out, np.float32))
    return ArrayRecord(arrays)
