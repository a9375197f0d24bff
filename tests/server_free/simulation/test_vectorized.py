"""The vectorized runtime gives the numbers of the dense reference and of plain torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.strategies import Gossip, Teleportation

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation import NodeData, simulate  # noqa: E402

ROUNDS = 8
SIZES = [4, 7, 7, 5, 7, 4]
MakeProblem = Callable[[list[int]], Any]


def gossip(spec: str) -> Plan:
    return Plan(topologies.from_spec(spec, num_nodes=6), AllActive(6), ROUNDS)


def teleport(slots: int, spec: str = "ring") -> Plan:
    topology = topologies.from_spec(spec, num_nodes=slots)
    return Plan(topology, Teleport(6, slots, seed=3), ROUNDS)


PLANS = {
    "ring": gossip("ring"),
    "one-peer": gossip("one-peer-exponential"),
    "torus": gossip("torus:2x3"),
    "directed": gossip("exponential"),
    "teleport 1": teleport(1),
    "teleport n": teleport(6, "one-peer-exponential"),
    "nodes come": gossip("ring").with_live(1, (3,)).with_live(5, range(6)),
    "all leave": teleport(3).with_live(4, ()).with_live(6, range(6)),
    # These four see every optimizer too.
    "alone": gossip("alone"),
    "teleport 3": teleport(3),
    "nodes leave": gossip("ring").with_live(3, (0, 1, 2, 5)).with_live(6, (1,)),
    "too few live": teleport(4).with_live(2, (0, 4)).with_live(5, range(6)),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "momentum of slots": {"learning_rate": 0.1, "momentum": 0.9},
    "momentum of nodes": {"learning_rate": 0.1, "momentum": 0.9, "momentum_travels": False},
    "weight decay": {"learning_rate": 0.3, "weight_decay": 0.2, "momentum": 0.5},
    "schedule": {"learning_rate": lambda round: 0.5 / round},
    "local steps of batches": {"learning_rate": 0.2, "local_steps": 2, "batch_size": 5, "seed": 4},
}


def run(problem: Any, strategy: Any, **options: Any) -> Any:
    options = {"num_rounds": ROUNDS, "learning_rate": 0.3, **options}
    return simulate(problem.model, problem.loss, problem.data, strategy, **options)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_full_batches_give_the_reference(plan: Plan, make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    wanted = problem.reference(plan, learning_rate=0.3)
    np.testing.assert_allclose(run(problem, plan).models, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("plan", list(PLANS.values())[-4:], ids=list(PLANS)[-4:])
def test_optimizers_are_those_of_torch(
    plan: Plan, options: dict[str, Any], make_problem: MakeProblem
) -> None:
    problem = make_problem(SIZES)
    wanted = problem.reference(plan, **options)
    result = run(problem, plan, **options)
    np.testing.assert_allclose(result.models, wanted, rtol=1e-10, atol=1e-12)
    assert result.diverged_at is None


def test_the_owner_of_the_momentum_matters(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    travels, stays = (
        run(problem, teleport(3), momentum=0.9, momentum_travels=travels).models
        for travels in (True, False)
    )
    assert not torch.allclose(travels, stays, rtol=1e-3)


@pytest.mark.parametrize(
    "strategy",
    [Gossip("ring"), Teleportation(4, "one-peer-exponential", seed=5)],
    ids=lambda one: one.describe(),
)
def test_strategies_stand_for_their_plans(strategy: Any, make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    result = run(problem, strategy)
    assert result.plan == strategy.plan(6, ROUNDS)
    wanted = problem.reference(result.plan, learning_rate=0.3)
    np.testing.assert_allclose(result.models, wanted, rtol=1e-10, atol=1e-12)


def test_float32_keeps_its_dtype(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    wanted = problem.reference(PLANS["ring"], learning_rate=0.3)
    problem.model.float()
    models = run(problem, PLANS["ring"]).models
    assert models.dtype == torch.float32
    np.testing.assert_allclose(models, wanted, rtol=1e-4, atol=1e-5)


def test_one_node_alone_is_plain_sgd(make_problem: MakeProblem) -> None:
    problem = make_problem([6])
    models = [run(problem, strategy).models for strategy in (Gossip("ring"), Teleportation(1))]
    sgd = torch.optim.SGD(problem.model.parameters(), lr=0.3)
    for _ in range(ROUNDS):
        sgd.zero_grad()
        problem.loss(problem.model(problem.data[0][0]), problem.data[0][1]).backward()
        sgd.step()
    for given in models:
        np.testing.assert_allclose(given[0], problem.x0, rtol=1e-10)


def test_no_round_leaves_the_model_as_it_is(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    result = run(problem, Teleportation(3), num_rounds=0)
    assert result.history == []
    assert (result.models.numpy() == problem.x0).all()


def test_the_given_model_is_not_touched(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    before = problem.x0
    run(problem, Gossip("ring"))
    assert (problem.x0 == before).all()
    assert all(parameter.grad is None for parameter in problem.parameters)


def test_data_come_as_arrays_pairs_or_a_partition(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    arrays = [(inputs.numpy(), targets.numpy().astype("int32")) for inputs, targets in problem.data]
    starts = np.cumsum([0, *SIZES])
    partition = [np.arange(a, b) for a, b in pairwise(starts)]
    together = [torch.cat(parts) for parts in zip(*problem.data, strict=True)]
    wanted = run(problem, Gossip("ring"), batch_size=3)
    for data in (arrays, NodeData.from_partition(together[0], together[1], partition)):
        given = simulate(
            problem.model,
            problem.loss,
            data,
            Gossip("ring"),
            num_rounds=ROUNDS,
            learning_rate=0.3,
            batch_size=3,
        )
        assert given.models.equal(wanted.models)


MLP = [torch.nn.Linear(9, 33), torch.nn.Tanh(), torch.nn.Linear(33, 5)]
CNN = [
    torch.nn.Unflatten(1, (1, 3, 3)),
    torch.nn.Conv2d(1, 4, 2),
    torch.nn.GroupNorm(2, 4),
    torch.nn.ReLU(),
    torch.nn.Flatten(),
    torch.nn.Linear(16, 5),
]


@pytest.mark.parametrize("layers", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("strategy", [Gossip("ring"), Teleportation(21)], ids=["all", "some"])
def test_results_are_bit_for_bit_the_same_whatever_the_chunks(layers: Any, strategy: Any) -> None:
    draw = np.random.default_rng(0)
    inputs, targets = draw.normal(size=(300, 9)), draw.integers(0, 5, 300)
    partition = [draw.integers(0, 300, size) for size in draw.choice([3, 6, 20, 30], 70)]
    data = NodeData.from_partition(inputs, targets, partition)
    results = [
        simulate(
            torch.nn.Sequential(*layers),
            torch.nn.functional.cross_entropy,
            data,
            strategy,
            num_rounds=4,
            learning_rate=0.2,
            momentum=0.9,
            batch_size=7,
            test_data=(inputs, targets),
            chunk_nodes=chunk_nodes,
        )
        for chunk_nodes in (None, None, 1, 20, 33, 1000)
    ]
    for result in results[1:]:
        assert result.models.equal(results[0].models)
        assert result.history == results[0].history


def test_what_is_not_trained_stays_and_what_is_tied_stays_tied() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(3, 3)
            self.second = torch.nn.Linear(3, 3)
            self.second.weight = self.first.weight
            self.second.bias.requires_grad_(False)
            self.scale = torch.nn.Parameter(torch.tensor(1.5))
            self.register_buffer("shift", torch.arange(3.0))

        def forward(self, x: Any) -> Any:
            return self.scale * self.second(self.first(x).tanh()) + self.shift

    torch.manual_seed(0)
    model, inputs, targets = Odd(), torch.randn(8, 3), torch.randn(8, 3)
    result = simulate(
        model,
        torch.nn.functional.mse_loss,
        [(inputs, targets)],
        Gossip("ring"),
        num_rounds=5,
        learning_rate=0.1,
    )
    given = result.state_dict(0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(trained, lr=0.1)
    for _ in range(5):
        sgd.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        sgd.step()
    assert given.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(given[name], value)
    Odd().load_state_dict(given)


def test_a_training_that_diverges_ends_early_without_an_error() -> None:
    inputs = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"num_rounds": 400, "learning_rate": 1e4}
    data, loss = [(inputs, inputs)] * 4, torch.nn.functional.mse_loss
    result = simulate(
        torch.nn.Linear(3, 3), loss, data, Gossip("ring"), test_data=(inputs, inputs), **options
    )
    assert result.diverged_at is not None and result.diverged_at < 100
    assert [record["round"] for record in result.history] == [*range(1, result.diverged_at + 1)]
    assert not np.isfinite(result.history[-1]["train_loss"])
    assert np.isfinite([record["train_loss"] for record in result.history[:-1]]).all()


def test_a_progress_bar_is_shown_on_request(capfd: Any, make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    run(problem, Gossip("ring"), progress=True)
    shown = capfd.readouterr().err
    assert "round 8 of 8" in shown and "train loss" in shown
    run(problem, Gossip("ring"))
    assert capfd.readouterr().err == ""


MEMORY = """
import numpy as np, torch
from flwr_gossip.server_free.simulation import NodeData, simulate
from flwr_gossip.strategies import Teleportation

