"""One peer for all nodes of a simulation: what it holds is bounded, and so is its memory."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from flwr_gossip.server_free.peers.links import (
    INITIAL,
    Membership,
    ModelId,
    Patience,
    PeerLink,
    connect,
)
from flwr_gossip.server_free.peers.memory import MemoryHost

KEY = b"k" * 32
PATIENT = Patience(silence_s=30, start_s=30, ceiling_s=60)
READY_S = 60.0
Start = Callable[[int], tuple[str, str, int]]


def most_bytes(nodes: int, size: int) -> int:
    """Return what two rounds of models have, the initial arrays, and the one that comes next."""
    return (2 * nodes + 2) * 4 * size


def play(links: list[PeerLink], rounds: int, size: int) -> None:
    """Let the clients publish on a ring; each reads what its neighbours published before."""
    nodes = len(links)
    links[0].publish(INITIAL, {"w": np.zeros(size, np.float32)}, ())
    for round in range(1, rounds + 1):
        for node, link in enumerate(links):
            neighbours = [(node - 1) % nodes, (node + 1) % nodes]
            if round > 1:
                wants = [ModelId(round - 1, other, other) for other in neighbours]
                read = [model["w"][-1] for model in link.fetch(wants, PATIENT)]  # type: ignore[call-overload,index]
                assert read == [1000 * (round - 1) + other for other in neighbours]
            model = {"w": np.full(size, 1000 * round + node, np.float32)}
            link.publish(ModelId(round, node, node), model, neighbours)


def open_links(stack: ExitStack, local: str, address: str, nodes: int) -> list[PeerLink]:
    """Connect a client for each node, all at work at the same time."""
    members = (Membership("t", KEY, node, "s", (address,)) for node in range(nodes))
    return [stack.enter_context(connect(local, member)) for member in members]


@pytest.fixture
def start_peer(tmp_path: Path) -> Iterator[Start]:
    """Start ``flwr-gossip peer`` with a limit; gives local address, address and process id."""
    with ExitStack() as stack:

        def start(max_bytes: int) -> tuple[str, str, int]:
            local = f"unix:{tmp_path}/peer.sock"
            command = [sys.executable, "-m", "flwr_gossip.clients.cli", "peer", "--insecure"]
            command += ["--listen", "127.0.0.1:0", "--local", local]
            command += ["--max-memory", str(max_bytes)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            stack.callback(process.communicate, timeout=READY_S)
            stack.callback(process.kill)
            assert process.stdout is not None
            ready = re.search(r"advertise=(\S+)", process.stdout.readline())
            assert ready is not None
            return local, ready[1], process.pid

        yield start


def resident(pid: int) -> int:
    """Return the memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def test_a_hundred_nodes_cost_a_peer_two_rounds_of_models_and_buffers(start_peer: Start) -> None:
    nodes, size, rounds = 100, 30_000, 12
    limit = most_bytes(nodes, size)
    local, address, pid = start_peer(limit)
    with ExitStack() as stack:
        links = open_links(stack, local, address, nodes)
        before = resident(pid)
        play(links, rounds, size)
        grown = resident(pid) - before
    # A connection keeps a buffer of the size of its messages; twelve rounds would be six limits.
    assert grown < 3.5 * limit


def test_a_thousand_nodes_in_this_process_too() -> None:
    nodes, size = 1000, 100
    with ExitStack() as stack:
        host = stack.enter_context(MemoryHost(max_bytes=most_bytes(nodes, size)))
        play(open_links(stack, host.local_address, host.address, nodes), 4, size)
        assert host.mailbox.num_models == 2 * nodes + 1
        assert host.mailbox.nbytes == (2 * nodes + 1) * 4 * size
