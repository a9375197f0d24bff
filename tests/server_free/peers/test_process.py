"""A peer in a process of its own: it serves, it ends, and the parent may fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest

from flwr_gossip.server_free.errors import MailboxFull, PeerError
from flwr_gossip.server_free.peers import frames
from flwr_gossip.server_free.peers import peer_pb2 as pb
from flwr_gossip.server_free.peers import process as process_module
from flwr_gossip.server_free.peers.links import INITIAL, Membership, ModelId, Patience, connect
from flwr_gossip.server_free.peers.process import PeerProcess
from flwr_gossip.server_free.peers.raw import parse, raw_fetch

KEY = b"k" * 32
MODEL = {"w": np.arange(10, dtype=np.float32)}


def test_it_serves_like_a_host_and_ends() -> None:
    with PeerProcess() as host:
        host.open("t", KEY)
        host.put_initial("t", MODEL)
        with connect(host.local_address, Membership("t", KEY, 0, "s", (host.address,))) as link:
            link.publish(ModelId(1, 0, 0), MODEL, readers=[])
            for id in (INITIAL, ModelId(1, 0, 0)):
                [model] = link.fetch([id], Patience())
                np.testing.assert_array_equal(model["w"], MODEL["w"])
        socket_path = host.local_address.removeprefix("unix:")
        assert os.path.exists(socket_path)
    assert not os.path.exists(socket_path)
    host.stop()


def test_a_training_must_be_opened_first() -> None:
    with PeerProcess() as host, pytest.raises(PeerError, match="'t' is not registered"):
        host.put_initial("t", MODEL)


def test_its_memory_is_limited_and_the_error_says_by_what() -> None:
    with PeerProcess(max_bytes=100) as host:
        host.open("t", KEY)
        host.put_initial("t", MODEL)
        with connect(host.local_address, Membership("t", KEY, 0, "s", (host.address,))) as link:
            link.publish(ModelId(1, 0, 0), MODEL, readers=[1])
            says = r"80 bytes of its limit of 100.*PeerProcess\(max_bytes="
            with pytest.raises(MailboxFull, match=says) as caught:
                link.publish(ModelId(2, 0, 0), MODEL, readers=[1])
    assert "--max-memory" not in str(caught.value)
    with pytest.raises(ValueError, match="max_bytes is 0, must be > 0"):
        PeerProcess(max_bytes=0)


def test_a_process_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module.sys, "executable", "/bin/true")
    with pytest.raises(PeerError, match="did not start within 30 s"):
        PeerProcess().start()


PARENT = """
import multiprocessing, os, sys, time
import grpc
import numpy as np
from flwr_gossip.server_free.peers.links import *
from flwr_gossip.server_free.peers.process import PeerProcess
from flwr_gossip.server_free.peers.raw import parse, raw_fetch
host = PeerProcess().start()
host.open("t", b"k" * 32)
fork = multiprocessing.get_context("fork")
with connect(host.local_address, Membership("t", b"k" * 32, 0, "s", (host.address,))) as link:
    for round in range(1, 9):
        with fork.Pool(2) as pool:
            assert pool.map_async(abs, [-1, -2]).get(10) == [1, 2]
        link.publish(ModelId(round, 0, 0), {"w": np.ones(3)}, readers=[])
print(host.local_address, flush=True)
os._exit(0)  # dies without stopping the host
"""


def test_the_parent_may_fork_and_the_process_dies_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    socket_path = done.stdout.strip().removeprefix("unix:")
    assert socket_path
    deadline = time.monotonic() + 10
    while os.path.exists(socket_path):
        assert time.monotonic() < deadline, "the peer process outlives its parent"
        time.sleep(0.05)


def test_who_leaves_in_the_middle_of_a_model_is_no_failure_of_the_peer(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A reader does so for every large model for which it has no room yet."""
    id, leavings = ModelId(1, 0, 0), 100
    large = {"w": np.zeros(10_000_000, np.float32)}
    with PeerProcess() as host:
        addresses = (host.address, host.address)
        with connect(host.local_address, Membership("t", KEY, 0, "s", addresses)) as link:
            link.publish(id, large, readers=[1])
            asyncio.run(_leave(host.address, Membership("t", KEY, 1, "s", addresses), id, leavings))
            [model] = link.fetch([id], Patience())
            np.testing.assert_array_equal(model["w"], large["w"])
    assert "failed" not in capfd.readouterr().err


async def _leave(address: str, reader: Membership, id: ModelId, often: int) -> None:
    """Begin to fetch, and go after some of the messages."""
    challenge = b""
    async with grpc.aio.insecure_channel(address, options=frames.CHANNEL_OPTIONS) as channel:
        for number in range(often):
            call = raw_fetch(channel)(frames.fetch_request(reader, id, 5.0, challenge), timeout=30)
            frame = parse(pb.FetchFrame, await call.read())
            challenge = frame.challenge or challenge
            for _ in range(number % 4 if frame.HasField("header") else 0):
                await call.read()
            call.cancel()
