"""Models that are handed to the own peer as files: the same models, and nothing is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from flwr_gossip.server_free.codecs import Chunk, encode
from flwr_gossip.server_free.errors import MailboxFull, PeerError, WireError
from flwr_gossip.server_free.peers import frames, own_peer, shelf
from flwr_gossip.server_free.peers import peer_pb2 as pb
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, ModelId, Patience, PeerLink, connect
from flwr_gossip.server_free.peers.peer_pb2_grpc import LocalPeerStub
from flwr_gossip.server_free.peers.shelf import PREFIX, Shelf, write_chunks

KEY = b"k" * 32
FIRST = ModelId(1, 0, 0)
PATIENT = Patience(silence_s=10, start_s=20, ceiling_s=20)
BIG = {"w": np.random.default_rng(0).random(300_001), "n": np.array(7)}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where shelves are made."""
    monkeypatch.setattr(shelf, "MEMORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def host(base: Path) -> Iterator[PeerHost]:
    with PeerHost() as host:
        yield host


def link_to(host: PeerHost, node: int = 0) -> PeerLink:
    return connect(host.local_address, Membership("t", KEY, node, "s", (host.address,)))


def streams(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Count the models that are streamed to the own peer."""
    counted: list[Any] = []
    messages = own_peer._messages
    monkeypatch.setattr(own_peer, "_messages", lambda *a: counted.append(a) or messages(*a))
    return counted


def files(base: Path) -> list[Path]:
    return [path for path in base.glob(f"{PREFIX}*/*") if path.name != ".lock"]


def check_read(host: PeerHost) -> None:
    with link_to(host, 1) as reader:
        [model] = reader.fetch([FIRST], PATIENT)
    np.testing.assert_array_equal(model["w"], BIG["w"])
    assert model["n"] == 7


def test_a_large_model_comes_by_file_and_its_name_is_gone(
    host: PeerHost, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = streams(monkeypatch)
    with link_to(host) as link:
        link.publish(FIRST, BIG, readers=[1])
        assert files(base) == []
        assert link.traffic.bytes_published == encode(BIG).nbytes
        link.publish(FIRST, BIG, readers=[1])  # the very same again changes nothing
        with pytest.raises(PeerError, match="already published with other content"):
            link.publish(FIRST, BIG | {"n": np.array(8)}, readers=[1])
    assert host.mailbox.nbytes == encode(BIG).nbytes
    check_read(host)
    assert streamed == []
    [folder] = base.glob(f"{PREFIX}*")
    assert folder.stat().st_mode & 0o777 == 0o700
    host.stop()
    assert list(base.glob(f"{PREFIX}*")) == []


def test_a_file_that_cannot_be_reached_is_streamed_instead(
    host: PeerHost, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from another container."""
    streamed = streams(monkeypatch)

    def unreachable(*args: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(own_peer, "write_chunks", unreachable)
    with link_to(host) as link:
        link.publish(FIRST, BIG, readers=[1])
    assert len(streamed) == 1
    assert files(base) == []
    check_read(host)


def test_a_shelf_with_no_more_room_for_files_is_done_without(
    host: PeerHost, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = streams(monkeypatch)
    monkeypatch.setattr(Shelf, "offer", lambda self: None)
    with link_to(host) as link:
        link.publish(FIRST, BIG, readers=[1])
    assert len(streamed) == 1
    check_read(host)


def test_a_model_too_large_for_the_peer_is_not_even_written(base: Path) -> None:
    with PeerHost(max_bytes=2_500_000) as host, link_to(host) as link:
        link.publish(FIRST, BIG, readers=[1])
        with pytest.raises(MailboxFull, match="limit of 2500000"):
            link.publish(ModelId(2, 0, 0), BIG, readers=[1])
        assert files(base) == []


def test_a_client_that_ends_half_way_leaves_nothing(host: PeerHost, base: Path) -> None:
    host.open("t", KEY)
    model, membership = encode(BIG), Membership("t", KEY, 0, "s", (host.address,))
    opening = frames.publish_header(membership, FIRST, model.tensors, model.nbytes, [1])
    for last in ([], [frames.publish_checksums([1])], [pb.PublishFrame()]):
        with grpc.insecure_channel(host.local_address) as channel:

            def requests(last: list[pb.PublishFrame] = last) -> Iterator[pb.PublishFrame]:
                yield opening
                while not files(base):
                    time.sleep(0.01)
                yield from last

            with pytest.raises(grpc.RpcError) as caught:
                list(LocalPeerStub(channel).HandOver(requests(), timeout=10))
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert files(base) == []
    assert host.mailbox.held("t") == ()
    with host.mailbox.room("t", host.mailbox.max_bytes):
        pass  # nothing counts as on its way


def test_a_file_that_is_changed_later_is_found_by_its_reader(
    host: PeerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def write_and_keep(path: str, chunks: Any) -> list[int]:
        written.append(os.open(path, os.O_RDWR))
        return write_chunks(path, chunks)

    monkeypatch.setattr(own_peer, "write_chunks", write_and_keep)
    with link_to(host) as link, link_to(host, 1) as reader:
        link.publish(FIRST, BIG, readers=[1])
        os.pwrite(written[0], b"changed", 1000)
        [answer] = reader.fetch([FIRST], PATIENT)
        assert answer.kind == "damaged"
        os.ftruncate(written[0], 1000)
        [answer] = reader.fetch([FIRST], PATIENT)
        assert answer.kind == "damaged"
    os.close(written[0])


def test_only_the_offered_empty_file_is_written(tmp_path: Path) -> None:
    full, link = tmp_path / "full", tmp_path / "link"
    full.write_bytes(b"x")
    link.symlink_to(tmp_path / "empty")
    (tmp_path / "empty").touch()
    for path in (full, link, tmp_path / "none", tmp_path):
        with pytest.raises(OSError, match=r"."):
            write_chunks(str(path), [Chunk(b"data", 0)])
    assert full.read_bytes() == b"x"
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    made = Shelf(str(tmp_path))
    offer = made.offer()
    assert offer is not None
    write_chunks(str(offer.path), [Chunk(b"data", 5)])
    for wrong in ((5, 4, [5, 5]), (4, 4, []), (4, 2, [5]), (4, 0, [5])):
        with pytest.raises(WireError):
            offer.take(*wrong)
    with offer:
        chunks = offer.take(4, 3, [5, 6])
    assert chunks[:] == (Chunk(b"dat", 5), Chunk(b"a", 6))
    assert chunks[-1] == Chunk(b"a", 6)
    made.close()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
from flwr_gossip.server_free.peers.shelf import Shelf
shelf = Shelf(sys.argv[1])
offer = shelf.offer()
offer.path.write_bytes(b"left over")
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_peer_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "YOUNG_S", 0.0)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        [folder] = tmp_path.iterdir()
        Shelf(str(tmp_path)).close()
        assert folder.exists()  # it is in use
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert len(files(tmp_path)) == 1
    Shelf(str(tmp_path)).close()
    assert list(tmp_path.iterdir()) == []


def open_files(base: Path) -> int:
    """Count the files in shelves in ``base`` that this process has open without their names."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = os.readlink(entry)
            count += target.startswith(f"{base}/{PREFIX}") and target.endswith("(deleted)")
    return count


def test_files_of_models_that_were_dropped_are_closed(host: PeerHost, base: Path) -> None:
    with link_to(host) as link:
        for round in range(1, 8):
            link.publish(ModelId(round, 0, 0), BIG, readers=[])
    assert open_files(base) == len(host.mailbox.held("t")) <= 3
    host.mailbox.close_training("t")
    assert open_files(base) == 0
