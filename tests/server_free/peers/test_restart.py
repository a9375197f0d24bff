"""Peers that are killed and started again on the same address and store: real processes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps import Calls, initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.server_free.errors import MailboxFull
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, Missing, ModelId, Patience, connect
from flwr_gossip.server_free.peers.own_peer import OwnPeer
from flwr_gossip.strategies import Gossip, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized
from proxies import free_port
from reference import dense

CLI = [sys.executable, "-m", "flwr_gossip.clients.cli", "peer", "--insecure"]
READY_S = 30.0
KEY = b"k" * 32


@dataclass
class Peer:
    """``flwr-gossip peer`` on an address and a store of its own, to be killed and started."""

    folder: Path
    with_store: bool = True
    limit_blocks: int = 0
    address: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    process: subprocess.Popen[str] | None = None

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def local_address(self) -> str:
        return f"unix:{self.folder}/peer.sock"

    def start(self) -> None:
        """Start it, without waiting for it to be ready."""
        command = [*CLI, "--listen", self.address, "--local", self.local_address]
        command += ["--store", str(self.store)] if self.with_store else []
        if self.limit_blocks:
            command = ["sh", "-c", f'ulimit -f {self.limit_blocks}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ready(self) -> None:
        """Wait till it says that it is ready."""
        assert self.process is not None and self.process.stdout is not None
        assert self.process.stdout.readline().startswith("peer ready")

    def kill(self) -> None:
        """Kill it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=READY_S)

    def restart(self) -> None:
        self.kill()
        self.start()


MakePeer = Callable[..., Peer]


@pytest.fixture
def make_peer(tmp_path: Path) -> Iterator[MakePeer]:
    """Start peers, ready; all are killed at the end."""
    peers: list[Peer] = []

    def make(**options: int) -> Peer:
        folder = tmp_path / str(len(peers))
        folder.mkdir()
        peers.append(Peer(folder, **options))
        peers[-1].start()
        peers[-1].ready()
        return peers[-1]

    yield make
    for peer in peers:
        if peer.process is not None and peer.process.poll() is None:
            peer.kill()


def member(node: int, segment: str, *addresses: str) -> Membership:
    return Membership("t", KEY, node, segment, addresses)


@pytest.mark.parametrize(
    "strategy",
    [
        Gossip("ring", rounds_per_message=5, evaluate_every=10),
        Teleportation(2, "ring", seed=3, rounds_per_message=5, evaluate_every=10),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
@pytest.mark.parametrize("at_work", [True, False], ids=["its client trains", "another trains"])
def test_a_peer_that_is_killed_and_started_again_during_a_run(
    make_peer: MakePeer, strategy: Decentralized, at_work: bool
) -> None:
    rounds, nodes, victim = 10, 4, 2
    plan = strategy.plan(nodes, rounds)
    kills = {  # two in the first segment, one in the second
        next(
            (node, t)
            for t in range(start, rounds)
            for node in plan.active(t)
            if (node == victim) == at_work
        )
        for start in (2, 4, 7)
    }
    peer, calls = make_peer(), Calls()

    def before_train(node: int, round: int) -> None:
        if (node, round) in kills:
            peer.restart()

    with PeerHost() as a, PeerHost() as b, PeerHost() as c:
        local = [host.local_address for host in (a, b, peer, c)]
        grid = {"max_workers": nodes, "node_config": lambda node: {"gossip-peer": local[node]}}
        app = quadratic_app(calls, before_train=before_train)
        result = play(strategy, app, nodes, rounds, initial("float64"), grid=grid)
    assert not result.failures
    assert not result.losses
    expected = dense(plan, to_vector(initial("float64")), local_update, rounds)
    np.testing.assert_allclose(to_vector(result.arrays), expected.mean(axis=0), rtol=1e-12)


def test_it_serves_what_it_had_before_any_client_comes(make_peer: MakePeer) -> None:
    peer = make_peer()
    model = {"w": np.arange(1000.0)}
    with connect(peer.local_address, member(1, "s", "127.0.0.1:1", peer.address)) as link:
        link.publish(ModelId(1, 1, 1), model, readers=[0])
    peer.restart()
    with PeerHost() as own:
        reader = connect(own.local_address, member(0, "s", own.address, peer.address))
        with reader:
            (answer,) = reader.fetch([ModelId(1, 1, 1)], Patience(silence_s=READY_S))
    assert not isinstance(answer, Missing)
    np.testing.assert_array_equal(answer["w"], model["w"])


def test_without_a_store_the_client_registers_and_publishes_again(make_peer: MakePeer) -> None:
    peer = make_peer(with_store=False)
    addresses = ("127.0.0.1:1", peer.address)
    with connect(peer.local_address, member(1, "s", *addresses)) as link:
        peer.restart()
        peer.ready()
        link.publish(ModelId(1, 1, 1), {"w": np.ones(3)}, readers=[0])
        peer.restart()
        peer.ready()
        link.report_missing({0: "gone"})
        assert isinstance(link.fetch([ModelId(1, 1, 1)], Patience(ceiling_s=0.1))[0], Missing)


def test_a_peer_that_is_restarted_while_a_client_connects(
    make_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = make_peer(with_store=False)
    attach, restarts = OwnPeer.attach, iter([peer.restart])

    async def attach_late(self: OwnPeer, membership: Membership) -> Any:
        next(restarts, lambda: None)()
        return await attach(self, membership)

    monkeypatch.setattr(OwnPeer, "attach", attach_late)
    membership = member(1, "s", "127.0.0.1:1", peer.address)
    with connect(peer.local_address, membership, return_s=READY_S) as link:
        link.publish(ModelId(1, 1, 1), {"w": np.ones(3)}, readers=[0])


def test_a_second_peer_is_refused_till_the_first_is_dead(make_peer: MakePeer) -> None:
    first = make_peer()
    assert first.process is not None
    command = [*CLI, "--listen", "127.0.0.1:0", "--store", str(first.store)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=READY_S)
    says = f"error: store is '{first.store}': {first.store} is in use by process "
    assert (second.returncode, second.stdout) == (2, "")
    assert re.fullmatch(rf"flwr-gossip peer: {re.escape(says)}\d+\..*\n", second.stderr)
    first.kill()
    third = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert third.stdout is not None and third.stdout.readline().startswith("peer ready")
    finally:
        third.send_signal(signal.SIGTERM)
        third.communicate(timeout=READY_S)


def test_a_full_disk_refuses_models_and_what_is_there_is_served(make_peer: MakePeer) -> None:
    peer = make_peer(limit_blocks=128)  # no file may have more than 64 kB
    small, large = {"w": np.arange(1000.0)}, {"w": np.zeros(100_000)}
    with connect(peer.local_address, member(0, "s", peer.address)) as link:
        link.publish(ModelId(1, 0, 0), small, readers=[1])
        says = (
            rf"800000 bytes: the store '{peer.store}' cannot be written: File too large. Make room"
        )
        with pytest.raises(MailboxFull, match=says):
            link.publish(ModelId(2, 0, 0), large, readers=[1])
        (model,) = link.fetch([ModelId(1, 0, 0)], Patience())
        assert not isinstance(model, Missing)
        np.testing.assert_array_equal(model["w"], small["w"])
        link.publish(ModelId(2, 0, 0), small, readers=[1])
    names = sorted(path.name for path in peer.store.glob("*/*"))
    models = ["r00000001-s0-n0.model", "r00000002-s0-n0.model"]
    assert names == [*models, "training.json"]
