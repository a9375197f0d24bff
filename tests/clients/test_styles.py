"""Train functions as people write them for FedAvg, unchanged but for the mod."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import Client, NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.common import (
    Code,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import nn

from apps import initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.server_free.topologies import ring
from flwr_gossip.strategies import Gossip, Teleportation
from reference import dense

NODES, ROUNDS = 4, 3


def node_of(ctxt: Context) -> int:
    return int(ctxt.node_config["partition-id"])


def ring_plan(rounds: int = ROUNDS) -> Plan:
    return Plan(ring(NODES), AllActive(NODES), rounds)


# --- numpy ------------------------------------------------------------------------------------


def test_numpy_list_style() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        weights, bias = msg.content["arrays"].to_numpy_ndarrays()
        rate = msg.content["config"]["lr"]
        weights -= rate * (weights - node_of(ctxt))
        bias = bias - rate * (bias - node_of(ctxt))
        metrics = MetricRecord({"num-examples": 5, "loss": 1.0})
        content = RecordDict({"arrays": ArrayRecord([weights, bias]), "metrics": metrics})
        return Message(content, reply_to=msg)

    arrays = ArrayRecord([np.ones((2, 2)), np.zeros(3)])
    strategy = Gossip("ring", fraction_evaluate=0.0)
    config = ConfigRecord({"lr": 0.5})
    result = play(strategy, app, NODES, ROUNDS, arrays, train_config=config)
    x0 = np.array([1.0] * 4 + [0.0] * 3)
    final = dense(ring_plan(), x0, lambda z, node, t: z - 0.5 * (z - node), ROUNDS)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), rtol=1e-12)


def test_a_numpy_function_may_return_float64_for_float32() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        (w,) = msg.content["arrays"].to_numpy_ndarrays()
        content = RecordDict({"arrays": ArrayRecord([w.astype(np.float64) + 1.0])})
        return Message(content, reply_to=msg)

    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, app, NODES, ROUNDS, ArrayRecord([np.zeros(3, np.float32)]))
    (final,) = result.arrays.to_numpy_ndarrays()
    assert final.dtype == np.float32
    assert (final == ROUNDS).all()


def test_arrays_may_come_back_in_another_order() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        state = msg.content["arrays"].to_torch_state_dict()
        trained = {name: state[name] + 1 for name in sorted(state)}
        return Message(RecordDict({"arrays": ArrayRecord(trained)}), reply_to=msg)

    arrays = ArrayRecord({"w": torch.zeros(2), "b": torch.ones(3)})
    result = play(Gossip("ring", fraction_evaluate=0.0), app, 2, 2, arrays)
    assert list(result.arrays) == ["w", "b"]
    assert (result.arrays["w"].numpy() == 2).all()
    assert (result.arrays["b"].numpy() == 3).all()


def test_the_reply_may_have_its_arrays_under_another_key() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        (w,) = msg.content["model"].to_numpy_ndarrays()
        return Message(RecordDict({"updated": ArrayRecord([w + 1.0])}), reply_to=msg)

    strategy = Gossip("ring", fraction_evaluate=0.0, arrayrecord_key="model")
    result = play(strategy, app, 2, 2, ArrayRecord([np.zeros(2)]))
    assert (to_vector(result.arrays) == 2.0).all()


def test_other_record_keys_reach_the_functions() -> None:
    seen: list[set[str]] = []
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        seen.append(set(msg.content))
        return Message(RecordDict({"model": msg.content["model"]}), reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        seen.append(set(msg.content))
        metrics = MetricRecord({"accuracy": 0.5, "examples": 2 + node_of(ctxt)})
        return Message(RecordDict({"scores": metrics}), reply_to=msg)

    strategy = Gossip(
        "ring", arrayrecord_key="model", configrecord_key="settings", weighted_by_key="examples"
    )
    result = play(strategy, app, 2, 1)
    assert seen == [{"model", "settings"}] * 4
    metrics = result.evaluate_metrics_clientapp[1]
    assert metrics["accuracy-weighted"] == 0.5
    assert "examples" not in metrics


# --- torch ------------------------------------------------------------------------------------


class Net(nn.Module):
    """A classifier with BatchNorm, as small as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return out


