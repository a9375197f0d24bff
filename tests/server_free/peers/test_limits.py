"""What a stranger, or a reader that does not read, can cost a peer."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from flwr_gossip.server_free.codecs import encode
from flwr_gossip.server_free.peers import frames, limits, network_service
from flwr_gossip.server_free.peers import peer_pb2 as pb
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, ModelId, Patience, connect
from flwr_gossip.server_free.peers.peer_pb2_grpc import PeerStub
from flwr_gossip.server_free.peers.raw import parse, raw_fetch

KEY = b"k" * 32
FIRST = ModelId(1, 0, 0)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
WAIT_S = 15.0


def member(host: PeerHost) -> Membership:
    return Membership("t", KEY, 1, "s", (host.address,))


@pytest.fixture
def start() -> Iterator[Callable[[], PeerHost]]:
    """Start a peer; the limits of the test must be set before."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(PeerHost())


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def dial(host: PeerHost, hello: bytes = b"") -> socket.socket:
    name, port = host.address.split(":")
    connection = socket.create_connection((name, int(port)), timeout=WAIT_S)
    connection.sendall(hello)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the peer has ended the connection."""
    connection.settimeout(WAIT_S)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_who_reads_nothing_is_cut_off(
    start: Callable[[], PeerHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_service, "TAKE_S", 0.5)
    host = start()
    host.open("t", KEY)
    host.mailbox.put("t", FIRST, encode({"w": np.zeros(10_000_000, np.float32)}))
    with grpc.insecure_channel(host.address, options=frames.CHANNEL_OPTIONS) as channel:
        fetch = raw_fetch(channel)
        [told] = fetch(frames.fetch_request(member(host), FIRST, 1), timeout=5)
        challenge = parse(pb.FetchFrame, told).challenge
        call = fetch(frames.fetch_request(member(host), FIRST, 1, challenge))
        assert parse(pb.FetchFrame, next(call)).WhichOneof("frame") == "header"
        # Others are served meanwhile.
        with connect(host.local_address, member(host)) as link:
            [whole] = link.fetch([FIRST], Patience(5, 5, 5))
            assert whole["w"].size == 10_000_000
        time.sleep(1.5)
        with pytest.raises(grpc.RpcError) as caught:
            for _ in call:
                pass
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "nothing was read for 0.5 s" in caught.value.details()


def test_a_connection_that_never_speaks_is_closed(
    start: Callable[[], PeerHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_MS", 300)
    with dial(start()) as connection:
        assert is_closed(connection)


def test_a_connection_that_asks_nothing_is_closed(
    start: Callable[[], PeerHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDLE_MS", 300)
    with dial(start(), PREFACE) as connection:
        assert is_closed(connection)


def test_connections_are_counted(
    start: Callable[[], PeerHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 3)
    host = start()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(dial(host, PREFACE)).recv(1)
        extra = stack.enter_context(dial(host))
        assert is_closed(extra)
    host.open("t", KEY)
    host.mailbox.put("t", FIRST, encode({"w": np.ones(3)}))
    with connect(host.local_address, member(host)) as link:  # their places are free again
        assert not isinstance(link.fetch([FIRST], Patience(WAIT_S, 5, 5))[0], type(None))


def test_connections_leave_file_descriptors_for_the_peer_itself() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n"
        "from flwr_gossip.server_free.peers.limits import max_connections\n"
        "print(max_connections())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "50\n"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limits.max_connections() <= max(soft, limits.MAX_CONNECTIONS)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_large_request_is_refused(
    start: Callable[[], PeerHost], compression: grpc.Compression
) -> None:
    """Also one that is small till it is unpacked."""
    host = start()
    request = frames.fetch_request(member(host), FIRST, 1)
    request.segment = "x" * 5_000_000
    with grpc.insecure_channel(host.address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(PeerStub(channel).Fetch(request, timeout=5, compression=compression))
    expected = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED)
    assert caught.value.code() in expected


def test_requests_beyond_the_limit_are_told_so(
    start: Callable[[], PeerHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flwr_gossip.server_free.peers.host.MAX_REQUESTS", 2)
    host = start()
    with grpc.insecure_channel(host.address) as channel:
        stub = PeerStub(channel)
        calls = [stub.Fetch(frames.fetch_request(member(host), FIRST, 1)) for _ in range(2)]
        for call in calls:
            assert next(call).WhichOneof("frame") == "not_ready"
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Fetch(frames.fetch_request(member(host), FIRST, 1), timeout=5))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in calls:
            call.cancel()


def test_health_is_no_stream(start: Callable[[], PeerHost]) -> None:
    with grpc.insecure_channel(start().address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=5))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_stranger_learns_nothing_of_what_a_peer_holds(start: Callable[[], PeerHost]) -> None:
    """Neither from health nor from a request with another key: no names, no rounds, no nodes."""
    host, answers = start(), []
    stranger = Membership("secret-training", b"x" * 32, 1, "s", (host.address,))
    with grpc.insecure_channel(host.address) as channel:
        for _ in range(2):
            call = PeerStub(channel).Fetch(frames.fetch_request(stranger, FIRST, 1))
            answers.append(next(call).SerializeToString())
            call.cancel()
            health = health_pb2_grpc.HealthStub(channel)
            status = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            answers.append(status.SerializeToString())
            host.open("secret-training", KEY)
            host.mailbox.put("secret-training", FIRST, encode({"secret.weight": np.ones(3)}))
            host.mailbox.report_missing("secret-training", "s", {7: "secret reason"})
    assert answers[:2] == answers[2:]


def test_a_header_of_too_many_tensors_is_refused() -> None:
    many = pb.Header(nbytes=0, tensors=[pb.Tensor()] * (frames.MAX_TENSORS + 1))
    with pytest.raises(ValueError, match="131073 tensors, at most 131072"):
        frames.from_tensors(many)
    with pytest.raises(ValueError, match="more than 32 dimensions"):
        frames.from_tensors(pb.Header(tensors=[pb.Tensor(name="w", shape=[0] * 33)]))
