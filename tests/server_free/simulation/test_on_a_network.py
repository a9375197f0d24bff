"""``simulate`` on a network: what is late, lost or offline is missing as in the dense reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation import (
    LogNormal,
    Network,
    OnlineTrace,
    OnOff,
    SimulationResult,
    Stragglers,
    Timeline,
    simulate,
)
from flwr_gossip.strategies import Gossip, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized

N, ROUNDS, RATE = 7, 9, 0.4
TARGETS = np.random.default_rng(0).normal(size=(N, 3))
X0 = np.arange(3.0)

BAD = Network(
    compute_s=LogNormal(1.0, 0.5),
    latency_s=0.05,
    upload_bytes_per_s=500.0,
    availability=OnOff(8.0, 3.0),
    loss_probability=0.1,
    seed=3,
)


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.from_numpy(X0.copy()))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.x.expand(len(inputs), -1)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * ((outputs - targets) ** 2).sum(dim=1).mean()


def run(strategy: Decentralized, **settings: object) -> SimulationResult:
    data = [(np.zeros((1, 1)), TARGETS[i : i + 1]) for i in range(N)]
    return simulate(
        Point(), half_square, data, strategy, num_rounds=ROUNDS, learning_rate=RATE, **settings
    )


STRATEGIES = [
    Gossip("ring"),
    Gossip("one-peer-exponential"),
    Teleportation(4, "ring", seed=1),
    Teleportation(1, seed=2),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.describe())
@pytest.mark.parametrize("replan_every", [None, 3])
def test_losses_are_those_of_the_reference(
    strategy: Decentralized, replan_every: int | None
) -> None:
    result = run(strategy, network=BAD, peer_timeout=2.0, replan_every=replan_every)
    size = X0.nbytes
    timeline = Timeline(
        BAD, strategy.plan(N, ROUNDS), size, timeout_s=2.0, replan_every=replan_every
    )
    steps = [timeline.play(round) for round in range(1, ROUNDS + 1)]
    missing = {row for step in steps for row in step.missing} | steps[-1].absent_rows
    assert missing
    assert result.plan == timeline.plan
    assert [r["seconds"] for r in result.history] == [step.seconds for step in steps]
    assert [r["missing"] for r in result.history] == [len(step.missing) for step in steps]
    np.testing.assert_allclose(result.models.numpy(), by_hand(steps, missing), rtol=0, atol=1e-12)


def by_hand(steps: list, missing: set) -> np.ndarray:
    """Return the mixed models: ``reference.dense``, but for holders that did not train."""
    slots = len(steps[0].active)
    h = np.tile(X0, (slots, 1))
    z = h.copy()
    for step in steps:
        before = h.copy()
        for slot, node in enumerate(step.active):
            if node != -1:
                h[slot] = z[slot] - RATE * (z[slot] - TARGETS[node])
        w = step.plan.topology.matrix(step.round)
        w[:, np.array(step.plan.active(step.round)) == -1] = 0.0
        for reader, when, slot in missing:
            if when == step.round:
                w[reader, slot] = 0.0
        total = w.sum(axis=1, keepdims=True)
        z = np.where(total > 0, w @ h / np.where(total > 0, total, 1.0), before)
    return z


def test_a_good_network_changes_no_number() -> None:
    for strategy in STRATEGIES:
        plain = run(strategy)
        timed = run(strategy, network=Network.lan(compute_s=0.5))
        assert torch.equal(plain.models, timed.models)
        seconds = [record["seconds"] for record in timed.history]
        assert seconds == sorted(seconds)
        assert seconds[0] == pytest.approx(0.5)


def test_each_node_says_what_it_did() -> None:
    result = run(Teleportation(3, "ring", seed=1), network=Network(compute_s=2.0))
    rounds = {node: usage.rounds for node, usage in result.nodes.items() if usage.rounds}
    active = [node for t in range(1, ROUNDS + 1) for node in result.plan.active(t)]
    assert rounds == {node: active.count(node) for node in set(active)}
    assert all(usage.busy_s == pytest.approx(2.0 * usage.rounds) for usage in result.nodes.values())
    sent = sum(usage.sent for usage in result.nodes.values())
    assert sent == sum(usage.received for usage in result.nodes.values())
    assert sent == sum(record["bytes"] for record in result.history) > 0


def test_a_straggler_costs_gossip_time_and_no_accuracy() -> None:
    slow = Network(compute_s=1.0, stragglers=Stragglers(share=0.3, factor=10.0), seed=1)
    even = run(Gossip("ring"), network=Network(compute_s=1.0))
    uneven = run(Gossip("ring"), network=slow)
    assert torch.equal(even.models, uneven.models)
    assert uneven.history[-1]["seconds"] > 5 * even.history[-1]["seconds"]


def test_a_node_that_is_never_there_is_left_out_of_the_plan() -> None:
    online = {node: [] if node == 2 else [(0.0, np.inf)] for node in range(N)}
    away = Network(compute_s=1.0, availability=OnlineTrace(online))
    result = run(Gossip("ring"), network=away, replan_every=2, peer_timeout=1.0)
    assert 2 not in (result.plan.live_in(ROUNDS) or ())
    assert all(record["active"] == N - 1 for record in result.history)


def test_bad_input() -> None:
    with pytest.raises(PlanError, match="replan_every is 0"):
        run(Gossip("ring"), network=Network(), replan_every=0)
    with pytest.raises(PlanError, match=r"peer_timeout is -1.0, allowed is a finite number from 0"):
        run(Gossip("ring"), network=Network(), peer_timeout=-1.0)
