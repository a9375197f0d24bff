"""The search in the vectorized runtime: the numbers of its passes, and how good its choice is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flwr_gossip.server_free import theory
from flwr_gossip.server_free.errors import ModelError, PlanError
from flwr_gossip.server_free.searches import Search
from flwr_gossip.server_free.simulation import NodeData, simulate_search
from flwr_gossip.server_free.topologies import from_spec
from flwr_gossip.strategies import Gossip, Teleportation, TeleportationSearch
from reference import dense

N, ROUNDS = 9, 5


class Point(nn.Module):
    """A model that is a point x; every sample's output is x."""

    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.from_numpy(start))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.x.expand(len(inputs), -1)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1/2 ||x - b||^2, the mean over the samples b."""
    return 0.5 * ((outputs - targets) ** 2).sum(dim=1).mean()


def quadratics(
    num_nodes: int, dimension: int, zeta2: float = 1.0, sigma2: float = 0.0, samples: int = 1
) -> tuple[np.ndarray, NodeData]:
    """Return b, of mean 0 and mean square norm zeta2, and each node's samples around its b."""
    rng = np.random.default_rng(1)
    b = rng.normal(size=(num_nodes, dimension))
    b -= b.mean(axis=0)
    b *= np.sqrt(zeta2 / np.square(b).sum(axis=1).mean())
    spread = rng.normal(size=(num_nodes, samples, dimension)) * np.sqrt(sigma2 / dimension)
    spread -= spread.mean(axis=1, keepdims=True)
    targets = (b[:, None] + spread).reshape(-1, dimension)
    rows = np.arange(num_nodes * samples).reshape(num_nodes, samples)
    return b, NodeData.from_partition(np.zeros((len(targets), 1)), targets, rows)


@pytest.mark.parametrize("topology", ["one-peer-exponential", "ring"])
def test_each_candidate_has_the_numbers_of_its_pass(topology: str) -> None:
    b, data = quadratics(N, 3)
    x0 = np.arange(3.0)
    validation = (np.zeros((N, 1)), b + 0.5)
    outcome = simulate_search(
        Point(x0),
        half_square,
        data,
        TeleportationSearch(topology, seed=4, try_all=True),
        num_rounds=ROUNDS,
        learning_rates=[0.3, 0.7],
        validation_data=validation,
    )
    tried = [(trial.learning_rate, trial.num_active) for trial in outcome.trials]
    assert tried == [(rate, k) for rate in (0.3, 0.7) for k in (1, 2, 4, 8, 9)]
    known = {}
    for rate in (0.3, 0.7):
        for one in Search(N, topology, 4, try_all=True).passes(ROUNDS):
            z = dense(one.plan, x0, lambda z, i, t, r=rate: z - r * (z - b[i]), ROUNDS)
            for candidate in one.candidates:
                own = z[candidate.slots.start : candidate.slots.stop]
                losses = [0.5 * np.square(x - b - 0.5).sum(axis=1).mean() for x in own]
                known[rate, candidate.num_active] = (own, np.mean(losses))
    for trial in outcome.trials:
        own, value = known[trial.learning_rate, trial.num_active]
        np.testing.assert_allclose(trial.result.models.numpy(), own, rtol=0, atol=1e-12)
        assert trial.value == pytest.approx(value, rel=1e-12)
    best = min(known, key=lambda key: known[key][1])
    assert (outcome.best.learning_rate, outcome.best.num_active) == best


@pytest.mark.parametrize(("topology", "zeta2"), [("ring", 10.0), ("one-peer-exponential", 1.0)])
def test_the_choice_is_nearly_the_best_of_all_k_and_rates(topology: str, zeta2: float) -> None:
    """Judged by the exact expected error, over every k = 1..25, not only the candidates."""
    n, rounds, dimension = 25, 60, 400
    rates = [0.03, 0.05, 0.08]
    _, data = quadratics(n, dimension, zeta2, sigma2=1.0, samples=40)
    x0 = np.full(dimension, np.sqrt(10.0 / dimension))
    outcome = simulate_search(
        Point(x0),
        half_square,
        data,
        TeleportationSearch(topology, try_all=True),
        num_rounds=rounds,
        learning_rates=rates,
        validation_data=(np.zeros((1, 1)), np.zeros((1, dimension))),
        batch_size=1,
    )

    def expected(k: int, rate: float) -> float:
        noise = {"sigma2": 1.0, "zeta2": zeta2, "start": 10.0}
        return theory.teleportation_errors(from_spec(topology, k), n, rate, rounds, **noise)[-1]

    best = min(expected(k, rate) for k in range(1, n + 1) for rate in rates)
    chosen = expected(outcome.best.num_active, outcome.best.learning_rate)
    assert chosen <= 1.05 * best