def seeded_net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def batch(node: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 + node)
    x = torch.randn(16, 4, generator=generator) + node
    return x, (x.sum(dim=1) > 4 * node).long()


def sgd_step(net: Net, node: int, optimizer: torch.optim.Optimizer | None = None) -> float:
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = batch(node)
    net.train()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return float(loss)


def torch_app(*mods: Mod) -> ClientApp:
    """Return the app of Flower's quickstart-pytorch, on random data."""
    app = ClientApp(mods=[gossip_mod, *mods])

    @app.train()
    def train(msg: Message, context: Context) -> Message:
        model = Net()
        model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
        for _ in range(1 + node_of(context) % 2):
            loss = sgd_step(model, node_of(context))
        model_record = ArrayRecord(model.state_dict())
        metric_record = MetricRecord({"train_loss": loss, "num-examples": 16})
        content = RecordDict({"arrays": model_record, "metrics": metric_record})
        return Message(content=content, reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, context: Context) -> Message:
        model = Net()
        model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
        model.eval()
        x, y = batch(node_of(context))
        accuracy = float((model(x).argmax(dim=1) == y).float().mean())
        metric_record = MetricRecord({"eval_acc": accuracy, "num-examples": 16})
        return Message(content=RecordDict({"metrics": metric_record}), reply_to=msg)

    return app


def torch_reference(plan: Plan, rounds: int) -> list[dict[str, np.ndarray]]:
    """Return slot -> mixed state dict: floats mixed, integers those of the own slot."""
    mixed = [{n: t.numpy() for n, t in seeded_net().state_dict().items()}] * plan.num_slots
    for t in range(1, rounds + 1):
        trained = []
        for slot, node in enumerate(plan.active(t)):
            net = Net()
            net.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in mixed[slot].items()})
            for _ in range(1 + node % 2):
                sgd_step(net, node)
            trained.append({n: tensor.numpy().copy() for n, tensor in net.state_dict().items()})
        weights = plan.topology.matrix(t)
        mixed = [
            {
                name: sum(weights[s, r] * h[name] for r, h in enumerate(trained))
                if np.issubdtype(trained[s][name].dtype, np.floating)
                else trained[s][name]
                for name in trained[s]
            }
            for s in range(plan.num_slots)
        ]
    return mixed


def test_torch_state_dict_with_batch_norm() -> None:
    strategy = Gossip("ring", evaluate_every=1)
    arrays = ArrayRecord(seeded_net().state_dict())
    result = play(strategy, torch_app(), NODES, ROUNDS, arrays)
    mixed = torch_reference(ring_plan(), ROUNDS)
    for name, array in result.arrays.items():
        if name.endswith("num_batches_tracked"):
            assert array.numpy().dtype == np.int64
            assert array.numpy().shape == ()
            assert array.numpy() == mixed[0][name] == ROUNDS
            assert mixed[1][name] == 2 * ROUNDS
        else:
            expected = np.mean([z[name] for z in mixed], axis=0)
            np.testing.assert_allclose(array.numpy(), expected, rtol=1e-5, atol=1e-5)
    fresh = Net()
    fresh.load_state_dict(result.arrays.to_torch_state_dict())  # strict
    assert set(result.evaluate_metrics_clientapp[ROUNDS]) >= {"eval_acc", "eval_acc-min"}
    assert not result.failures


def test_a_frozen_layer_is_what_it_was() -> None:
    def freeze(net: Net) -> Net:
        net.layers[0].requires_grad_(False)
        return net

    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        net = freeze(Net())
        net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
        loss = sgd_step(net, node_of(ctxt))
        metrics = MetricRecord({"loss": loss, "num-examples": 16})
        content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
        return Message(content, reply_to=msg)

    before = seeded_net().state_dict()
    result = play(Gossip("ring", fraction_evaluate=0.0), app, NODES, ROUNDS, ArrayRecord(before))
    after = result.arrays.to_torch_state_dict()
    torch.testing.assert_close(after["layers.0.weight"], before["layers.0.weight"])
    assert not torch.allclose(after["layers.3.weight"], before["layers.3.weight"])


