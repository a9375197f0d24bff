"""Clients that run at the same time, many rounds in one message: any order, the same numbers.

One worker thread a node, so that a segment runs as in a deployment: each client waits for
the models it needs, and only for those.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps import Calls, initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.models import Model
from flwr_gossip.server_free.peers import memory
from flwr_gossip.server_free.peers.links import Membership, Missing, ModelId, Patience, connect
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.server_free.topologies import from_spec
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation
from reference import dense

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def check(result: GossipResult, plan: Plan, calls: Calls, rounds: int) -> None:
    """Compare every model that a function was given, and the final mean, with the reference."""
    assert not result.failures
    assert not result.losses
    x0 = to_vector(initial("float64"))
    for (node, t), z in calls.given.items():
        expected = dense(plan, x0, local_update, t - 1)[plan.active(t).index(node)]
        np.testing.assert_allclose(z, expected, err_msg=f"{node=} {t=}", **CLOSE)
    for (node, t), z in calls.evaluated.items():
        expected = dense(plan, x0, local_update, t)[node % plan.num_slots]
        np.testing.assert_allclose(z, expected, err_msg=f"{node=} {t=}", **CLOSE)
    pairs = [(node, t) for t in range(1, rounds + 1) for node in plan.active(t)]
    assert sorted(calls.trained) == sorted(pairs)
    final = dense(plan, x0, local_update, rounds)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), **CLOSE)


@pytest.mark.parametrize("rounds_per_message", [1, 2, 5, 100])
@pytest.mark.parametrize(("spec", "n"), [("ring", 5), ("one-peer-exponential", 6), ("star", 4)])
def test_gossip_in_segments(spec: str, n: int, rounds_per_message: int) -> None:
    calls = Calls()
    strategy = Gossip(spec, rounds_per_message=rounds_per_message, evaluate_every=10)
    result = play(
        strategy, quadratic_app(calls), n, 12, initial("float64"), grid={"max_workers": n}
    )
    check(result, Plan(from_spec(spec, num_nodes=n), AllActive(n), 12), calls, 12)
    assert list(result.train_metrics_clientapp) == list(range(1, 13))


@pytest.mark.parametrize("rounds_per_message", [1, 3, 100])
@pytest.mark.parametrize(
    ("spec", "n", "k"),
    [
        ("one-peer-exponential", 5, 1),
        ("one-peer-exponential", 6, 2),
        ("ring", 7, 3),
        ("complete", 4, 4),
    ],
)
def test_teleportation_in_segments(spec: str, n: int, k: int, rounds_per_message: int) -> None:
    calls = Calls()
    strategy = Teleportation(
        k, spec, seed=9, rounds_per_message=rounds_per_message, evaluate_every=10
    )
    result = play(
        strategy, quadratic_app(calls), n, 12, initial("float64"), grid={"max_workers": n}
    )
    check(result, Plan(from_spec(spec, num_nodes=k), Teleport(n, k, seed=9), 12), calls, 12)


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_fewer_workers_than_nodes(workers: int) -> None:
    """Then a message must not carry more than one round, whatever was asked for."""
    calls = Calls()
    strategy = Gossip("ring", rounds_per_message=4)
    grid = {"max_workers": workers}
    result = play(strategy, quadratic_app(calls), 8, 6, initial("float64"), grid=grid)
    check(result, Plan(from_spec("ring", num_nodes=8), AllActive(8), 6), calls, 6)


def test_one_message_carries_many_rounds() -> None:
    """Twenty rounds, ten a message: a hello, two segments and at most one last mixing a node."""
    messages: list[Message] = []

    class Counting(InProcessGrid):
        def push_messages(self, batch: Iterable[Message]) -> Iterable[str]:
            batch = list(batch)
            messages.extend(batch)
            return super().push_messages(batch)

    calls = Calls()
    strategy = Gossip("ring", rounds_per_message=10, fraction_evaluate=0.0)
    grid = {"max_workers": 4}
    play(strategy, quadratic_app(calls), 4, 20, grid=grid, grid_type=Counting)
    assert len(calls.trained) == 4 * 20
    assert len(messages) <= 4 * (1 + 2 + 1)


# --- any order of arrival ---------------------------------------------------------------------


class Delays:
    """Milliseconds to wait, by place and key, drawn from a seed; a pure function of both."""

    def __init__(self, seed: int, largest_s: float) -> None:
        self.seed = seed
        self.largest_s = largest_s

    def __call__(self, *key: int) -> None:
        generator = np.random.default_rng([self.seed, *[part + 1 for part in key]])
        if generator.random() < 0.5:
            time.sleep(self.largest_s * generator.random())


class DelayedLink(memory.MemoryLink):
    """A link whose fetches and publishes take their time."""

    delays: Delays

    def fetch(self, wants: Sequence[ModelId], patience: Patience) -> list[Model | Missing]:
        for want in wants:
            self.delays(1, self.membership.node, want.round, want.slot)
        answers = super().fetch(wants, patience)
        self.delays(2, self.membership.node)
        return answers

    def publish(
        self, id: ModelId, model: Model, readers: Collection[int], *, keep: bool = False
    ) -> None:
        self.delays(3, id.node, id.round)
        super().publish(id, model, readers, keep=keep)
        self.delays(4, id.node, id.round)


@pytest.fixture
def delayed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Delays]:
    """Put delays drawn from a seed on the transport; return them for the train function."""

    def start(seed: int) -> Delays:
        delays = Delays(seed, 0.01)
        link = type("Link", (DelayedLink,), {"delays": delays})
        monkeypatch.setattr(memory, "MemoryLink", link)
        return delays

    return start


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_order_of_arrival_gives_the_same_numbers(
    delayed: Callable[[int], Delays], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 6), "n")
    k = data.draw(st.one_of(st.none(), st.integers(1, n)), "k")
    spec = data.draw(
        st.sampled_from(["ring", "one-peer-exponential", "exponential", "star", "complete"]), "spec"
    )
    rounds_per_message = data.draw(st.sampled_from([1, 2, 4, 9]), "rounds_per_message")
    delays = delayed(data.draw(st.integers(0, 10**6), "seed"))
    options: dict[str, Any] = {"rounds_per_message": rounds_per_message, "evaluate_every": 9}
    calls = Calls()
    app = quadratic_app(calls, before_train=lambda node, t: delays(0, node, t))
    schedule = AllActive(n) if k is None else Teleport(n, k, seed=4)
    strategy = Gossip(spec, **options) if k is None else Teleportation(k, spec, seed=4, **options)
    result = play(strategy, app, n, 9, initial("float64"), grid={"max_workers": n})
    check(result, Plan(from_spec(spec, num_nodes=k or n), schedule, 9), calls, 9)


def test_the_delays_are_on_the_transport(delayed: Callable[[int], Delays]) -> None:
    delayed(1)
    with memory.MemoryHost() as host:
        member = Membership("t", b"k" * 32, 0, "s", (host.address,))
        with connect(host.local_address, member) as link:
            assert isinstance(link, DelayedLink)


@pytest.mark.parametrize("evaluate_every", [2, 6])
@pytest.mark.parametrize("rounds_per_message", [2, 3])
def test_a_node_that_starts_a_segment_late_still_finds_the_models_of_the_last_one(
    monkeypatch: pytest.MonkeyPatch, rounds_per_message: int, evaluate_every: int
) -> None:
    """On a chain the far end runs ahead by as many rounds as it is edges away."""
    link = type("Link", (_LateStart,), {})
    monkeypatch.setattr(memory, "MemoryLink", link)
    calls = Calls()
    strategy = Gossip("chain", rounds_per_message=rounds_per_message, evaluate_every=evaluate_every)
    result = play(strategy, quadratic_app(calls), 6, 6, initial("float64"), grid={"max_workers": 6})
    check(result, Plan(from_spec("chain", num_nodes=6), AllActive(6), 6), calls, 6)


class _LateStart(memory.MemoryLink):
    """Node 0's client starts half a second after the others, as a new process may."""

    def __init__(self, local: str, membership: Membership) -> None:
        if membership.node == 0 and membership.segment:
            time.sleep(0.5)
        super().__init__(local, membership)


