"""The in-process grid: nodes keep their state and nothing else, and any Flower strategy runs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from apps import initial, local_update, play, quadratic_app, to_record, to_vector
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies import Gossip, Teleportation

NODES = 6


def counting_app(seen: dict[int, list[int]], contexts: list[Any]) -> ClientApp:
    """Return an app whose even nodes count their rounds in their state."""
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        node = int(ctxt.node_config["partition-id"])
        contexts.append(weakref.ref(ctxt))
        if node % 2 == 0:
            count = int(ctxt.state["own"]["count"]) if "own" in ctxt.state else 0
            ctxt.state["own"] = ConfigRecord({"count": count + 1})
            seen.setdefault(node, []).append(count + 1)
        return Message(RecordDict({"arrays": msg.content["arrays"]}), reply_to=msg)

    return app


@pytest.mark.parametrize("workers", [1, NODES])
def test_state_stays_with_its_node_and_a_node_without_state_leaves_nothing(workers: int) -> None:
    seen: dict[int, list[int]] = {}
    contexts: list[Any] = []
    with InProcessGrid(counting_app(seen, contexts), NODES, max_workers=workers) as grid:
        strategy = Gossip("ring", fraction_evaluate=0.0, rounds_per_message=1)
        strategy.start(grid, initial(), num_rounds=3)
        gc.collect()
        alive = {one().node_config["partition-id"] for one in contexts if one() is not None}
    assert seen == {0: [1, 2, 3], 2: [1, 2, 3], 4: [1, 2, 3]}
    assert alive == {0, 2, 4}


def test_no_model_lives_on_in_the_messages_that_were_sent() -> None:
    sent: list[Message] = []
    before: list[list[str]] = []

    class Keeping(InProcessGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            listed = list(messages)
            sent.extend(listed)
            before.extend(sorted(message.content) for message in listed)
            return super().push_messages(listed)

    play(Teleportation(2, "ring"), quadratic_app(), NODES, 4, grid_type=Keeping)
    assert len(sent) > 4 * 2
    assert [sorted(message.content) for message in sent] == before
    assert not any(message.content.array_records for message in sent)


def test_what_a_client_raises_is_an_error_reply_and_the_message_stays() -> None:
    app = ClientApp()

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        msg.content = RecordDict({"metrics": MetricRecord({"x": 1.0})})
        raise ValueError("no data")

    with InProcessGrid(app, 1) as grid:
        message = Message(RecordDict({"config": ConfigRecord({"x": 1})}), 1000, "train")
        (reply,) = grid.send_and_receive([message])
    assert reply.error.reason == "ValueError: no data"
    assert list(message.content) == ["config"]


def test_flowers_own_fedavg_runs_on_it() -> None:
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=NODES)
    with InProcessGrid(quadratic_app(), NODES) as grid:
        result = strategy.start(grid, initial("float64"), num_rounds=3)
    x = to_vector(initial("float64"))
    examples = np.arange(1.0, NODES + 1)
    for t in (1, 2, 3):
        trained = np.stack([local_update(x, node, t) for node in range(NODES)])
        x = examples @ trained / examples.sum()
    np.testing.assert_allclose(to_vector(result.arrays), x, rtol=1e-12)
    assert to_record(x, "float64").keys() == result.arrays.keys()


@pytest.mark.parametrize("workers", [1, NODES])
def test_what_a_client_changes_in_what_it_was_sent_nobody_else_sees(workers: int) -> None:
    """Flower's strategies send one RecordDict to all nodes; over a wire each has its own."""
    seen: list[tuple[float, list[int], list[str], int]] = []
    app = ClientApp()

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        config, arrays = msg.content["config"], msg.content["arrays"]
        ctxt.run_config["calls"] = calls = int(ctxt.run_config["calls"]) + 1
        steps = config["steps"]
        seen.append((config.pop("lr"), list(steps), sorted(arrays), calls))
        steps.append(1)
        arrays.clear()
        metrics = MetricRecord({"num-examples": 1.0})
        return Message(RecordDict({"arrays": initial(), "metrics": metrics}), reply_to=msg)

    arrays, config = initial(), ConfigRecord({"lr": 0.1, "steps": [0]})
    names = sorted(arrays)
    with InProcessGrid(app, NODES, run_config={"calls": 0}, max_workers=workers) as grid:
        strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=NODES)
        strategy.start(grid, arrays, num_rounds=1, train_config=config)
    assert seen == [(0.1, [0], names, 1)] * NODES
    assert sorted(arrays) == names


def test_replies_stay_as_they_were_when_the_client_goes_on_with_its_records() -> None:
    app = ClientApp()

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        losses = ctxt.state.setdefault("metrics", MetricRecord({"losses": [0.0]}))["losses"]
        losses.append(len(losses) * 1.0)
        return Message(RecordDict({"metrics": ctxt.state["metrics"]}), reply_to=msg)

    with InProcessGrid(app, 1) as grid:
        replies = [
            reply
            for _ in range(3)
            for reply in grid.send_and_receive([Message(RecordDict(), 1000, "train")])
        ]
    losses = [reply.content["metrics"]["losses"] for reply in replies]
    assert losses == [[0.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0]]


def test_a_progress_bar_shows_the_rounds_on_request_and_not_without_a_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for progress in (True, None):
        with InProcessGrid(counting_app({}, []), 2, progress=progress) as grid:
            Gossip("ring", fraction_evaluate=0.0).start(grid, initial(), num_rounds=3)
        bar = [line for line in capfd.readouterr().err.splitlines() if "━" in line]
        assert any("round 3" in line and "100%" in line for line in bar) == bool(progress)


def test_the_garbage_collector_is_as_before_once_all_grids_are_closed() -> None:
    before = gc.get_freeze_count()
    with InProcessGrid(ClientApp(), 1), InProcessGrid(ClientApp(), 1):
        pass
    assert gc.get_freeze_count() == before


def test_grids_may_be_closed_in_any_order() -> None:
    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    first, second = InProcessGrid(ClientApp(), 1), InProcessGrid(ClientApp(), 1)
    first.close()
    first.close()
    Message(RecordDict(), 1000, "train")  # which needs an identity
    second.close()
    assert (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id) == before


def test_the_garbage_collector_is_as_before_when_a_grid_is_forgotten_unclosed() -> None:
    before = gc.get_freeze_count()
    grid = InProcessGrid(ClientApp(), 1)
    assert gc.get_freeze_count() > before
    del grid
    gc.collect()
    assert gc.get_freeze_count() == before
