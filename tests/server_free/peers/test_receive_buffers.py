"""Memory of received models: used again when nobody has it, never before; at most one is kept."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flwr_gossip.server_free.models import Model
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import (
    Membership,
    Missing,
    ModelId,
    Patience,
    PeerLink,
    connect,
)
from flwr_gossip.server_free.peers.receive_buffers import ReceiveBuffers

KEY = b"k" * 32
NBYTES = 64 << 20
SLACK = 8 << 20
PATIENT = Patience(silence_s=10, start_s=20, ceiling_s=20)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def resident() -> int:
    return kilobytes("/proc/self/status", "VmRSS")


def kilobytes(path: str, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path(path).read_text())
    return int(found[1]) * 1024 if found else 0


def filled(buffers: ReceiveBuffers, value: int, nbytes: int = NBYTES) -> NDArray[np.uint8]:
    array = buffers.take(nbytes)
    assert (array.shape, array.dtype, array.flags.writeable) == ((nbytes,), np.uint8, True)
    array[:] = value
    return array


def address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.fixture
def buffers() -> Iterator[ReceiveBuffers]:
    buffers = ReceiveBuffers()
    yield buffers
    buffers.close()


def test_what_nobody_has_is_used_again(buffers: ReceiveBuffers) -> None:
    first = filled(buffers, 1)
    first.flags.writeable = False
    where = address(first)
    del first
    for value in (2, 3):
        assert address(filled(buffers, value)) == where


VIEWS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "slice": lambda array: array[5:6],
    "view of a view": lambda array: array[8:].view(np.float32).reshape(-1, 2)[1:, 0],
    "from its buffer": lambda array: np.frombuffer(array, np.int16, count=4, offset=8),
    "memoryview": lambda array: memoryview(array)[7:9],
    "part of a memoryview": lambda array: array.data[100:].cast("B")[::2],
    "ctypes": lambda array: array[:100].ctypes,
    "dlpack": lambda array: np.from_dlpack(array[:9]),
    "iterator": iter,
    "transposed": lambda array: array.reshape(2, -1).T,
}


@pytest.mark.parametrize("view_of", VIEWS.values(), ids=VIEWS)
def test_what_is_left_of_a_model_is_never_overwritten(
    buffers: ReceiveBuffers, view_of: Callable[[NDArray[np.uint8]], Any]
) -> None:
    array = filled(buffers, 1)
    where, left = address(array), view_of(array)
    del array
    gc.collect()
    assert address(filled(buffers, 2)) != where
    del left
    gc.collect()
    assert address(filled(buffers, 3)) == where


def test_what_a_finalizer_saves_is_never_overwritten(buffers: ReceiveBuffers) -> None:
    """A cycle's finalizers may read what it holds, and may bring it back to life."""
    saved = []

    class Saver:
        def __init__(self, array: NDArray[np.uint8]) -> None:
            self.array, self.me = array, self

        def __del__(self) -> None:
            saved.append(self.array[:10])

    Saver(filled(buffers, 1))
    gc.collect()
    filled(buffers, 2)
    assert saved[0].tolist() == [1] * 10


@on_linux
def test_at_most_one_is_kept(buffers: ReceiveBuffers) -> None:
    before = resident()
    several = [filled(buffers, value) for value in range(4)]
    assert resident() > before + 3 * NBYTES
    del several
    assert resident() < before + NBYTES + SLACK


@on_linux
def test_memory_of_another_size_is_let_go(buffers: ReceiveBuffers) -> None:
    before = resident()
    filled(buffers, 1)
    filled(buffers, 2, 2 * NBYTES)
    filled(buffers, 3, NBYTES // 2)
    assert resident() < before + NBYTES // 2 + SLACK


@on_linux
def test_the_kernel_may_take_what_is_kept(buffers: ReceiveBuffers) -> None:
    array = filled(buffers, 1)
    before = kilobytes("/proc/self/smaps_rollup", "LazyFree")
    del array
    assert kilobytes("/proc/self/smaps_rollup", "LazyFree") > before + NBYTES - SLACK


@on_linux
def test_nothing_is_kept_once_closed(buffers: ReceiveBuffers) -> None:
    before = resident()
    held = filled(buffers, 1)
    filled(buffers, 2)
    buffers.close()
    assert resident() < before + NBYTES + SLACK
    assert held[0] == 1
    del held
    assert resident() < before + SLACK


def model_of(round: int) -> Model:
    return {f"w{i}": np.full(700_000, 10 * round + i, np.float32) for i in range(3)}


@pytest.fixture
def link() -> Iterator[PeerLink]:
    """The link of node 0 to its own peer, where it also publishes."""
    with PeerHost() as host:
        member = Membership("t", KEY, 0, "s", (host.address, host.address))
        with connect(host.local_address, member) as link:
            yield link


def fetched(link: PeerLink, round: int) -> Model:
    link.publish(ModelId(round, 0, 0), model_of(round), readers=[])
    [answer] = link.fetch([ModelId(round, 0, 0)], PATIENT)
    assert not isinstance(answer, Missing)
    return answer


def test_a_model_that_is_kept_stays_while_others_come(link: PeerLink) -> None:
    kept = {}
    for round in range(1, 5):
        model = fetched(link, round)
        assert not any(array.flags.writeable for array in model.values())
        kept[round] = model["w1"]  # one tensor keeps the memory of all
    for round, array in kept.items():
        assert (array == 10 * round + 1).all()


def test_models_come_one_after_the_other_in_the_same_memory(link: PeerLink) -> None:
    places = {address(fetched(link, round)["w0"]) for round in range(1, 5)}
    assert len(places) == 1
