"""What a user gets wrong at the ClientApp: one clear error, or one node less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.client import Client, NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from apps import Calls, initial, local_update, play, quadratic_app, to_record, to_vector
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.errors import GossipError, NoNodesLeft
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation
from reference import dense

# --- where the mod is -------------------------------------------------------------------------


def passing_mod(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
    return call_next(msg, ctxt)


def one_line(error: BaseException) -> bool:
    return "Traceback" not in str(error)


@pytest.mark.parametrize("mods", [[passing_mod, gossip_mod], [passing_mod] * 3 + [gossip_mod]])
def test_the_mod_not_outermost(mods: list[Any]) -> None:
    calls = Calls()
    match = rf"gossip_mod is not the first mod: {len(mods) - 1} mod.*mods=\[gossip_mod, \.\.\.\]"
    with pytest.raises(GossipError, match=match) as caught:
        play(Gossip("ring"), quadratic_app(calls, mods=mods), 2, 1)
    assert one_line(caught.value)
    assert not calls.trained


def test_the_mod_not_outermost_in_a_legacy_app() -> None:
    app = ClientApp(lambda context: NumPyClient().to_client(), mods=[passing_mod, gossip_mod])
    with pytest.raises(GossipError, match="gossip_mod is not the first mod: 1 mod"):
        play(Gossip("ring"), app, 2, 1)


NO_MOD = r"Flower node 1000 .*ClientApp\(mods=\[gossip_mod\]\)"


def test_a_client_without_the_mod_whose_function_takes_anything() -> None:
    app = ClientApp()

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict(), reply_to=msg)

    with pytest.raises(GossipError, match=NO_MOD):
        play(Gossip("ring"), app, 2, 1)


def test_a_client_that_only_echoes_is_not_taken_for_one_with_the_mod() -> None:
    app = ClientApp()

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        return Message(msg.content, reply_to=msg)

    with pytest.raises(GossipError, match=r"gossip_mod"):
        play(Gossip("ring"), app, 2, 1)


def test_a_legacy_client_without_the_mod() -> None:
    app = ClientApp(lambda context: NumPyClient().to_client())
    with pytest.raises(GossipError, match=NO_MOD):
        play(Gossip("ring"), app, 2, 1)


@pytest.mark.parametrize("careful", [True, False])
def test_the_mod_only_on_the_train_function(careful: bool) -> None:
    """Then evaluations meet the plugin's records: told before any work, or as what it is."""
    app = ClientApp()

    @app.train(mods=[gossip_mod])
    def train(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict({"arrays": msg.content["arrays"]}), reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        if not careful:
            assert msg.content["arrays"]
        return Message(RecordDict({"metrics": MetricRecord({"x": 1.0})}), reply_to=msg)

    with pytest.raises(GossipError, match=r"gossip_mod.*ClientApp\(mods=\[gossip_mod"):
        play(Gossip("ring"), app, 2, 1)


# --- what one node's train function returns ---------------------------------------------------

VICTIM, ROUND, NODES, ROUNDS = 2, 2, 5, 5


def app_with(spoiled: Callable[[ArrayRecord], dict[str, Any]]) -> ClientApp:
    """Return an app in which node 2 replies in round 2 with the records of ``spoiled``."""
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        node, t = int(ctxt.node_config["partition-id"]), int(msg.content["config"]["server-round"])
        record = msg.content["arrays"]
        trained = to_record(local_update(to_vector(record), node, t), "float64")
        records: dict[str, Any] = {"arrays": trained}
        if (node, t) == (VICTIM, ROUND):
            records = spoiled(trained)
        metrics = MetricRecord({"loss": float(node), "num-examples": 1})
        return Message(RecordDict(records | {"metrics": metrics}), reply_to=msg)

    return app


def changed(**arrays: Any) -> Callable[[ArrayRecord], dict[str, Any]]:
    def spoiled(record: ArrayRecord) -> dict[str, Any]:
        new = {name: array.numpy() for name, array in record.items()} | arrays
        kept = {name: Array(np.asarray(a)) for name, a in new.items() if a is not None}
        return {"arrays": ArrayRecord(kept)}

    return spoiled


SPOILED: dict[str, tuple[Callable[[ArrayRecord], dict[str, Any]], str]] = {
    "shape": (
        changed(b=np.zeros(3)),
        r"its trained model .*'b' of shape \(3,\).*expected is shape \(4,\)",
    ),
    "transposed": (changed(w=np.zeros((3, 2))), r"its trained model .*'w' of shape \(3, 2\)"),
    "0-d": (changed(scale=np.zeros(1)), r"its trained model .*'scale' of shape \(1,\)"),
    "dtype": (
        changed(b=np.zeros(4, np.int64)),
        r"its trained .*'b' .*int64.*expected.*float64",
    ),
    "text": (changed(b=np.array(list("abcd"))), r"'b'.*dtype"),
    "missing": (changed(b=None), r"its trained model .*\['b'\].*3 tensors, expected are 4"),
    "extra": (
        changed(more=np.zeros(1)),
        r"its trained .*\['more'\].*5 tensors, expected are 4",
    ),
    "nan": (changed(b=np.array([0, np.nan, 0, 0])), r"its trained model .*NaN or infinite.*'b'"),
    "inf": (changed(scale=np.array(-np.inf)), r"its trained model .*NaN or infinite.*'scale'"),
    "none": (lambda record: {}, r"returned 0 ArrayRecords.*exactly one.*ArrayRecord\(\.\.\.\)"),
    "empty": (
        lambda record: {"arrays": ArrayRecord()},
        r"without arrays, allowed is the trained model",
    ),
    "two": (
        lambda record: {"arrays": record, "more": record},
        r"returned 2 ArrayRecords \(\['arrays', 'more'\]\), allowed is exactly one",
    ),
}


def check_one_node_less(result: GossipResult, match: str) -> None:
    """Node 2 failed in round 2, is named with the reason; the others have the reference."""
    assert list(result.failures) == [VICTIM]
    (reason,) = result.failures[VICTIM]
    assert reason.startswith(f"round {ROUND}: ")
    assert "\n" not in reason
    with pytest.raises(RuntimeError, match=match):
        raise RuntimeError(reason)
    assert {(loss.holder, loss.round) for loss in result.losses} == {(VICTIM, ROUND)}
    missing = {(reader, ROUND, VICTIM) for reader in range(NODES)}
    assert result.plan is not None
    x0 = to_vector(initial("float64"))
    final = dense(result.plan, x0, local_update, ROUNDS, missing)
    served = final[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), served, rtol=1e-12, atol=1e-12)
    assert list(result.train_metrics_clientapp) == list(range(1, ROUNDS + 1))
    others = [node for node in range(NODES) if node != VICTIM]
    assert result.train_metrics_clientapp[ROUND]["loss"] == np.mean(others)