def test_integer_tensors_stay_with_their_slot() -> None:
    """A counter is not mixed: node i has counted its own batches, though it mixed in between."""
    given: dict[tuple[int, int], int] = {}

    def look(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        if msg.metadata.message_type == "train":
            counter = msg.content["arrays"]["layers.1.num_batches_tracked"].numpy()
            given[node_of(ctxt), int(msg.content["config"]["server-round"])] = int(counter)
        return call_next(msg, ctxt)

    play(Gossip("ring"), torch_app(look), NODES, 3, ArrayRecord(seeded_net().state_dict()))
    assert given == {
        (node, t): (t - 1) * (1 + node % 2) for node in range(NODES) for t in (1, 2, 3)
    }


def test_optimizer_state_in_the_context_stays_through_rounds_and_segments() -> None:
    """Momentum kept in Context.state: v counts on in all rounds of a node, whatever the cut."""
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        (w,) = msg.content["arrays"].to_numpy_ndarrays()
        if "momentum" not in ctxt.state:
            ctxt.state["momentum"] = ArrayRecord([np.zeros_like(w)])
        (v,) = ctxt.state["momentum"].to_numpy_ndarrays()
        v = 0.9 * v + (w - node_of(ctxt))
        ctxt.state["momentum"] = ArrayRecord([v])
        return Message(RecordDict({"arrays": ArrayRecord([w - 0.1 * v])}), reply_to=msg)

    momenta = {node: np.zeros(3) for node in range(NODES)}

    def update(z: np.ndarray, node: int, round: int) -> np.ndarray:
        momenta[node] = 0.9 * momenta[node] + (z - node)
        return z - 0.1 * momenta[node]

    strategy = Gossip("ring", fraction_evaluate=0.0)
    grid = {"max_workers": NODES}
    result = play(strategy, app, NODES, 6, ArrayRecord([np.zeros(3)]), grid=grid)
    final = dense(ring_plan(6), np.zeros(3), update, 6)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), rtol=1e-12)


# --- records that travel ----------------------------------------------------------------------


def test_a_travelling_record_goes_with_its_slot_and_is_mixed() -> None:
    app = ClientApp(mods=[gossip_mod])
    found: dict[int, list[bool]] = {}

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        (w,) = msg.content["arrays"].to_numpy_ndarrays()
        t = int(msg.content["config"]["server-round"])
        found.setdefault(t, []).append("optimizer" in msg.content)
        v = np.zeros_like(w)
        if "optimizer" in msg.content:
            v = msg.content["optimizer"]["v"].numpy()
        v = 0.9 * v + (w - node_of(ctxt))
        records = {"arrays": ArrayRecord([w - 0.1 * v]), "optimizer": ArrayRecord({"v": Array(v)})}
        return Message(RecordDict(records), reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        assert list(msg.content) == ["arrays", "config"]
        return Message(RecordDict({"metrics": MetricRecord({"x": 1.0})}), reply_to=msg)

    def both(z: np.ndarray, node: int, round: int) -> np.ndarray:
        w, v = z[:3], z[3:]
        v = 0.9 * v + (w - node)
        return np.concatenate([w - 0.1 * v, v])

    strategy = Teleportation(3, "ring", seed=1, travelling=["optimizer"])
    result = play(strategy, app, 5, 5, ArrayRecord([np.ones(3)]))
    assert not result.failures
    assert found == {1: [False] * 3} | {t: [True] * 3 for t in range(2, 6)}
    x0 = np.concatenate([np.ones(3), np.zeros(3)])
    assert result.plan is not None
    final = dense(result.plan, x0, both, 5)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0)[:3], rtol=1e-12)
    assert list(result.arrays) == ["0"]


# --- metrics ----------------------------------------------------------------------------------


def metrics_app(metrics: Callable[[int, int], dict[str, Any]]) -> ClientApp:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        record = MetricRecord(metrics(node_of(ctxt), int(msg.content["config"]["server-round"])))
        content = RecordDict({"arrays": msg.content["arrays"], "metrics": record})
        return Message(content, reply_to=msg)

    return app


