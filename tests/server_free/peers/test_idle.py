"""What is left when nobody transfers anything: no thread, no file, no task, no timer."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, Missing, ModelId, Patience, connect
from flwr_gossip.server_free.peers.loops import LoopThread

KEY = b"k" * 32
PATIENT = Patience(silence_s=10, start_s=20, ceiling_s=20)


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def tasks_and_timers() -> tuple[int, int]:
    """Count what the shared loop has to do, once it has done what is due now."""

    async def count() -> tuple[int, int]:
        for _ in range(20):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        return len(asyncio.all_tasks()), len(timers)

    shared = LoopThread._shared
    assert shared is not None
    return shared.run(count(), 10)


@pytest.mark.parametrize("numbers", [1_000, 1_000_000])
def test_nothing_outlives_its_transfer(numbers: int) -> None:
    """Neither of a small model, which is streamed, nor of a large one, which goes by file."""
    model = {"w": np.arange(numbers, dtype=np.float32)}
    with PeerHost() as host, PeerHost() as other:
        addresses = (host.address, other.address)
        writing = connect(host.local_address, Membership("t", KEY, 0, "s", addresses))
        reading = connect(other.local_address, Membership("t", KEY, 1, "s", addresses))
        with writing, reading:

            def transfer(round: int) -> None:
                writing.publish(ModelId(round, 0, 0), model, readers=[1])
                [answer] = reading.fetch([ModelId(round, 0, 0)], PATIENT)
                assert not isinstance(answer, Missing)

            for round in (1, 2, 3):  # connections are made, and the mailbox holds what it keeps
                transfer(round)
            threads, opened, busy = threading.active_count(), files(), settled()
            for round in range(4, 12):
                transfer(round)
            assert settled() == busy
            assert (threading.active_count(), files()) == (threads, opened)
    assert LoopThread._shared is None
    assert not [thread for thread in threading.enumerate() if "flwr-gossip" in thread.name]


def settled() -> tuple[int, int]:
    """Return tasks and timers when two looks in a row see the same: all sides have ended."""
    before = tasks_and_timers()
    for _ in range(500):
        threading.Event().wait(0.01)
        if (now := tasks_and_timers()) == before:
            return now
        before = now
    return before
