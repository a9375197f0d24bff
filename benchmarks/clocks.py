"""Teleportation against D-SGD by the clock: a neural network on slow and fast nodes and links.

Both methods have the same simulated seconds, and as many rounds as fit into them. A node computes
a local step in one second, unless it is slow; on a fast link a model takes no time that counts, on
a slow one two seconds. Learning rate (and k) are tuned on a validation set, at the time budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from learning_data import by_dirichlet, evenly, load
from networks import BATCH, TUNING_SEED, VALIDATION, mlp
from sweeps import best_of_each, sweep

if TYPE_CHECKING:
    from flwr_gossip.server_free.plans import Plan
    from flwr_gossip.server_free.simulation import Network

__all__ = ["SCENARIOS", "TOPOLOGIES", "Point", "Run", "Scenario", "Task", "train", "tuned"]

LEARNING_RATES = (0.5, 1.0, 2.0)
SLOW_SHARE, SLOW_FACTOR = 0.1, 10.0
SLOW_LINK_S = 2.0
EVALUATIONS = 20
TOPOLOGIES = ("ring", "one-peer-exponential")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Whether data are alike, what is slow, and the budget in simulated seconds.

    ``slow`` is "nothing", "nodes" (always the same tenth), "rounds" (each node in a tenth of its
    rounds) or "links".
    """

    name: str
    skewed: bool
    slow: str
    budget_s: float


SCENARIOS = (
    Scenario("alike, equal nodes", False, "nothing", 200.0),
    Scenario("skewed, equal nodes", True, "nothing", 200.0),
    Scenario("skewed, slow links", True, "links", 1000.0),
    Scenario("alike, slow nodes", False, "nodes", 2000.0),
    Scenario("skewed, slow nodes", True, "nodes", 2000.0),
    Scenario("skewed, slow at times", True, "rounds", 2000.0),
)


@dataclass(frozen=True, slots=True)
class Task:
    """What is learnt by how many nodes; k is tuned over ``active``. ``alpha``: of skewed data."""

    data: str
    num_nodes: int
    alpha: float = 0.1
    active: tuple[int, ...] = (4, 16)
    data_dir: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One training in simulated time; ``num_active`` 0 is D-SGD."""

    task: Task
    scenario: Scenario
    topology: str
    num_active: int
    learning_rate: float
    seed: int
    on_test: bool

    @property
    def method(self) -> str:
        """Name of the method."""
        return "Teleportation" if self.num_active else "D-SGD"


@dataclass(frozen=True, slots=True)
class Point:
    """What is known at an evaluation: time, bytes that all nodes sent so far, and accuracies."""

    seconds: float
    bytes: float
    rounds: int
    served: float
    worst: float
    mean: float


def network_of(run: Run, model_bytes: int) -> Network:
    """Return the network of a run; the seed decides who is slow."""
    from flwr_gossip.server_free.simulation import Network, Stragglers

    slow, n = run.scenario.slow, run.task.num_nodes
    if slow == "links":
        up = model_bytes / SLOW_LINK_S
        return Network(compute_s=1.0, upload_bytes_per_s=up, download_bytes_per_s=4 * up)
    if slow == "nodes":
        seconds = np.ones(n)
        chosen = np.random.default_rng([run.seed, n]).permutation(n)[: round(SLOW_SHARE * n)]
        seconds[chosen] = SLOW_FACTOR
        return Network.lan(compute_s=seconds)
    at_times = Stragglers(SLOW_SHARE, SLOW_FACTOR, each_round=True) if slow == "rounds" else None
    return Network.lan(compute_s=1.0, stragglers=at_times, seed=run.seed)


def train(run: Run) -> tuple[Point, ...]:
    """Return the curve of one training; nothing if it diverged."""
    import torch

    from flwr_gossip.server_free.simulation import NodeData, simulate

    torch.set_num_threads(1)
    task = run.task
    data = load(task.data, Path(task.data_dir) if task.data_dir else None)
    x, y, held_out = data.without_validation(VALIDATION, TUNING_SEED)
    model = mlp(data.num_features, run.seed)
    model_bytes = sum(value.numel() * value.element_size() for value in model.parameters())
    rounds = rounds_within(replace(run, learning_rate=0.0, on_test=False), model_bytes)
    result = simulate(
        model,
        torch.nn.functional.cross_entropy,
        NodeData.from_partition(x, y, _parts(run, y)),
        _plan(run, rounds),
        num_rounds=rounds,
        learning_rate=run.learning_rate,
        batch_size=BATCH,
        seed=run.seed,
        test_data=data.test if run.on_test else held_out,
        evaluate_every=max(1, rounds // EVALUATIONS) if run.on_test else rounds,
        network=network_of(run, model_bytes),
        progress=False,
    )
    if result.diverged_at is not None:
        return ()
    sent = np.cumsum([record["bytes"] for record in result.history])
    return tuple(
        Point(
            r["seconds"],
            float(sent[place]),
            place + 1,
            r["served_accuracy"],
            r["test_accuracy_min"],
            r["test_accuracy"],
        )
        for place, r in enumerate(result.history)
        if "test_accuracy" in r
    )


@cache
def rounds_within(run: Run, model_bytes: int) -> int:
    """Return how many rounds end within the budget, at least one; no training is needed for it."""
    from flwr_gossip.server_free.simulation import Timeline

    budget = run.scenario.budget_s
    most = int(budget) + 1  # a round takes a second at least
    timeline = Timeline(network_of(run, model_bytes), _plan(run, most), model_bytes)
    for round in range(1, most + 1):
        if timeline.play(round).seconds > budget:
            return max(1, round - 1)
    return most


def tuned(
    task: Task, scenarios: Sequence[Scenario], num_seeds: int, workers: int | None = None
) -> list[tuple[Run, list[tuple[Point, ...]]]]:
    """Return the tuned methods of each scenario and topology, with their curves on test data."""
    groups = [
        [
            Run(task, scenario, topology, k, rate, TUNING_SEED, on_test=False)
            for k in choices
            for rate in LEARNING_RATES
        ]
        for scenario in scenarios
        for topology in TOPOLOGIES
        for choices in ((0,), task.active)
    ]
    best = best_of_each(train, groups, lambda curve: curve[-1].mean if curve else 0.0, workers)
    final = [replace(run, seed=seed, on_test=True) for run in best for seed in range(num_seeds)]
    curves = sweep(train, final, "testing", workers)
    return [
        (run, curves[place * num_seeds : (place + 1) * num_seeds]) for place, run in enumerate(best)
    ]


def seconds_to(target: float, curve: Sequence[Point]) -> float:
    """Return when the worst node first has the target accuracy; infinite if it never does."""
    return next((point.seconds for point in curve if point.worst >= target), float("inf"))


def bytes_to(target: float, curve: Sequence[Point]) -> float:
    """Return what all nodes together sent until then."""
    return next((point.bytes for point in curve if point.worst >= target), float("inf"))


def _plan(run: Run, rounds: int) -> Plan:
    from flwr_gossip.strategies import Gossip, Teleportation

    if run.num_active:
        strategy = Teleportation(run.num_active, run.topology, seed=run.seed)
        return strategy.plan(run.task.num_nodes, rounds)
    return Gossip(run.topology, seed=run.seed).plan(run.task.num_nodes, rounds)


def _parts(run: Run, targets: np.ndarray) -> list[np.ndarray]:
    n = run.task.num_nodes
    if run.scenario.skewed:
        return by_dirichlet(targets, n, run.task.alpha, run.seed)
    return evenly(targets, n, run.seed)