@pytest.mark.parametrize("workers", [1, 2])
def test_list_valued_and_int_metrics(workers: int) -> None:
    app = metrics_app(
        lambda node, t: {
            "losses": [float(node), float(t), float(node * t)],
            "classes": [node, t],
            "steps": 10 * t,
            "num-examples": 1 + 2 * node,
        }
    )
    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, app, 2, 4, grid={"max_workers": workers})
    for t, metrics in result.train_metrics_clientapp.items():
        assert metrics["losses"] == [0.5, t, t / 2]
        assert metrics["losses-weighted"] == [0.75, t, 0.75 * t]
        assert metrics["classes"] == [0.5, t]
        assert metrics["steps"] == 10 * t


@pytest.mark.parametrize("workers", [1, 2])
def test_lists_of_other_lengths_in_each_round(workers: int) -> None:
    app = metrics_app(lambda node, t: {"epochs": [float(t)] * t, "num-examples": 1})
    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, app, 2, 4, grid={"max_workers": workers})
    for t, metrics in result.train_metrics_clientapp.items():
        assert metrics["epochs"] in ([float(t)] * t, float(t))


def test_metrics_that_cannot_be_averaged_do_not_lose_the_run() -> None:
    """Early stopping: one value an epoch, another number of epochs on each node."""
    app = metrics_app(lambda node, t: {"epochs": [1.0] * (1 + node), "loss": 2.0})
    result = play(Gossip("ring", fraction_evaluate=0.0), app, 3, 2)
    assert result.train_metrics_clientapp[2]["loss"] == 2.0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_metric_that_is_there_only_in_some_rounds(workers: int) -> None:
    app = metrics_app(lambda node, t: {"loss": 1.0} | ({"rare": float(t)} if t % 2 == 0 else {}))
    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, app, 2, 4, grid={"max_workers": workers})
    rare = {t: metrics.get("rare") for t, metrics in result.train_metrics_clientapp.items()}
    assert rare == {1: None, 2: 2.0, 3: None, 4: 4.0}


def test_a_function_without_metrics() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict({"arrays": msg.content["arrays"]}), reply_to=msg)

    result = play(Gossip("ring", fraction_evaluate=0.0), app, 2, 3)
    assert not result.failures
    assert (to_vector(result.arrays) == to_vector(initial())).all()


def test_a_node_without_examples_counts_with_weight_zero() -> None:
    app = metrics_app(lambda node, t: {"loss": float(node), "num-examples": 2 * node})
    result = play(Gossip("ring", fraction_evaluate=0.0), app, 3, 1)
    metrics = result.train_metrics_clientapp[1]
    assert metrics["loss"] == 1.0
    assert metrics["loss-weighted"] == pytest.approx((0 * 0 + 1 * 2 + 2 * 4) / 6)


def test_user_functions_aggregate_the_metrics() -> None:
    def largest(records: list[RecordDict], key: str) -> MetricRecord:
        values = [record["metrics"]["loss"] for record in records]
        return MetricRecord({"largest": max(values), "count": len(records)})

    result = play(Gossip("ring", train_metrics_aggr_fn=largest), quadratic_app(), 3, 2)
    assert result.train_metrics_clientapp[2] == {"largest": 4.0, "count": 3}


# --- legacy -----------------------------------------------------------------------------------