def test_a_slow_node_is_waited_for_and_not_missed() -> None:
    """Slower than the peer timeout, but alive: a deadline counts silence, not slowness."""

    def before_train(node: int, t: int) -> None:
        if (node, t) == (2, 2):
            time.sleep(1.5)

    calls = Calls()
    app = quadratic_app(calls, before_train=before_train)
    strategy = Gossip("ring", rounds_per_message=5, peer_timeout=0.5, evaluate_every=5)
    result = play(strategy, app, 5, 5, initial("float64"), grid={"max_workers": 5})
    check(result, Plan(from_spec("ring", num_nodes=5), AllActive(5), 5), calls, 5)


# --- losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds_per_message", [1, 3, 8])
def test_a_ring_of_eight_misses_only_the_node_that_failed(rounds_per_message: int) -> None:
    calls = Calls()

    def before_train(node: int, t: int) -> None:
        if (node, t) == (3, 3):
            raise RuntimeError("the disk is full")

    app = quadratic_app(calls, before_train=before_train)
    strategy = Gossip(
        "ring", rounds_per_message=rounds_per_message, evaluate_every=8, peer_timeout=2.0
    )
    began = time.monotonic()
    result = play(strategy, app, 8, 8, initial("float64"), grid={"max_workers": 8})
    assert list(result.failures) == [3]
    assert "the disk is full" in result.failures[3][0]
    assert {loss.holder for loss in result.losses} == {3}
    assert {loss.round for loss in result.losses} >= {3}
    missing = {(loss.reader_slot, loss.round, loss.slot) for loss in result.losses}
    assert result.plan is not None
    final = dense(result.plan, to_vector(initial("float64")), local_update, 8, missing)
    served = final[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), served, **CLOSE)
    assert time.monotonic() - began < 30.0  # it is not waited for once a hop
    others = [(node, t) for node in range(8) for t in range(1, 9) if node != 3]
    assert set(calls.trained) >= set(others)


