"""Pairs of nodes that cannot connect: reported, refused, or relayed. Real peers, mutual TLS.

Node 0's certificate is of a CA that node 1 does not know, so these two cannot talk; all others
know both CAs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps import Calls, initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.server_free.errors import PeerUnreachable, PlanError
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.reachability import Probed, Unreachable
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized
from flwr_gossip.strategies.pairs import Pairs
from offices import Office
from proxies import free_port
from reference import dense

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
NODES, ROUNDS = 4, 8
BOTH_WAYS = {(0, 1), (1, 0)}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[PeerHost]]:
    folder = tmp_path_factory.mktemp("certificates")
    old, new = Office(folder / "old", "old"), Office(folder / "new", "new")
    both = folder / "both.pem"
    both.write_bytes(Path(old.ca).read_bytes() + Path(new.ca).read_bytes())
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                PeerHost(
                    listen=f"127.0.0.{node + 1}:0",
                    tls=(new if node == 0 else old).issue(
                        f"127.0.0.{node + 1}", ca=old.ca if node == 1 else str(both)
                    ),
                )
            )
            for node in range(NODES)
        ]


def deployed(
    strategy: Decentralized, hosts: list[PeerHost], calls: Calls | None = None, rounds: int = ROUNDS
) -> GossipResult:
    grid: dict[str, Any] = {
        "max_workers": len(hosts),
        "node_config": lambda node: {"gossip-peer": hosts[node].local_address},
    }
    app = quadratic_app(calls or Calls())
    return play(strategy, app, len(hosts), rounds, initial("float64"), grid=grid)


def expected(result: GossipResult, rounds: int = ROUNDS) -> np.ndarray:
    assert result.plan is not None
    missing = {(loss.reader_slot, loss.round, loss.slot) for loss in result.losses}
    return dense(result.plan, to_vector(initial("float64")), local_update, rounds, missing)


def test_by_default_the_run_goes_on_and_names_the_pairs(
    hosts: list[PeerHost], caplog: pytest.LogCaptureFixture
) -> None:
    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=2.0, rounds_per_message=4)
    with caplog.at_level(logging.WARNING, logger="flwr"):
        result = deployed(strategy, hosts)
    assert {(one.reader, one.holder) for one in result.unreachable} == BOTH_WAYS
    assert {(one.kind, one.relay) for one in result.unreachable} == {("certificate", -1)}
    assert {(loss.reader, loss.holder) for loss in result.losses} == BOTH_WAYS
    assert len(result.losses) == 2 * ROUNDS
    assert result.failures == {}
    np.testing.assert_allclose(to_vector(result.arrays), expected(result).mean(axis=0), **CLOSE)
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count("2 of 8 pairs of nodes that were probed cannot talk:") == 1
    assert any(line.split()[:3] == ["0", "1", hosts[1].address] for line in logged)
    assert "Pairs of nodes that cannot connect: 2; see result.unreachable" in repr(result)


def test_it_can_be_refused_before_anything_is_trained(hosts: list[PeerHost]) -> None:
    calls = Calls()
    strategy = Gossip("ring", peer_timeout=2.0, unreachable="refuse")
    with pytest.raises(PeerUnreachable, match="2 of 8 pairs of nodes") as error:
        deployed(strategy, hosts, calls)
    assert hosts[1].address in str(error.value)
    assert "certificate" in str(error.value)
    assert calls.trained == []


@pytest.mark.parametrize(
    "strategy",
    [
        Gossip("ring", unreachable="relay", evaluate_every=4),
        Teleportation(3, "ring", seed=2, unreachable="relay", fraction_evaluate=0.0),
    ],
    ids=lambda strategy: strategy.describe(),
)
def test_a_relay_loses_nothing(strategy: Decentralized, hosts: list[PeerHost]) -> None:
    result = deployed(strategy, hosts)
    relays = {(one.reader, one.holder): one.relay for one in result.unreachable}
    assert relays == {(0, 1): 2, (1, 0): 3}
    assert result.losses == []
    assert result.failures == {}
    np.testing.assert_allclose(to_vector(result.arrays), expected(result).mean(axis=0), **CLOSE)
    assert 0 < result.traffic.bytes_relayed < result.traffic.bytes_between_clients


def test_a_node_that_nobody_reaches_has_no_relay(caplog: pytest.LogCaptureFixture) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=1.0, unreachable="relay")
    with ExitStack() as stack:
        hosts = [stack.enter_context(PeerHost()) for _ in range(3)]
        hosts.append(stack.enter_context(PeerHost(advertise=nobody)))
        with caplog.at_level(logging.WARNING, logger="flwr"):
            result = deployed(strategy, hosts)
    pairs = {(one.reader, one.holder, one.kind, one.relay) for one in result.unreachable}
    assert pairs == {(reader, 3, "refused", -1) for reader in range(3)}
    assert {(loss.reader, loss.holder) for loss in result.losses} == {(0, 3), (2, 3)}
    # It reads the others, and what it cannot give it does not lose: its model is that of the rest.
    np.testing.assert_allclose(to_vector(result.arrays), expected(result).mean(axis=0), **CLOSE)
    assert "3 of 12 pairs of nodes that were probed cannot talk:" in caplog.text


def test_when_all_can_talk_it_costs_no_message(caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    strategy = Gossip("ring", fraction_evaluate=0.0, rounds_per_message=ROUNDS)
    with ExitStack() as stack, caplog.at_level(logging.INFO, logger="flwr"):
        result = deployed(strategy, [stack.enter_context(PeerHost()) for _ in range(4)], calls)
    assert result.unreachable == []
    assert caplog.text.count("All 8 pairs of nodes that were probed can talk.") == 1
    assert len(calls.configs) == 4 * ROUNDS


def test_one_peer_for_all_needs_no_probe(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="flwr"):
        result = play(Gossip("ring", unreachable="refuse"), quadratic_app(), 4, 3)
    assert result.unreachable == []
    assert "probed" not in caplog.text


def test_what_may_be_done_about_a_pair() -> None:
    with pytest.raises(PlanError, match=r"unreachable is 'ignore', allowed is one of \('report'"):
        Gossip("ring", unreachable="ignore")


def test_a_pair_that_has_talked_before_says_that_the_holder_is_gone() -> None:
    pairs = Pairs()
    lost = Unreachable(1, 2, "10.0.0.3:9400", "refused", "nobody listens")
    pairs.take(0, Probed((), (replace(lost, reader=0),)))
    pairs.take(1, Probed((2,)))
    pairs.forget(1)  # it comes back, and probes anew
    pairs.take(1, Probed((), (lost,)))
    assert pairs.never_talked(0, 2)
    assert not pairs.never_talked(1, 2)