class Legacy(NumPyClient):
    """A client as it was written before the message API."""

    def __init__(self, node: int, seen: list[dict[str, Any]]) -> None:
        self.node = node
        self.seen = seen

    def fit(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        self.seen.append(dict(config))
        new = [p - 0.5 * (p - self.node) for p in parameters]
        return new, self.node + 1, {"loss": float(self.node), "label": "text"}

    def evaluate(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        self.seen.append(dict(config))
        return float(parameters[0].sum()), self.node + 1, {"accuracy": 0.25 * self.node}


def legacy_update(z: np.ndarray, node: int, round: int) -> np.ndarray:
    return z - 0.5 * (z - node)


def test_legacy_numpy_client_trains_and_evaluates() -> None:
    seen: list[dict[str, Any]] = []

    def client_fn(context: Context) -> Client:
        return Legacy(node_of(context), seen).to_client()

    app = ClientApp(client_fn=client_fn, mods=[gossip_mod])
    arrays = ArrayRecord({"w": Array(np.ones(3)), "b": Array(np.zeros(()))})
    strategy = Gossip("ring", evaluate_every=ROUNDS)
    config = ConfigRecord({"lr": 0.5})
    result = play(strategy, app, NODES, ROUNDS, arrays, train_config=config)
    assert not result.failures
    x0 = np.array([1.0, 1.0, 1.0, 0.0])
    final = dense(ring_plan(), x0, legacy_update, ROUNDS)
    assert list(result.arrays) == ["w", "b"]
    assert result.arrays["b"].numpy().shape == ()
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), rtol=1e-12)
    assert result.train_metrics_clientapp[1]["loss"] == 1.5
    assert result.train_metrics_clientapp[1]["loss-weighted"] == pytest.approx(2.0)
    evaluation = result.evaluate_metrics_clientapp[ROUNDS]
    assert evaluation["accuracy"] == pytest.approx(0.375)
    assert evaluation["loss"] == pytest.approx(final[:, :3].sum(axis=1).mean())
    assert seen[0] == {"lr": 0.5, "server-round": 1}
    assert seen[-1] == {"server-round": ROUNDS}


class LowLevel(Client):
    """A legacy ``Client`` with FitIns and FitRes."""

    def __init__(self, node: int, code: Code = Code.OK) -> None:
        self.node = node
        self.status = Status(code, "the disk is full")

    def fit(self, ins: FitIns) -> FitRes:
        new = [legacy_update(p, self.node, 0) for p in parameters_to_ndarrays(ins.parameters)]
        return FitRes(self.status, ndarrays_to_parameters(new), self.node + 1, {"loss": 1.0})

    def evaluate(self, ins: EvaluateIns) -> EvaluateRes:
        return EvaluateRes(self.status, float(self.node), self.node + 1, {})


def test_legacy_low_level_client() -> None:
    app = ClientApp(client_fn=lambda context: LowLevel(node_of(context)), mods=[gossip_mod])
    result = play(Gossip("ring"), app, NODES, ROUNDS, ArrayRecord([np.ones(3)]))
    assert not result.failures
    final = dense(ring_plan(), np.ones(3), legacy_update, ROUNDS)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), rtol=1e-12)
    assert result.evaluate_metrics_clientapp[ROUNDS]["loss"] == 1.5


def test_a_legacy_status_that_is_not_ok_is_a_failure_with_its_message() -> None:
    def client_fn(context: Context) -> Client:
        node = node_of(context)
        return LowLevel(node, Code.FIT_NOT_IMPLEMENTED if node == 2 else Code.OK)

    app = ClientApp(client_fn=client_fn, mods=[gossip_mod])
    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, app, NODES, 1, ArrayRecord([np.ones(3)]))
    assert list(result.failures) == [2]
    assert "the disk is full" in result.failures[2][0]


# --- other mods -------------------------------------------------------------------------------


