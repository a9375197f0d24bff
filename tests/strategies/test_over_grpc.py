"""Whole runs with a gRPC peer for each node, in this process: deaths and what they cost.

The clients are threads; everything between them goes through real gRPC peers on loopback, as
in a deployment.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from apps import Calls, initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized
from reference import dense

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
NODES = 8


@contextmanager
def peers(number: int) -> Iterator[list[PeerHost]]:
    with ExitStack() as stack:
        yield [stack.enter_context(PeerHost()) for _ in range(number)]


def deployed(
    strategy: Decentralized, hosts: list[PeerHost], calls: Calls, rounds: int, **app: Any
) -> GossipResult:
    """Run with one thread and one peer a node."""
    grid = {
        "max_workers": len(hosts),
        "node_config": lambda node: {"gossip-peer": hosts[node].local_address},
    }
    started = quadratic_app(calls, **app)
    return play(strategy, started, len(hosts), rounds, initial("float64"), grid=grid)


def expected(result: GossipResult, rounds: int) -> np.ndarray:
    """Return the reference's final models with the rows missing that the result names."""
    assert result.plan is not None
    missing = {(loss.reader_slot, loss.round, loss.slot) for loss in result.losses}
    return dense(result.plan, to_vector(initial("float64")), local_update, rounds, missing)


def stopping(host: PeerHost, node: int, round: int) -> Callable[[int, int], None]:
    """Return a hook that stops the peer of ``node`` while its client trains in ``round``."""

    def before_train(at: int, now: int) -> None:
        if (at, now) == (node, round):
            host.stop()

    return before_train


@pytest.mark.parametrize(
    "strategy",
    [
        Gossip("ring", rounds_per_message=4, evaluate_every=6),
        Gossip("exponential", rounds_per_message=5, evaluate_every=6),
        Teleportation(3, "ring", seed=3, rounds_per_message=4, evaluate_every=6),
        Teleportation(1, "alone", seed=1, rounds_per_message=12, evaluate_every=12),
    ],
    ids=lambda strategy: strategy.describe(),
)
def test_the_numbers_are_those_of_the_reference(strategy: Decentralized) -> None:
    calls = Calls()
    with peers(NODES) as hosts:
        result = deployed(strategy, hosts, calls, 12)
    assert not result.losses
    assert not result.failures
    served = expected(result, 12)[list(result.served_slots)]
    np.testing.assert_allclose(to_vector(result.arrays), served.mean(axis=0), **CLOSE)
    assert result.plan is not None
    x0 = to_vector(initial("float64"))
    for (node, t), z in calls.given.items():
        known = dense(result.plan, x0, local_update, t - 1)
        np.testing.assert_allclose(z, known[result.plan.active(t).index(node)], **CLOSE)


def test_one_death_in_a_ring_of_eight_costs_one_deadline_and_only_its_own_rows() -> None:
    calls = Calls()
    strategy = Gossip("ring", rounds_per_message=10, fraction_evaluate=0.0, peer_timeout=1.0)
    with peers(NODES) as hosts:
        hook = stopping(hosts[5], 5, 4)
        result = deployed(strategy, hosts, calls, 10, before_train=hook)
    assert list(result.failures) == [5]
    assert {loss.holder for loss in result.losses} == {5}
    in_rounds = [loss for loss in result.losses if loss.reader == loss.reader_slot]
    assert {loss.reader for loss in in_rounds} == {4, 6}
    for reader in (4, 6):
        kinds = [loss.kind for loss in in_rounds if loss.reader == reader]
        # One of the two waits for the deadline; afterwards both know.
        assert set(kinds[1:]) == {"known"}
        assert kinds[0] in ("unreachable", "silent", "gone", "known")
    # Slot 5 outlives its holder: another node mixed it for the server.
    assert result.served_slots == tuple(range(NODES))
    assert [loss.reader_slot for loss in result.losses if loss not in in_rounds] == [5]
    final = expected(result, 10)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), **CLOSE)


def test_the_only_slot_outlives_its_holder() -> None:
    calls = Calls()
    strategy = Teleportation(
        1, "alone", seed=1, rounds_per_message=12, fraction_evaluate=0.0, peer_timeout=1.0
    )
    plan = strategy.plan(NODES, 12)
    (victim,) = plan.active(6)
    later = {node for t in range(7, 13) for node in plan.active(t)}
    assert later != {victim}
    with peers(NODES) as hosts:
        hook = stopping(hosts[victim], victim, 6)
        result = deployed(strategy, hosts, calls, 12, before_train=hook)
    assert list(result.failures) == [victim]
    first = min(result.losses, key=lambda loss: loss.round)
    assert (first.round, first.holder) == (6, victim)
    (before,) = plan.active(5)
    if before != victim:
        assert first.used == f"slot 0 of round 5 from node {before}"
    assert np.isfinite(to_vector(result.arrays)).all()
    assert not np.allclose(to_vector(result.arrays), to_vector(initial("float64")))


def test_a_peer_that_is_full_is_a_failure_that_says_what_to_raise() -> None:
    strategy = Gossip("ring", rounds_per_message=3, fraction_evaluate=0.0, peer_timeout=2.0)
    with ExitStack() as stack:
        limits = [None, None, 200, None]
        options: list[dict[str, int]] = [
            {} if one is None else {"max_bytes": one} for one in limits
        ]
        hosts = [stack.enter_context(PeerHost(**one)) for one in options]
        result = deployed(strategy, hosts, Calls(), 3)
    (reason,) = result.failures[2]
    assert re.match(r"round 2: the peer holds \d+ bytes of its limit of 200, a model of ", reason)
    assert "Raise the limit with the option --max-memory of flwr-gossip peer" in reason
    assert list(result.failures) == [2]
    assert {loss.holder for loss in result.losses} == {2}
    final = expected(result, 3)[list(result.served_slots)]
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), **CLOSE)


def test_a_site_twenty_times_slower_than_the_rest_costs_time_and_nothing_else() -> None:
    """A round of it is longer than the deadline of peers that say nothing."""
    slow, usual_s, rounds = 2, 0.06, 3

    def before_train(node: int, round: int) -> None:
        time.sleep(usual_s * (20 if node == slow else 1))

    strategy = Gossip("ring", rounds_per_message=3, fraction_evaluate=0.0, peer_timeout=1.0)
    with peers(4) as hosts:
        result = deployed(strategy, hosts, Calls(), rounds, before_train=before_train)
    assert (result.losses, result.failures) == ([], {})
    np.testing.assert_allclose(
        to_vector(result.arrays), expected(result, rounds).mean(axis=0), **CLOSE
    )