@pytest.mark.parametrize("what", sorted(SPOILED))
def test_a_bad_model_of_one_node_costs_that_node_only(what: str) -> None:
    spoiled, match = SPOILED[what]
    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=2.0)
    result = play(strategy, app_with(spoiled), NODES, ROUNDS, initial("float64"))
    check_one_node_less(result, match)


def test_a_train_function_that_raises_costs_that_node_only() -> None:
    def spoiled(record: ArrayRecord) -> dict[str, Any]:
        raise ZeroDivisionError("no batches")

    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=2.0)
    result = play(strategy, app_with(spoiled), NODES, ROUNDS, initial("float64"))
    check_one_node_less(result, r"ZeroDivisionError: no batches")


def test_an_exception_without_a_text_is_named_by_its_type() -> None:
    def spoiled(record: ArrayRecord) -> dict[str, Any]:
        raise KeyError

    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=2.0)
    result = play(strategy, app_with(spoiled), NODES, ROUNDS, initial("float64"))
    assert "KeyError" in result.failures[VICTIM][0]


def test_an_exception_of_several_lines_is_told_whole() -> None:
    def spoiled(record: ArrayRecord) -> dict[str, Any]:
        raise RuntimeError("size mismatch:\n  layer 1\n  layer 2")

    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=2.0)
    result = play(strategy, app_with(spoiled), NODES, ROUNDS, initial("float64"))
    assert "layer 2" in result.failures[VICTIM][0]


@pytest.mark.parametrize("what", ["shape", "none", "two", "nan"])
def test_bad_models_of_all_nodes_are_one_error(what: str) -> None:
    spoiled, _ = SPOILED[what]
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict(spoiled(msg.content["arrays"])), reply_to=msg)

    says = r"^no node is left in the training: nodes 0, 1, 2: round 1: .*[.)]$"
    with pytest.raises(NoNodesLeft, match=says):
        play(Gossip("ring"), app, 3, 2, initial("float64"))


def test_a_train_function_that_returns_none() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Any:
        return None

    with pytest.raises(NoNodesLeft, match=r"train function returned .*None.*Message"):
        play(Gossip("ring"), app, 2, 1)


def test_a_train_function_that_replies_with_an_error_message() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        if ctxt.node_config["partition-id"] == 1:
            return Message(Error(code=0, reason="no data today"), reply_to=msg)
        return Message(RecordDict({"arrays": msg.content["arrays"]}), reply_to=msg)

    result = play(Gossip("ring", fraction_evaluate=0.0), app, 3, 1, timeout=5.0)
    assert list(result.failures) == [1]
    assert "no data today" in result.failures[1][0]


