"""What ``simulate`` refuses, and how it says what is allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from flwr_gossip.server_free.errors import ModelError, PlanError
from flwr_gossip.strategies import Gossip, Teleportation

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation import simulate  # noqa: E402

nn = torch.nn


def run(**changes: Any) -> Any:
    model, loss = changes.pop("model", None) or nn.Linear(3, 2), changes.pop("loss", cross_entropy)
    data = changes.pop("data", [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))] * 5)
    strategy = changes.pop("strategy", Gossip("ring"))
    return simulate(
        model, loss, data, strategy, **{"num_rounds": 2, "learning_rate": 0.1, **changes}
    )


cross_entropy = nn.functional.cross_entropy


class Branching(nn.Linear):
    def forward(self, x: Any) -> Any:
        return super().forward(x) if self.weight.sum() > -100 else x


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_rounds": -1}, "num_rounds is -1, allowed is a whole number from 0"),
        ({"num_rounds": 2.5}, "num_rounds is 2.5"),
        ({"batch_size": 0}, "batch_size is 0, allowed is a whole number from 1"),
        ({"local_steps": 0}, "local_steps is 0"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"chunk_nodes": 0}, "chunk_nodes is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": math.nan}, "learning_rate is nan, allowed is a finite number from 0"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1"),
        ({"learning_rate": "0.1"}, "learning_rate is '0.1'"),
        ({"learning_rate": lambda round: math.inf}, r"learning_rate\(1\) is inf"),
        ({"momentum": 1.0}, "momentum is 1.0, allowed is a number from 0, below 1"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"data": []}, "0 nodes"),
        ({"strategy": "ring"}, "strategy is str, allowed are Gossip, Teleportation"),
        ({"strategy": Gossip("ring").plan(4, 2)}, "plan is for 4 nodes, but the data are of 5"),
        ({"strategy": Gossip("ring", codec="bf16")}, "codec is 'bf16'; simulate mixes exact"),
        ({"strategy": Teleportation(6)}, "num_active is 6, allowed is 1..5"),
        ({"test_data": (torch.zeros(0, 3), torch.zeros(0))}, "allowed is 1 sample or more"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        run(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": nn.ReLU()}, "the model has 0 parameters"),
        ({"model": nn.Linear(3, 2).requires_grad_(False)}, "2 parameters, of which none requires"),
        ({"model": nn.Linear(3, 2).half()}, "parameters are torch.float16; allowed is float32 or"),
        (
            {"model": nn.ParameterList([nn.Parameter(torch.ones(2).long(), requires_grad=False)])},
            "parameter '0' is torch.int64, allowed are float32 and float64",
        ),
        ({"model": nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))}, "use GroupNorm"),
        ({"model": nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1))}, "draws random numbers"),
        ({"model": nn.Linear(4, 2)}, r"fail on inputs of shape \(2, 3\)"),
        ({"model": Branching(3, 2)}, "torch.func cannot train many copies"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, r"loss of a batch is \(2,\)"),
        ({"loss": lambda outputs, targets: 1.0}, "loss of a batch is float"),
    ],
)
def test_models_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        run(**changes)


def test_batch_norm_whose_statistics_stand_still_is_fine() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    result = run(model=model)
    assert result.diverged_at is None
    assert result.state_dict(0)["1.running_mean"].equal(model[1].running_mean)


def test_the_callers_random_state_is_left_alone() -> None:
    model = nn.Linear(3, 2)
    before = torch.get_rng_state()
    run(model=model)
    assert before.equal(torch.get_rng_state())