def counting_mod(calls: list[str], name: str) -> Mod:
    def mod(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        calls.append(f"{name} {msg.metadata.message_type}")
        return call_next(msg, ctxt)

    return mod


def local_dp(norm: float, sensitivity: float) -> LocalDpMod:
    return LocalDpMod(norm, sensitivity, epsilon=1.0, delta=1e-5)


def clipped(z: np.ndarray, node: int, round: int) -> np.ndarray:
    step = local_update(z, node, round) - z
    factor = min(1.0, 0.1 / float(np.linalg.norm(step)))
    step[:-1] *= factor  # Flower's clipping in place passes over the 0-d tensor, the last one
    return z + step


def test_local_dp_behind_the_mod_clips_and_adds_noise() -> None:
    def run(sensitivity: float, norm: float) -> np.ndarray:
        app = quadratic_app(mods=[gossip_mod, local_dp(norm, sensitivity)])
        strategy = Gossip("ring", fraction_evaluate=0.0)
        result = play(strategy, app, NODES, ROUNDS, initial("float64"), timeout=5.0)
        assert not result.failures
        return to_vector(result.arrays)

    x0 = to_vector(initial("float64"))
    plain = dense(ring_plan(), x0, local_update, ROUNDS).mean(axis=0)
    np.testing.assert_allclose(run(0.0, 1e6), plain, rtol=1e-6)
    expected = dense(ring_plan(), x0, clipped, ROUNDS).mean(axis=0)
    np.testing.assert_allclose(run(0.0, 0.1), expected, rtol=1e-6)
    assert np.abs(run(0.01, 0.1) - expected).max() > 1e-4  # the noise is there


def test_local_dp_for_the_whole_app_does_not_stop_the_training() -> None:
    """Flower's LocalDpMod answers every evaluation with an error; FedAvg trains on, so do we."""
    app = quadratic_app(mods=[gossip_mod, local_dp(0.1, 0.0)])
    result = play(Gossip("ring", evaluate_every=1), app, NODES, ROUNDS, timeout=5.0)
    assert list(result.train_metrics_clientapp) == [1, 2, 3]
    final = dense(ring_plan(), to_vector(initial()), clipped, ROUNDS)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), rtol=1e-5, atol=1e-5)


def test_an_error_reply_of_a_later_mod_is_told_as_the_nodes_failure() -> None:
    """LocalDpMod refuses two ArrayRecords, with a reply to the reply; its reason is told."""
    app = ClientApp(mods=[gossip_mod, local_dp(1.0, 0.0)])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        (w,) = msg.content["arrays"].to_numpy_ndarrays()
        records = {"arrays": ArrayRecord([w + 1.0])}
        if node_of(ctxt) == 1:
            records["second"] = ArrayRecord([w])
        return Message(RecordDict(records), reply_to=msg)

    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, app, 3, 1, ArrayRecord([np.zeros(3)]), timeout=5.0)
    assert list(result.failures) == [1]
    assert "LocalDpMod" in result.failures[1][0]


def test_mods_of_single_functions_run_once_a_round_behind_ours() -> None:
    calls: list[str] = []
    app = ClientApp(mods=[gossip_mod])

    @app.train(mods=[counting_mod(calls, "a"), counting_mod(calls, "b")])
    def train(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict({"arrays": msg.content["arrays"]}), reply_to=msg)

    @app.evaluate(mods=[counting_mod(calls, "c")])
    def evaluate(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"x": 1.0})}), reply_to=msg)

    result = play(Gossip("ring", evaluate_every=3), app, 1, 3)
    assert calls == ["a train", "b train"] * 3 + ["c evaluate"]
    assert not result.failures


# --- messages that are not ours ---------------------------------------------------------------


def test_fedavg_is_the_same_with_and_without_the_mod() -> None:
    def run(mods: list[Mod]) -> Any:
        random.seed(0)  # FedAvg draws the order of the nodes from it
        with InProcessGrid(quadratic_app(mods=mods), NODES) as grid:
            return FedAvg().start(grid, initial(), num_rounds=ROUNDS)

    without, with_mod = run([]), run([gossip_mod])
    assert [a.data for a in without.arrays.values()] == [a.data for a in with_mod.arrays.values()]
    assert without.train_metrics_clientapp == with_mod.train_metrics_clientapp
    assert without.evaluate_metrics_clientapp == with_mod.evaluate_metrics_clientapp
    assert len(with_mod.train_metrics_clientapp) == ROUNDS


def test_query_messages_pass() -> None:
    app = quadratic_app()

    @app.query()
    def query(msg: Message, ctxt: Context) -> Message:
        answer = ConfigRecord({"asked": msg.content["question"]["text"]})
        return Message(RecordDict({"answer": answer}), reply_to=msg)

    with InProcessGrid(app, 1) as grid:
        (reply,) = _ask(grid)
    assert reply.content["answer"]["asked"] == "how many?"
    assert list(reply.content) == ["answer"]


def _ask(grid: Grid) -> list[Message]:
    (node_id,) = grid.get_node_ids()
    content = RecordDict({"question": ConfigRecord({"text": "how many?"})})
    return list(grid.send_and_receive([Message(content, node_id, "query")]))