def test_one_that_diverges_stops_alone_and_is_not_chosen() -> None:
    _, data = quadratics(N, 2)
    outcome = simulate_search(
        Point(np.ones(2)),
        half_square,
        data,
        Teleportation("auto", "ring"),
        num_rounds=70,
        learning_rates=[1e6, 0.1],
        validation_data=(np.zeros((1, 1)), np.zeros((1, 2))),
    )
    assert all(np.isnan(t.value) == (t.learning_rate == 1e6) for t in outcome.trials)
    assert outcome.best.learning_rate == 0.1


def test_larger_can_be_better() -> None:
    _, data = quadratics(N, 2)
    outcome = simulate_search(
        Point(np.ones(2)),
        half_square,
        data,
        Search(N),
        num_rounds=3,
        learning_rates=[0.1, 0.5],
        validation_data=(np.zeros((1, 1)), np.zeros((1, 2))),
        metric=half_square,
        maximize=True,
    )
    assert outcome.best.value == max(trial.value for trial in outcome.trials)


@pytest.mark.parametrize(
    ("strategy", "change", "says"),
    [
        (Gossip("ring"), {}, r"allowed are TeleportationSearch, Teleportation\('auto'\)"),
        (Teleportation(4), {}, "simulate\\(\\) runs all others"),
        (Search(5), {}, "the search is over 5 nodes, the data are of 9"),
        (Search(N), {"learning_rates": []}, "there are 0 learning_rates"),
        (TeleportationSearch(), {"learning_rates": None}, "there are 0 learning_rates"),
        (Search(N), {"maximize": True}, "not the largest loss: pass what decides as metric="),
        (TeleportationSearch(metric="accuracy"), {}, "not the strategy's 'accuracy': pass what"),
        (TeleportationSearch(metric="loss"), {"maximize": True}, "not the largest loss"),
        (Search(N), {"num_rounds": 0}, "num_rounds is 0"),
        (Search(N), {"num_rounds": "3"}, "num_rounds is '3'"),
        (Search(N), {"learning_rates": 0.1}, r"learning_rates is 0.1, .* list of numbers: \[0.1\]"),
        (Search(N), {"learning_rates": [0.1, -1.0]}, "learning_rates is -1.0"),
    ],
)
def test_bad_input(strategy: object, change: dict, says: str) -> None:
    _, data = quadratics(N, 2)
    settings = {"num_rounds": 3, "learning_rates": [0.1]} | change
    with pytest.raises(PlanError, match=says):
        simulate_search(
            Point(np.ones(2)),
            half_square,
            data,
            strategy,
            validation_data=(np.zeros((1, 1)), np.zeros((1, 2))),
            **settings,
        )


def test_the_strategys_own_learning_rates_and_direction_hold() -> None:
    _, data = quadratics(N, 2)
    strategy = TeleportationSearch(learning_rates=[0.1, 0.5], metric="gain", maximize=True)
    outcome = simulate_search(
        Point(np.ones(2)),
        half_square,
        data,
        strategy,
        num_rounds=3,
        validation_data=(np.zeros((1, 1)), np.zeros((1, 2))),
        metric=half_square,
    )
    assert {trial.learning_rate for trial in outcome.trials} == {0.1, 0.5}
    assert outcome.best.value == max(trial.value for trial in outcome.trials)


def test_what_cannot_be_judged_is_refused_before_any_training() -> None:
    _, data = quadratics(N, 2)

    def training(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("it trains")

    def sum_of_three(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs @ targets.new_ones(3)

    with pytest.raises(ModelError, match=r"validation_data with inputs of shape \(1, 1\)"):
        simulate_search(
            Point(np.ones(2)),
            training,
            data,
            Search(N),
            num_rounds=3,
            learning_rates=[0.1],
            validation_data=(np.zeros((1, 1)), np.zeros((1, 2))),
            metric=sum_of_three,
        )


def test_validation_data_are_cast_as_the_training_data_are() -> None:
    """Labels of int32, which cross_entropy refuses, train well and must be judged as well."""
    inputs, labels = np.eye(4, dtype=np.float64), np.array([0, 1, 0, 1], np.int32)
    torch.manual_seed(0)
    outcome = simulate_search(
        nn.Linear(4, 2),
        nn.functional.cross_entropy,
        [(inputs, labels)] * 3,
        Search(3),
        num_rounds=2,
        learning_rates=[0.5],
        validation_data=(inputs, labels),
    )
    assert 0 < outcome.best.value < np.log(2)
