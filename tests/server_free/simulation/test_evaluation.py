"""Evaluation is that of each slot's model and of their mean, recomputed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.strategies import Gossip, Teleportation

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation import simulate  # noqa: E402

MakeProblem = Callable[[list[int]], Any]
SIZES = [4, 7, 7, 5, 7, 4]


def run(problem: Any, strategy: Any = None, **options: Any) -> Any:
    options = {"num_rounds": 8, "learning_rate": 0.5, **options}
    return simulate(
        problem.model, problem.loss, problem.data, strategy or Gossip("ring"), **options
    )


def test_data(problem: Any, samples: int = 40) -> Any:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 5, generator=draw, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (samples,), generator=draw)


test_data.__test__ = False  # type: ignore[attr-defined]


def by_hand(problem: Any, state: Any, inputs: Any, targets: Any) -> tuple[float, float]:
    problem.model.load_state_dict(state)
    with torch.no_grad():
        outputs = problem.model(inputs)
    right = (outputs.argmax(1) == targets).double().mean().item()
    return problem.loss(outputs, targets).item(), right


@pytest.mark.parametrize("samples", [40, 5000])
def test_slots_and_their_mean_are_evaluated(make_problem: MakeProblem, samples: int) -> None:
    problem = make_problem(SIZES)
    inputs, targets = test_data(problem, samples)
    result = run(problem, test_data=(inputs, targets))
    record = result.history[-1]
    each = [by_hand(problem, result.state_dict(slot), inputs, targets) for slot in range(6)]
    served = by_hand(problem, result.mean_state_dict(), inputs, targets)
    for place, name in enumerate(("loss", "accuracy")):
        values = [pair[place] for pair in each]
        assert record[f"test_{name}"] == pytest.approx(np.mean(values), rel=1e-9)
        assert record[f"test_{name}_min"] == pytest.approx(min(values), rel=1e-9)
        assert record[f"test_{name}_max"] == pytest.approx(max(values), rel=1e-9)
        assert record[f"served_{name}"] == pytest.approx(served[place], rel=1e-9)


def test_the_consensus_distance_is_exact(make_problem: MakeProblem) -> None:
    result = run(make_problem(SIZES))
    models = result.models.numpy()
    wanted = ((models - models.mean(axis=0)) ** 2).sum() / 6
    assert result.history[-1]["consensus_distance"] == pytest.approx(wanted, rel=1e-9)
    assert wanted > 1e-3


def test_evaluation_does_not_change_the_training(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    seldom = run(problem, Teleportation(3), evaluate_every=8)
    often = run(problem, Teleportation(3), evaluate_every=1, test_data=test_data(problem))
    assert seldom.models.equal(often.models)
    assert [r["train_loss"] for r in seldom.history] == [r["train_loss"] for r in often.history]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"num_rounds": 25}, [3, 6, 9, 12, 15, 18, 21, 24, 25]),
        ({"num_rounds": 4}, [1, 2, 3, 4]),
        ({"num_rounds": 10, "evaluate_every": 4}, [4, 8, 10]),
    ],
)
def test_rounds_of_evaluation(make_problem: MakeProblem, options: Any, wanted: list[int]) -> None:
    history = run(make_problem(SIZES), **options).history
    assert [r["round"] for r in history if "consensus_distance" in r] == wanted


def test_train_loss_is_the_mean_over_active_nodes_and_steps(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    first = run(problem, local_steps=1).history[0]["train_loss"]
    wanted = [
        problem.loss(problem.model(inputs), targets).item() for inputs, targets in problem.data
    ]
    assert first == pytest.approx(np.mean(wanted))
    steps = run(problem, local_steps=2, learning_rate=0.0).history[0]["train_loss"]
    assert steps == pytest.approx(first)
    few = run(problem, Teleportation(2, seed=1))
    nodes = few.plan.active(1)
    assert few.history[0]["active"] == 2
    assert few.history[0]["train_loss"] == pytest.approx(np.mean([wanted[n] for n in nodes]))


def test_metrics_of_ones_own(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    metrics = {"largest": lambda outputs, targets: outputs.max()}
    history = run(problem, test_data=test_data(problem), metrics=metrics).history
    assert {name for name in history[-1] if "_" in name} == {
        "learning_rate",
        "train_loss",
        "consensus_distance",
        "test_largest",
        "test_largest_min",
        "test_largest_max",
        "served_largest",
    }
    with pytest.raises(PlanError, match="metrics has 'largest'"):
        run(problem, test_data=test_data(problem), metrics={"largest": 3})


def test_regression_has_no_accuracy() -> None:
    inputs = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    result = simulate(
        torch.nn.Linear(2, 2),
        torch.nn.functional.mse_loss,
        [(inputs, inputs)] * 3,
        Gossip("ring"),
        num_rounds=2,
        learning_rate=0.1,
        test_data=(inputs, inputs),
    )
    assert "test_loss" in result.history[-1] and "test_accuracy" not in result.history[-1]


def test_dropout_that_is_off_in_evaluation_is_judged_by_the_mode(make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    problem.model.append(torch.nn.Dropout(0.5)).eval()
    result = run(problem, test_data=test_data(problem))
    assert result.history[-1]["test_loss"] < result.history[0]["train_loss"]