def resident_mb(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

def train(num_nodes):
    draw = np.random.default_rng(0)
    inputs, targets = draw.normal(size=(500, 40)), draw.integers(0, 50, 500)
    data = NodeData.from_partition(inputs, targets, draw.integers(0, 500, (num_nodes, 4)))
    for travels in (True, False):
        simulate(torch.nn.Linear(40, 50), torch.nn.functional.cross_entropy, data,
                 Teleportation(16), num_rounds=12, learning_rate=0.1, momentum=0.9,
                 momentum_travels=travels)

train(100)
before = resident_mb("VmRSS")
train(100_000)
print(resident_mb("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
def test_memory_is_that_of_the_slots_not_of_the_nodes() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # 100,000 models would take 820 MB; the indices of the data take 3.
    assert float(done.stdout) < 60


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("import flwr_gossip.server_free.simulation; print('torch' in sys.modules)", "False"),
        (
            "sys.modules['torch'] = None; from flwr_gossip.server_free.simulation import simulate",
            "simulate needs torch: pip install 'flwr-gossip[torch]'",
        ),
    ],
)
def test_torch_is_imported_only_where_it_is_needed(code: str, wanted: str) -> None:
    command = [sys.executable, "-c", f"import sys; {code}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert wanted in done.stdout + done.stderr
