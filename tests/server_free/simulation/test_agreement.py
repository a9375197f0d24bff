"""In-process, vectorized and dense: three ways to one training, of the same torch model and data.

Also what a history says of each round, recomputed from the dense reference's models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies import Gossip, Teleportation

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation import simulate  # noqa: E402

MakeProblem = Callable[[list[int]], Any]
SIZES = [4, 7, 7, 5, 7, 4]
ROUNDS, RATE = 7, 0.4

STRATEGIES = [
    Gossip("ring"),
    Gossip("one-peer-exponential"),
    Teleportation(3, "ring", seed=2),
    Teleportation(4, "one-peer-exponential"),
    Teleportation(1, seed=3),
]
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.describe())


def in_process(problem: Any, strategy: Any) -> tuple[Any, dict[int, Any]]:
    """Return the mean model, and each node's mixed model after the last round."""
    evaluated: dict[int, Any] = {}
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        inputs, targets = problem.data[int(ctxt.node_config["partition-id"])]
        problem.load(msg.content["arrays"]["x"].numpy().copy())
        sgd = torch.optim.SGD(problem.parameters, lr=RATE)
        sgd.zero_grad()
        loss = problem.loss(problem.model(inputs), targets)
        loss.backward()
        sgd.step()
        metrics = MetricRecord({"loss": loss.item(), "num-examples": len(inputs)})
        arrays = ArrayRecord({"x": Array(problem.x0)})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        node = int(ctxt.node_config["partition-id"])
        evaluated[node] = msg.content["arrays"]["x"].numpy().copy()
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"metrics": metrics}), reply_to=msg)

    x0 = problem.x0
    try:
        with InProcessGrid(app, len(problem.data)) as grid:
            result = strategy.start(grid, ArrayRecord({"x": Array(x0)}), num_rounds=ROUNDS)
        return result.arrays["x"].numpy(), evaluated
    finally:
        problem.load(x0)


@each_strategy
def test_three_runtimes_agree_on_one_problem(strategy: Any, make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    plan = strategy.plan(len(SIZES), ROUNDS)
    wanted = problem.reference(plan, learning_rate=RATE)
    vectorized = simulate(
        problem.model, problem.loss, problem.data, strategy, num_rounds=ROUNDS, learning_rate=RATE
    ).models.numpy()
    mean, of_nodes = in_process(problem, strategy)
    slots = np.stack([of_nodes[node] for node in range(plan.num_slots)])
    assert sorted(of_nodes) == list(range(len(SIZES)))
    for one, other in ((vectorized, wanted), (slots, wanted), (slots, vectorized)):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mean, wanted.mean(axis=0), rtol=1e-9, atol=1e-12)
    assert np.abs(wanted - problem.x0).max() > 0.1


@each_strategy
def test_the_history_is_that_of_the_reference(strategy: Any, make_problem: MakeProblem) -> None:
    problem = make_problem(SIZES)
    inputs, targets = problem.data[1]
    result = simulate(
        problem.model,
        problem.loss,
        problem.data,
        strategy,
        num_rounds=ROUNDS,
        learning_rate=RATE,
        test_data=(inputs, targets),
        evaluate_every=1,
    )
    plan, x0 = strategy.plan(len(SIZES), ROUNDS), problem.x0
    before = np.tile(x0, (plan.num_slots, 1))
    for record in result.history:
        round, active = int(record["round"]), plan.active(record["round"])
        losses = [
            loss_of(problem, z, *problem.data[n]) for z, n in zip(before, active, strict=True)
        ]
        assert record["train_loss"] == pytest.approx(np.mean(losses))
        problem.load(x0)
        z = problem.reference(replace(plan, num_rounds=round), learning_rate=RATE)
        distance = ((z - z.mean(axis=0)) ** 2).sum() / len(z)
        assert record["consensus_distance"] == pytest.approx(distance, rel=1e-9, abs=1e-20)
        tested = [loss_of(problem, row, inputs, targets) for row in z]
        assert record["test_loss"] == pytest.approx(np.mean(tested))
        assert record["test_loss_max"] == pytest.approx(max(tested))
        assert record["test_loss_min"] == pytest.approx(min(tested))
        served = loss_of(problem, z.mean(axis=0), inputs, targets)
        assert record["served_loss"] == pytest.approx(served)
        assert record["transfers"] == transfers(plan, round)
        assert record["bytes"] == record["transfers"] * x0.nbytes
        before = z
    np.testing.assert_allclose(result.slot_metrics["loss"], tested)
    assert result.slot_metrics["accuracy"].shape == (plan.num_slots,)


def loss_of(problem: Any, vector: Any, inputs: Any, targets: Any) -> float:
    problem.load(vector.copy())
    with torch.no_grad():
        return float(problem.loss(problem.model(inputs), targets))


def transfers(plan: Any, round: int) -> int:
    """Return how many models another node must send, by the definition of a round."""
    w = plan.topology.matrix(round)
    senders = plan.active(round)
    receivers = plan.active(round + 1) if round < plan.num_rounds else senders
    needed = {
        (reader, slot)
        for reader in range(plan.num_slots)
        for slot in range(plan.num_slots)
        if w[reader, slot] > 0 or reader == slot
    }
    return sum(receivers[reader] != senders[slot] for reader, slot in needed)