def test_rounds_done_before_a_failure_keep_their_metrics() -> None:
    def before_train(node: int, t: int) -> None:
        if (node, t) == (0, 4):
            raise RuntimeError("the disk is full")

    app = quadratic_app(before_train=before_train)
    strategy = Gossip("ring", rounds_per_message=6, fraction_evaluate=0.0, peer_timeout=2.0)
    result = play(strategy, app, 3, 6, grid={"max_workers": 3})
    means = {t: m["loss"] for t, m in result.train_metrics_clientapp.items()}
    assert means == {1: 2.0, 2: 3.0, 3: 4.0, 4: 5.5, 5: 6.5, 6: 7.5}


@pytest.mark.parametrize("rounds_per_message", [2, 4])
def test_metrics_of_many_rounds_in_one_reply(rounds_per_message: int) -> None:
    """List metrics of other lengths in each round, and ones that are there in some rounds only."""
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        t = int(msg.content["config"]["server-round"])
        values: dict[str, Any] = {"epochs": [float(t)] * t, "pair": [t, 2 * t], "loss": float(t)}
        if t % 2 == 0:
            values["rare"] = [t, t, t]
        content = {"arrays": msg.content["arrays"], "metrics": MetricRecord(values)}
        return Message(RecordDict(content), reply_to=msg)

    strategy = Gossip("ring", rounds_per_message=rounds_per_message, fraction_evaluate=0.0)
    result = play(strategy, app, 3, 4, grid={"max_workers": 3})
    for t, metrics in result.train_metrics_clientapp.items():
        assert metrics["epochs"] in ([float(t)] * t, float(t))
        assert metrics["pair"] == [t, 2 * t]
        assert metrics["loss"] == t
        assert metrics.get("rare") == ([t, t, t] if t % 2 == 0 else None)


def test_no_threads_stay_behind() -> None:
    before = threading.active_count()
    strategy = Gossip("ring", rounds_per_message=3, fraction_evaluate=0.0)
    play(strategy, quadratic_app(), 4, 6, grid={"max_workers": 4})
    assert threading.active_count() <= before