def test_an_error_reply_does_not_lose_the_metrics_of_others() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        node, t = int(ctxt.node_config["partition-id"]), int(msg.content["config"]["server-round"])
        if (node, t) == (0, 3):
            return Message(Error(code=0, reason="no data today"), reply_to=msg)
        content = {"arrays": msg.content["arrays"], "metrics": MetricRecord({"n": float(node)})}
        return Message(RecordDict(content), reply_to=msg)

    result = play(Gossip("ring", fraction_evaluate=0.0), app, 3, 4, timeout=10.0)
    means = {t: m["n"] for t, m in result.train_metrics_clientapp.items()}
    assert means == {1: 1.0, 2: 1.0, 3: 1.5, 4: 1.5}
    assert list(result.failures) == [0]


def test_a_travelling_record_of_another_shape_on_one_node() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        size = 3 if ctxt.node_config["partition-id"] == 1 else 2
        records = {"arrays": msg.content["arrays"], "momentum": ArrayRecord([np.ones(size)])}
        return Message(RecordDict(records), reply_to=msg)

    strategy = Gossip("complete", fraction_evaluate=0.0, travelling=["momentum"])
    result = play(strategy, app, 3, 3)
    ours = [loss for loss in result.losses if loss.holder == 1 and loss.reader != 1]
    assert {(loss.round, loss.reader) for loss in ours} == {
        (t, n) for t in (1, 2, 3) for n in (0, 2)
    }
    says = "node 1 sent 'momentum/0' of shape (3,), others have (2,)"
    assert {(loss.kind, loss.reason) for loss in ours} == {("refused", says)}


@pytest.mark.parametrize("k", [1, 3])
def test_teleportation_refuses_a_bad_model_too(k: int) -> None:
    strategy = Teleportation(k, "ring", seed=1, fraction_evaluate=0.0, peer_timeout=2.0)
    t = next(t for t in range(1, 9) if VICTIM in strategy.plan(NODES, 9).active(t))
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        node, now = int(ctxt.node_config["partition-id"]), msg.content["config"]["server-round"]
        z = to_vector(msg.content["arrays"])
        h = z * np.nan if (node, now) == (VICTIM, t) else local_update(z, node, int(now))
        return Message(RecordDict({"arrays": to_record(h, "float64")}), reply_to=msg)

    result = play(strategy, app, NODES, 9, initial("float64"))
    assert list(result.failures) == [VICTIM]
    assert "NaN" in result.failures[VICTIM][0]
    assert np.isfinite(to_vector(result.arrays)).all()


# --- legacy -----------------------------------------------------------------------------------


def test_a_legacy_fit_that_returns_another_number_of_arrays() -> None:
    class Short(NumPyClient):
        def fit(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
            return parameters[:-1], 1, {}

    def client_fn(context: Context) -> Client:
        return Short().to_client()

    app = ClientApp(client_fn, mods=[gossip_mod])
    with pytest.raises(NoNodesLeft, match=r"fit returned 3 arrays, allowed are the 4"):
        play(Gossip("ring", fraction_evaluate=0.0), app, 2, 1)


def test_a_legacy_client_without_fit_is_told() -> None:
    def client_fn(context: Context) -> Client:
        return NumPyClient().to_client()

    app = ClientApp(client_fn, mods=[gossip_mod])
    with pytest.raises(NoNodesLeft, match=r"fit"):
        play(Gossip("ring", fraction_evaluate=0.0), app, 2, 1)


# --- evaluation -------------------------------------------------------------------------------


def test_an_evaluation_that_raises_at_one_node_keeps_the_others_metrics() -> None:
    def broken(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        if msg.metadata.message_type == "evaluate" and ctxt.node_config["partition-id"] == 1:
            raise RuntimeError("no test data here")
        return call_next(msg, ctxt)

    calls = Calls()
    app = quadratic_app(calls, mods=[gossip_mod, broken])
    result = play(Gossip("ring"), app, 3, 1)
    firsts = [calls.evaluated[node, 1][0] for node in (0, 2)]
    assert result.evaluate_metrics_clientapp[1]["first"] == pytest.approx(np.mean(firsts))
    assert result.failures == {1: ["RuntimeError: no test data here"]}


def test_an_evaluation_without_metrics_is_left_out() -> None:
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict({"arrays": msg.content["arrays"]}), reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        return Message(RecordDict({"note": ConfigRecord({"x": 1})}), reply_to=msg)

    result = play(Gossip("ring"), app, 2, 1)
    assert not result.evaluate_metrics_clientapp
    assert not result.failures
