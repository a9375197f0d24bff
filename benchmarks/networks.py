"""Teleportation against D-SGD on a neural network with heterogeneous data.

All methods make the same number of local updates, hence of epochs, and their learning rate (and k)
is tuned the same way: on a validation set that no node has, with one seed that is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from learning_data import by_dirichlet, load
from sweeps import best_of_each, sweep

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BATCH",
    "LEARNING_RATES",
    "TOPOLOGIES",
    "TUNING_SEED",
    "VALIDATION",
    "Outcome",
    "Problem",
    "Training",
    "mlp",
    "train",
    "tuned",
]

LEARNING_RATES = (0.1, 0.3, 1.0, 3.0)
ACTIVE = (4, 16)
TOPOLOGIES = ("ring", "exponential", "base-graph:1")
HIDDEN, BATCH = 128, 16
TUNING_SEED = 1000
VALIDATION = 0.15


@dataclass(frozen=True, slots=True)
class Problem:
    """Data, how unlike the nodes' parts are, and the budget of local updates."""

    data: str
    alpha: float
    num_nodes: int
    topology: str
    updates: int
    data_dir: str | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """One run; ``num_active`` 0 is D-SGD. It is judged on the validation or on the test set."""

    problem: Problem
    num_active: int
    learning_rate: float
    seed: int
    on_test: bool

    @property
    def method(self) -> str:
        """Name of the method."""
        return "Teleportation" if self.num_active else "D-SGD"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Accuracies after the last round; all 0 when the run diverged.

    ``curve`` is (local updates, served accuracy, worst node's accuracy) at each evaluation.
    """

    served: float
    worst: float
    mean: float
    curve: tuple[tuple[int, float, float], ...] = ()


def mlp(num_features: int, seed: int) -> nn.Module:
    """Return the network that all methods train, as the seed initializes it."""
    import torch

    torch.manual_seed(seed)
    first, last = torch.nn.Linear(num_features, HIDDEN), torch.nn.Linear(HIDDEN, 10)
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


def train(training: Training) -> Outcome:
    """Run one training in the vectorized simulator."""
    import torch

    from flwr_gossip.server_free.simulation import NodeData, simulate
    from flwr_gossip.strategies import Gossip, Teleportation

    torch.set_num_threads(1)
    problem = training.problem
    data = load(problem.data, Path(problem.data_dir) if problem.data_dir else None)
    x, y, held_out = data.without_validation(VALIDATION, TUNING_SEED)
    parts = by_dirichlet(y, problem.num_nodes, problem.alpha, training.seed)
    active = training.num_active or problem.num_nodes
    rounds = problem.updates // active
    result = simulate(
        mlp(data.num_features, training.seed),
        torch.nn.functional.cross_entropy,
        NodeData.from_partition(x, y, parts),
        Teleportation(active, problem.topology, seed=training.seed)
        if training.num_active
        else Gossip(problem.topology, seed=training.seed),
        num_rounds=rounds,
        learning_rate=training.learning_rate,
        batch_size=BATCH,
        seed=training.seed,
        test_data=data.test if training.on_test else held_out,
        evaluate_every=None if training.on_test else rounds,
        progress=False,
    )
    if result.diverged_at is not None:
        return Outcome(0.0, 0.0, 0.0)
    points = [record for record in result.history if "test_accuracy" in record]
    curve = tuple(
        (r["round"] * active, r["served_accuracy"], r["test_accuracy_min"]) for r in points
    )
    last = points[-1]
    return Outcome(last["served_accuracy"], last["test_accuracy_min"], last["test_accuracy"], curve)


def tuned(
    problems: Iterable[Problem], num_seeds: int, workers: int | None = None
) -> list[tuple[Training, list[Outcome]]]:
    """Return each problem's methods with the tuned learning rate and k, and their test outcomes."""
    groups = [
        [
            Training(problem, k, rate, TUNING_SEED, on_test=False)
            for k in choices
            for rate in LEARNING_RATES
        ]
        for problem in problems
        for choices in ((0,), ACTIVE)
    ]
    best = best_of_each(train, groups, lambda outcome: outcome.mean, workers)
    final = [
        replace(training, seed=seed, on_test=True) for training in best for seed in range(num_seeds)
    ]
    outcomes = sweep(train, final, "testing", workers)
    return [
        (training, outcomes[place * num_seeds : (place + 1) * num_seeds])
        for place, training in enumerate(best)
    ]
