"""What ``simulate`` refuses, and how it says what is allowed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.errors import ModelError, PlanError
from flwr_gossip.strategies import Gossip, Teleportation, TeleportationSearch

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation import simulate  # noqa: E402

nn = torch.nn


PAIR = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)


def run(**changes: Any) -> Any:
    model, loss = changes.pop("model", None) or nn.Linear(3, 2), changes.pop("loss", cross_entropy)
    data = changes.pop("data", [PAIR] * 5)
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
        ({"learning_rate": lambda round: math.nan if round == 2 else 0.1}, r"rate\(2\) is nan"),
        ({"learning_rate": True}, "learning_rate is True"),
        ({"momentum": math.nan}, "momentum is nan"),
        ({"momentum": 0.9, "momentum_travels": "no"}, "momentum_travels is 'no', allowed are True"),
        ({"num_rounds": True}, "num_rounds is True"),
        ({"data": []}, "0 nodes"),
        ({"data": None}, "data is NoneType, allowed is NodeData, or one pair"),
        ({"data": {0: (1, 2)}}, "data is dict, allowed is NodeData, or one pair"),
        ({"data": [(np.array(["a"]), np.zeros(1))]}, "allowed are tensors and numpy arrays of num"),
        ({"data": [PAIR, (PAIR[0][:0], PAIR[1][:0])]}, r"node 1 have inputs of shape \(0, 3\)"),
        ({"strategy": Gossip}, r"strategy is the class Gossip, allowed are Gossip\(\.\.\.\)"),
        ({"strategy": Teleportation("auto")}, r"call simulate_search\(\.\.\.\) with it"),
        ({"strategy": TeleportationSearch()}, r"call simulate_search\(\.\.\.\) with it"),
        ({"network": "lan"}, r"network is 'lan', allowed is a Network: Network\.lan\(\)"),
        ({"peer_timeout": "10"}, "peer_timeout is '10', allowed is a finite number from 0"),
        ({"replan_every": 3}, "replan_every is 3 without a network"),
        ({"device": "gpu"}, "device is 'gpu', which cannot be used here; allowed are 'cpu', and"),
        ({"device": "meta"}, "device is 'meta', which cannot be used here"),
        ({"device": "cuda:77"}, "device is 'cuda:77', which cannot be used here"),
        ({"test_data": PAIR[0]}, "test_data are Tensor, allowed is a pair"),
        ({"metrics": {"loss": cross_entropy}}, "metrics are given without test_data"),
        ({"test_data": PAIR, "metrics": [cross_entropy]}, "metrics is list, allowed is name ->"),
        ({"strategy": "ring"}, r"strategy is str, allowed are Gossip\(\.\.\.\), Teleportation"),
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
        ({"model": nn.Linear}, "model is the class Linear, allowed is an instance"),
        ({"model": torch.relu}, "model is .*, allowed is a torch.nn.Module"),
        ({"model": nn.LazyLinear(2)}, "'weight' has no values yet: call a lazy model once"),
        ({"model": nn.Linear(3, 2, device="meta")}, "'weight' has no values yet"),
        ({"loss": "cross_entropy"}, "loss is 'cross_entropy', allowed is an instance or function"),
        ({"loss": nn.CrossEntropyLoss}, "loss is the class CrossEntropyLoss"),
        ({"loss": lambda o, t: cross_entropy(o.detach(), t)}, "by autograd, so nothing would be"),
        (
            {"data": [PAIR, PAIR, (PAIR[0], PAIR[1] + 5)]},
            r"node 2: .*int64, 5\.\.5\): Index",
        ),
        ({"data": [PAIR, (PAIR[0], PAIR[1] - 1)]}, "node 1: .*Target -1 is out of bounds"),
        ({"test_data": (PAIR[0][:, :2], PAIR[1])}, r"fails on test_data with inputs .*\(4, 2\)"),
        ({"test_data": (PAIR[0], PAIR[1] + 5)}, "'loss' gives no number on test_data.*Target 5"),
        ({"test_data": PAIR, "metrics": {"m": lambda o, t: o}}, "'m' gives no number on test_data"),
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


def test_a_node_that_fails_later_is_named() -> None:
    """Batch statistics of one sample: only node 3 has so few, and nothing is wrong before."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))
    data = [PAIR, PAIR, PAIR, (PAIR[0][:1], PAIR[1][:1])]
    with pytest.raises(ModelError, match=r"^node 3: .*Expected more than 1 value per channel"):
        run(model=model, data=data)
    assert run(model=model, data=data[:3]).diverged_at is None


def test_limits_that_are_allowed() -> None:
    one = run(data=[PAIR], learning_rate=np.float32(0.1), batch_size=2**70)
    assert one.models.shape == (1, 8)
    still = run(strategy=Teleportation(1), learning_rate=0, test_data=PAIR, num_rounds=np.int64(3))
    assert still.history[2]["round"] == 3
    assert still.history[0]["test_loss"] == still.history[2]["test_loss"]
    assert still.slot_metrics["loss"].shape == (1,)
    assert run(data=(PAIR for _ in range(3))).models.shape[0] == 3
