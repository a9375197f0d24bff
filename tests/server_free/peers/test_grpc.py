"""What only a real network does: death, silence, cuts, lies, strangers and TLS-free doors."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from flwr_gossip.server_free.codecs import Chunk, EncodedModel, encode
from flwr_gossip.server_free.errors import MailboxFull, PeerError, PeerUnreachable
from flwr_gossip.server_free.peers import frames, network_service, tokens
from flwr_gossip.server_free.peers import peer_pb2 as pb
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import (
    Membership,
    Missing,
    ModelId,
    Patience,
    PeerLink,
    connect,
    describe,
)
from flwr_gossip.server_free.peers.peer_pb2_grpc import LocalPeerStub
from flwr_gossip.server_free.peers.raw import (
    fetch_methods,
    pack,
    parse,
    raw_fetch,
    raw_publish,
    raw_publish_whole,
    unpack,
)
from proxies import Proxy, free_port, mute_socket

KEY = b"k" * 32
FIRST, SECOND = ModelId(1, 0, 0), ModelId(2, 0, 0)
PATIENT = Patience(silence_s=10, start_s=20, ceiling_s=20)
HASTY = Patience(silence_s=0.5, start_s=0.6, ceiling_s=1.0)
MODEL = {"w": np.arange(1000, dtype=np.float32)}
BIG = {"w": np.random.default_rng(0).random(500_000)}


def member(node: int, *addresses: str, **changes: Any) -> Membership:
    fields = {"training": "t", "key": KEY, "segment": "s", "addresses": addresses, **changes}
    return Membership(node=node, **fields)


@pytest.fixture
def host() -> Iterator[PeerHost]:
    with PeerHost() as host:
        yield host


@pytest.fixture
def own() -> Iterator[PeerHost]:
    """The reader's own peer."""
    with PeerHost() as host:
        yield host


@pytest.fixture
def open_link() -> Iterator[Callable[..., PeerLink]]:
    """Connect; the link is closed at the end."""
    with ExitStack() as stack:
        yield lambda host, membership: stack.enter_context(
            connect(host.local_address, membership, timeout_s=5)
        )


@pytest.fixture
def publish(host: PeerHost, open_link: Callable[..., PeerLink]) -> Callable[..., None]:
    link = open_link(host, member(0, host.address))
    return lambda id, model: link.publish(id, model, readers=[1])


def missing(link: PeerLink, id: ModelId, patience: Patience = HASTY) -> Missing:
    [answer] = link.fetch([id], patience)
    assert isinstance(answer, Missing), answer
    return answer


# ----- death and silence

CLIENT = """
import sys, time
import numpy as np
from flwr_gossip.server_free.peers.links import Membership, ModelId, connect
local, address = sys.argv[1:]
link = connect(local, Membership("t", b"k" * 32, 0, "s", (address,)))
link.publish(ModelId(1, 0, 0), {"w": np.ones(3, np.float32)}, readers=[1])
print("published", flush=True)
time.sleep(60)
"""


def test_a_killed_client_is_gone_at_once(
    host: PeerHost, open_link: Callable[..., PeerLink], in_background: Callable[..., Any]
) -> None:
    reader = open_link(host, member(1, host.address))
    command = [sys.executable, "-c", CLIENT, host.local_address, host.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None and client.stdout.readline() == "published\n"
            result = in_background(lambda: missing(reader, SECOND, PATIENT))
            time.sleep(0.2)
            client.send_signal(signal.SIGKILL)
            answer = result(timeout_s=5)
        finally:
            client.kill()
    assert answer.kind == "gone"
    assert "ended without a word" in answer.reason
    [model] = reader.fetch([FIRST], HASTY)
    assert model["w"].tolist() == [1, 1, 1]


def test_a_socket_that_says_nothing_is_silent(
    own: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    with mute_socket() as address:
        link = open_link(own, member(1, address, own.address))
        began = time.monotonic()
        answer = missing(link, FIRST)
        assert 0.4 < time.monotonic() - began < 5
    assert answer.kind == "silent"
    assert f"node 0's peer at {address} gave no sign of life for 0.5 s" in answer.reason


def test_a_stopped_process_is_silent_and_its_neighbours_are_not(
    own: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    """SIGSTOP: the kernel still takes connections, nobody answers."""
    code = (
        "from flwr_gossip.server_free.peers.host import PeerHost\nimport time\n"
        "host = PeerHost().start()\nprint(host.address, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as peer:
        try:
            assert peer.stdout is not None
            address = peer.stdout.readline().strip()
            link = open_link(own, member(1, address, own.address))
            assert missing(link, FIRST).kind == "not-started"
            peer.send_signal(signal.SIGSTOP)
            assert missing(link, FIRST).kind == "silent"
        finally:
            peer.kill()


def test_a_port_where_nobody_listens_is_unreachable(
    own: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    answer = missing(open_link(own, member(1, address, own.address)), FIRST)
    assert answer.kind == "unreachable"
    assert address in answer.reason
    assert "refused" in answer.reason


def test_a_peer_that_starts_late_is_found(
    own: PeerHost, open_link: Callable[..., PeerLink], in_background: Callable[..., Any]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    link = open_link(own, member(1, address, own.address))
    result = in_background(lambda: link.fetch([FIRST], PATIENT))
    time.sleep(0.5)
    with PeerHost(listen=address) as late:
        open_link(late, member(0, address)).publish(FIRST, MODEL, readers=[1])
        [model] = result()
    np.testing.assert_array_equal(model["w"], MODEL["w"])


def test_a_dead_machine_that_is_known_costs_one_probe(
    own: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    with mute_socket() as address:
        link = open_link(own, member(1, address, own.address))
        link.report_missing({0: "it was silent"})
        began = time.monotonic()
        kinds = [missing(link, ModelId(round, 0, 0), PATIENT).kind for round in range(1, 6)]
        assert kinds == ["known"] * 5
        assert time.monotonic() - began < 4


def test_a_line_that_stalls_once_is_used_again(
    own: PeerHost,
    open_link: Callable[..., PeerLink],
    monkeypatch: pytest.MonkeyPatch,
    in_background: Callable[..., Any],
) -> None:
    fetch, stalls = network_service.NetworkService.Fetch, [2.0]

    async def stalling(self: Any, request: Any, context: Any) -> None:
        if stalls:
            await asyncio.sleep(stalls.pop())
        await fetch(self, request, context)

    monkeypatch.setattr(network_service.NetworkService, "Fetch", stalling)
    with PeerHost() as host:
        holder = open_link(host, member(0, host.address, own.address))
        reader = open_link(own, member(1, host.address, own.address))
        answer = missing(reader, FIRST)
        assert answer.kind == "silent"
        reader.report_missing({0: answer.reason})
        result = in_background(lambda: reader.fetch([FIRST], PATIENT))
        time.sleep(0.3)
        holder.publish(FIRST, MODEL, readers=[1])
        np.testing.assert_array_equal(result()[0]["w"], MODEL["w"])
        assert reader.known_missing == {}


# ----- cuts and damage


@pytest.mark.parametrize("cuts", [1, 2])
def test_a_stream_cut_half_way_is_tried_once_more(
    cuts: int,
    host: PeerHost,
    own: PeerHost,
    publish: Callable[..., None],
    open_link: Callable[..., PeerLink],
) -> None:
    large = {"w": np.random.default_rng(0).random(3_000_000)}  # more than may be under way unread
    publish(FIRST, large)
    limits = [20_000_000] * cuts
    with closing(Proxy(host.address, lambda: limits.pop() if limits else None)) as proxy:
        link = open_link(own, member(1, proxy.address, own.address))
        [answer] = link.fetch([FIRST], PATIENT)
        assert proxy.connections == 2
    if cuts == 1:
        np.testing.assert_array_equal(answer["w"], large["w"])
    else:
        assert answer.kind == "damaged"
        assert "the stream broke" in answer.reason
        assert link.traffic.bytes_fetched == 0


def test_a_transfer_may_take_longer_than_a_silence(
    host: PeerHost, own: PeerHost, publish: Callable[..., None], open_link: Callable[..., PeerLink]
) -> None:
    """Deadlines are of silence, not of a size over a line that nobody knows."""
    model = {"w": np.random.default_rng(0).random(600_000)}
    publish(FIRST, model)
    with closing(Proxy(host.address, rate=1.2e6)) as proxy:  # 4 s for it
        link = open_link(own, member(1, proxy.address, own.address))
        [answer] = link.fetch([FIRST], Patience(2.0, 2.0, 2.0))
    np.testing.assert_array_equal(answer["w"], model["w"])


def test_hearsay_of_nodes_that_cannot_be_is_not_kept(
    own: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    """A peer must not fill the memory of who asks it."""
    said = dict.fromkeys([-1, 0, 2, 10**9, 2**63 - 1], "it says so")
    frame = pb.FetchFrame(absent=pb.Absent(kind="gone"), known_missing=said)
    states = pb.FetchFrame(not_ready=pb.State(started=True), known_missing=said)
    messages = [states.SerializeToString(), frame.SerializeToString()]
    with closing(_Liar(*messages)) as liar:
        link = open_link(own, member(1, liar.address, own.address, own.address))
        missing(link, FIRST, Patience(2, 2, 2))
        assert set(link.known_missing) <= {0, 2}


def test_a_damaged_chunk_is_found(
    host: PeerHost, publish: Callable[..., None], open_link: Callable[..., PeerLink]
) -> None:
    whole = encode(BIG)
    bad = Chunk(whole.chunks[3].data[:-1] + b"\x00", whole.chunks[3].crc32 ^ 1)
    chunks = (*whole.chunks[:3], bad, *whole.chunks[4:])
    host.mailbox.open("t", KEY)
    host.mailbox.put("t", FIRST, EncodedModel(whole.tensors, whole.nbytes, chunks))
    answer = missing(open_link(host, member(1, host.address)), FIRST, PATIENT)
    assert answer.kind == "damaged"
    assert "CRC-32" in answer.reason


class _Liar:
    """A peer that sends whatever bytes it likes."""

    def __init__(self, *messages: bytes) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_stream_rpc_method_handler(
            lambda request, context: iter(messages),
            request_deserializer=None,
            response_serializer=None,
        )
        service = grpc.method_handlers_generic_handler("flwr_gossip.peers.Peer", {"Fetch": handler})
        self._server.add_generic_rpc_handlers((service,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(0).wait(5)


def header(nbytes: int, dtype: str, *shape: int, crc32: Sequence[int] = ()) -> bytes:
    tensors = [pb.Tensor(name="w", dtype=dtype, shape=shape)]
    header = pb.Header(nbytes=nbytes, tensors=tensors, crc32=crc32)
    return pb.FetchFrame(header=header).SerializeToString()


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [b""],
        [b"\xff\xff not protobuf"],
        [b"x"],
        [header(8, "object", 1)],
        [header(8, "float32", 1)],
        [header(2**62, "float32", 2**60)],
        [header(4, "float32", -1)],
        [header(4, "float32", 1)],
        [header(4, "float32", 1), header(4, "float32", 1)],
        [header(4, "float32", 1), b"\xff\xff"],
        [header(4, "float32", 1), b"four"],
        [header(4, "float32", 1, crc32=[1]), b"four"],
        [header(4, "float32", 1, crc32=[zlib.crc32(b"four")]), b"four", b"four"],
        [header(4, "float32", 1, crc32=[zlib.crc32(b"fo"), zlib.crc32(b"ur")]), b"fo"],
        [header(2048, "float32", 512, crc32=[zlib.crc32(bytes(1024))]), bytes(2048)],
    ],
)
def test_a_peer_that_lies_is_damaged_and_never_an_exception(
    messages: list[bytes], own: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    with closing(_Liar(*messages)) as liar:
        link = open_link(own, member(1, liar.address, own.address))
        assert missing(link, FIRST, Patience(2, 2, 2)).kind in ("damaged", "unreachable")


# ----- who may read


class Asking:
    """The method Fetch of a peer: its frames, and the bytes of a model."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._fetch = raw_fetch(channel)

    def Fetch(self, request: pb.FetchRequest, timeout: float) -> Any:
        return self._fetch(request, timeout=timeout)


def frame_of(message: bytes) -> str | None:
    return parse(pb.FetchFrame, message).WhichOneof("frame")


@pytest.fixture
def stub(host: PeerHost) -> Iterator[Asking]:
    with grpc.insecure_channel(host.address) as channel:
        yield Asking(channel)


def ask(stub: Asking, request: pb.FetchRequest, timeout_s: float = 5) -> list[Any]:
    return list(stub.Fetch(request, timeout=timeout_s))


def test_a_model_is_a_header_and_its_bytes(host: PeerHost, publish: Callable[..., None]) -> None:
    publish(FIRST, MODEL)
    with grpc.insecure_channel(host.address) as channel:
        frame, *messages = raw_fetch(channel)(request_of(host), timeout=5)
    header = parse(pb.FetchFrame, frame).header
    assert messages == [MODEL["w"].tobytes()]
    assert (header.nbytes, header.chunk_bytes) == (4000, 4000)
    assert list(header.crc32) == [zlib.crc32(messages[0])]


def answer_of(host: PeerHost, id: ModelId = FIRST, **changes: Any) -> tuple[pb.FetchFrame, bytes]:
    with grpc.insecure_channel(host.address, options=frames.CHANNEL_OPTIONS) as channel:
        answer = fetch_methods(channel).ask(request_of(host, id, **changes), timeout=5)
    frame, data = unpack(pb.FetchFrame, answer)
    return frame, bytes(data)


def test_who_asks_is_answered_at_once(host: PeerHost, publish: Callable[..., None]) -> None:
    publish(FIRST, MODEL)
    publish(SECOND, BIG)
    frame, data = answer_of(host)
    assert (frame.header.nbytes, data) == (4000, MODEL["w"].tobytes())
    assert list(frame.header.crc32) == [zlib.crc32(data)]
    frame, data = answer_of(host, SECOND)
    assert (frame.header.nbytes, data) == (4_000_000, b"")
    frame, data = answer_of(host, ModelId(3, 0, 0))
    assert (frame.not_ready.started, frame.not_ready.round, data) == (True, 2, b"")
    assert answer_of(host, challenge=b"")[0].WhichOneof("frame") == "challenge"
    with pytest.raises(grpc.RpcError, match="the token is not good for this"):
        answer_of(host, token=b"x" * 32)


def test_models_may_grow_and_shrink_from_round_to_round(
    host: PeerHost, publish: Callable[..., None], open_link: Callable[..., PeerLink]
) -> None:
    link, empty = open_link(host, member(1, host.address)), {"w": np.zeros((0, 3))}
    for round, model in enumerate([MODEL, MODEL, BIG, BIG, MODEL, empty, MODEL, BIG, empty], 1):
        id = ModelId(round, 0, 0)
        publish(id, model)
        [fetched] = link.fetch([id], PATIENT)
        np.testing.assert_array_equal(fetched["w"], model["w"])
        assert fetched["w"].flags.aligned


def test_who_asks_gets_what_comes_within_a_moment(
    host: PeerHost, publish: Callable[..., None], in_background: Callable[..., Any]
) -> None:
    publish(FIRST, MODEL)
    rounds = [ModelId(round, 0, 0) for round in range(2, 6)]
    for id in rounds:
        result = in_background(lambda id=id: answer_of(host, id))
        publish(id, MODEL)
        frame, data = result(timeout_s=5)
        late = frame.WhichOneof("frame") == "not_ready"
        assert late or data == MODEL["w"].tobytes()


def test_a_large_model_is_a_header_and_then_its_bytes(
    host: PeerHost, publish: Callable[..., None]
) -> None:
    publish(FIRST, BIG)
    with grpc.insecure_channel(host.address, options=frames.CHANNEL_OPTIONS) as channel:
        frame, *messages = raw_fetch(channel)(request_of(host), timeout=5)
    header = parse(pb.FetchFrame, frame).header
    assert b"".join(messages) == BIG["w"].tobytes()
    assert (header.nbytes, len(header.crc32)) == (4_000_000, 16)


def refusal(stub: Asking, request: pb.FetchRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(stub, request)
    return caught.value.code(), caught.value.details()


def request_of(host: PeerHost, id: ModelId = FIRST, **changes: Any) -> pb.FetchRequest:
    """Return a request of node 1; it has the host's challenge if the host knows its training."""
    membership, challenge = member(1, host.address), b""
    if host.mailbox.key("t") is not None:
        with grpc.insecure_channel(host.address) as channel:
            first = frames.fetch_request(membership, FIRST, silence_s=1)
            [answer] = ask(Asking(channel), first)
            challenge = parse(pb.FetchFrame, answer).challenge
    request = frames.fetch_request(membership, id, 1, challenge)
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def test_a_good_token_works_once(
    host: PeerHost, stub: Asking, publish: Callable[..., None]
) -> None:
    publish(FIRST, MODEL)
    request = request_of(host)
    with grpc.insecure_channel(host.address) as channel:
        frame, _ = raw_fetch(channel)(request, timeout=5)
    assert frame_of(frame) == "header"
    code, details = refusal(stub, request)
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert "used before" in details


def test_a_request_without_the_challenge_of_now_is_told_it_and_nothing_else(
    host: PeerHost, stub: Asking, publish: Callable[..., None]
) -> None:
    publish(FIRST, MODEL)
    for challenge in (b"", b"x" * 16, b"x" * 1000):
        answers = ask(stub, request_of(host, challenge=challenge))
        assert [frame_of(answer) for answer in answers] == ["challenge"]
        assert len(parse(pb.FetchFrame, answers[0]).challenge) == 16


def test_a_request_is_not_good_at_a_peer_that_has_restarted() -> None:
    """Its memory of nonces is lost; what it serves may be kept on disk."""
    told = []
    for _ in range(2):
        with PeerHost() as host, grpc.insecure_channel(host.address) as channel:
            host.open("t", KEY)
            host.mailbox.put("t", FIRST, encode(MODEL))
            told.append(request_of(host))
            [first, *_] = ask(Asking(channel), told[0])
            assert frame_of(first) == ("header" if len(told) == 1 else "challenge")


def test_a_request_is_not_good_once_its_nonce_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, open_link: Callable[..., PeerLink]
) -> None:
    """And the links of others do not notice."""
    make = tokens.Challenge
    monkeypatch.setattr(network_service, "Challenge", lambda: make(remembered=3))
    with PeerHost() as host, grpc.insecure_channel(host.address) as channel:
        open_link(host, member(0, host.address)).publish(FIRST, MODEL, readers=[1])
        replayed, reader = request_of(host), open_link(host, member(1, host.address))
        answers = [frame_of(ask(Asking(channel), replayed)[0])]
        for _ in range(10):
            [model] = reader.fetch([FIRST], PATIENT)
            np.testing.assert_array_equal(model["w"], MODEL["w"])
        answers.append(frame_of(ask(Asking(channel), replayed)[0]))
    assert answers == ["header", "challenge"]


def test_a_peer_that_always_wants_another_token_is_given_up(
    own: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    for size in (16, 17):
        frame = pb.FetchFrame(challenge=bytes(size)).SerializeToString()
        with closing(_Liar(frame)) as liar:
            link = open_link(own, member(1, liar.address, own.address))
            assert missing(link, FIRST, Patience(2, 2, 2)).kind == "damaged"


@pytest.mark.parametrize(
    "changes",
    [
        {"token": b""},
        {"token": b"x" * 32},
        {"nonce": b"n" * 16},
        {"nonce": b"short"},
        {"requester": 2},
    ],
)
def test_a_token_is_bound_to_the_request(
    changes: dict[str, Any], host: PeerHost, stub: Asking, publish: Callable[..., None]
) -> None:
    publish(FIRST, MODEL)
    code, _ = refusal(stub, request_of(host, **changes))
    assert code == grpc.StatusCode.PERMISSION_DENIED


def test_a_token_is_bound_to_the_model_and_the_training(
    host: PeerHost, stub: Asking, publish: Callable[..., None]
) -> None:
    publish(FIRST, MODEL)
    publish(SECOND, MODEL)
    request = request_of(host)
    request.id.round = 2
    assert refusal(stub, request)[0] == grpc.StatusCode.PERMISSION_DENIED
    host.open("u", KEY)
    request = request_of(host, training="u")
    assert refusal(stub, request)[0] == grpc.StatusCode.PERMISSION_DENIED


def test_the_key_of_another_training_reads_nothing(
    host: PeerHost, stub: Asking, publish: Callable[..., None]
) -> None:
    publish(FIRST, MODEL)
    host.open("u", b"u" * 32)
    stranger = member(1, host.address, key=b"u" * 32)
    request = frames.fetch_request(stranger, FIRST, silence_s=1)
    with pytest.raises(grpc.RpcError) as caught:
        for frame in stub.Fetch(request, timeout=0.5):
            assert frame_of(frame) == "not_ready"
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_refusal_is_missing_with_the_reason(
    host: PeerHost,
    publish: Callable[..., None],
    open_link: Callable[..., PeerLink],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(FIRST, MODEL)
    link = open_link(host, member(1, host.address))
    monkeypatch.setattr(network_service, "WIRE_VERSION", 99)
    answer = missing(link, FIRST, PATIENT)
    assert answer.kind == "refused"
    assert "protocol 99" in answer.reason
    assert "install the same version" in answer.reason


def test_strangers_wait_within_a_cap(
    host: PeerHost, stub: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_service, "MAX_STRANGERS", 3)
    waiting = [stub.Fetch(request_of(host), timeout=20) for _ in range(3)]
    assert all(frame_of(next(call)) == "not_ready" for call in waiting)
    code, details = refusal(stub, request_of(host))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "3 fetches wait" in details
    waiting[0].cancel()
    deadline = time.monotonic() + 5
    while True:  # the place of who has left is free
        call = stub.Fetch(request_of(host), timeout=5)
        try:
            assert frame_of(next(call)) == "not_ready"
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline
    for waiter in [*waiting, call]:
        waiter.cancel()


def test_a_key_that_is_taken_back_ends_what_was_admitted(host: PeerHost, stub: Asking) -> None:
    host.open("t", KEY)
    call = stub.Fetch(request_of(host), timeout=20)
    assert frame_of(next(call)) == "not_ready"
    host.open("t", b"n" * 32)
    host.mailbox.put("t", FIRST, encode(MODEL))
    assert {frame_of(next(call)) for _ in range(4)} == {"not_ready"}
    call.cancel()


def test_the_network_side_only_reads(host: PeerHost) -> None:
    with grpc.insecure_channel(host.address) as channel:
        local = LocalPeerStub(channel)
        calls = {
            "Describe": lambda: local.Describe(pb.DescribeRequest(), timeout=5),
            "Open": lambda: local.Open(pb.OpenRequest(training="t", key=KEY), timeout=5),
            "Attach": lambda: next(local.Attach(pb.AttachRequest(training="t"), timeout=5)),
            "Detach": lambda: local.Detach(pb.DetachRequest(), timeout=5),
            "Wait": lambda: local.Wait(pb.WaitRequest(), timeout=5),
            "Publish": lambda: local.Publish(iter([pb.PublishFrame()]), timeout=5),
            "PublishWhole": lambda: local.PublishWhole(pb.PublishHeader(), timeout=5),
            "HandOver": lambda: next(local.HandOver(iter([pb.PublishFrame()]), timeout=5)),
            "ReportMissing": lambda: local.ReportMissing(pb.ReportMissingRequest(), timeout=5),
        }
        methods = pb.DESCRIPTOR.services_by_name["LocalPeer"].methods_by_name
        assert sorted(calls) == sorted(methods)
        for name, call in calls.items():
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED, name


def test_nonsense_on_the_local_side_is_refused(host: PeerHost) -> None:
    with grpc.insecure_channel(host.local_address) as channel:
        local = LocalPeerStub(channel)
        host.open("t", KEY)

        def good_header() -> pb.PublishFrame:
            tensors = encode(MODEL).tensors
            return frames.publish_header(member(0, "a:1"), FIRST, tensors, 4000, [1])

        good = good_header()
        whole, no_sums = MODEL["w"].tobytes(), frames.publish_checksums([])
        attempts = [
            *([], [b""], [b"\xff"], [pb.PublishFrame()], [good], [good, b"xxxx"]),
            *([good, whole + whole], [good, whole], [good, whole, b"\xff"], [good, whole, no_sums]),
        ]
        for attempt in attempts:
            with pytest.raises(grpc.RpcError) as caught:
                raw_publish(channel)(iter(attempt), timeout=5)
            assert caught.value.code() in (
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
            )
        no_sum, one_sum = good_header().header, good_header().header
        one_sum.header.crc32.append(zlib.crc32(whole))
        packed = pack(one_sum, whole)
        for refused in (
            *(b"", b"\xff", packed[:3], packed[:20], packed[:-1], packed + b"\0", b"\xff" * 99),
            *(pack(pb.PublishHeader()), pack(one_sum), pack(no_sum, whole)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                raw_publish_whole(channel)(refused, timeout=5)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError):
            local.Open(pb.OpenRequest(training="t", key=b"short"), timeout=5)
    assert host.mailbox.held("t") == ()


def test_publications_in_progress_share_the_limit(open_link: Callable[..., PeerLink]) -> None:
    with (
        PeerHost(max_bytes=10_000) as host,
        grpc.insecure_channel(host.local_address) as channel,
    ):
        link, hold = open_link(host, member(0, host.address)), threading.Event()
        specs = encode(MODEL).tensors

        def unfinished() -> Iterator[pb.PublishFrame]:
            yield frames.publish_header(member(0, "a:1"), SECOND, specs, 4000, [1])
            hold.wait(20)

        calls = [raw_publish(channel).future(unfinished()) for _ in range(2)]
        deadline = time.monotonic() + 5
        while True:
            try:
                with host.mailbox.room("t", 4000):
                    assert time.monotonic() < deadline, "they are not counted"
            except MailboxFull as error:
                if "receiving 8000 bytes" in str(error):
                    break
            time.sleep(0.01)
        with pytest.raises(MailboxFull, match="is receiving 8000 bytes of its limit of 10000"):
            link.publish(FIRST, MODEL, readers=[1])
        hold.set()
        for call in calls:
            with pytest.raises(grpc.RpcError):
                call.result(timeout=5)
        link.publish(FIRST, MODEL, readers=[1])


def test_health(host: PeerHost) -> None:
    with grpc.insecure_channel(host.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "flwr_gossip.peers.Peer"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(request, timeout=5).status == health_pb2.HealthCheckResponse.SERVING


# ----- threads, processes, sizes


def test_many_waiting_fetches_hold_no_threads(
    host: PeerHost, open_link: Callable[..., PeerLink], in_background: Callable[..., Any]
) -> None:
    link = open_link(host, member(0, host.address))
    reader = open_link(host, member(999, host.address))
    wants = [ModelId(1, 0, node) for node in range(200)]
    before = threading.active_count()
    result = in_background(lambda: reader.fetch(wants, PATIENT))
    time.sleep(1.0)
    assert threading.active_count() <= before + 1  # the one of in_background
    for want in wants:
        link.publish(want, {"w": np.full(3, want.node, np.float32)}, readers=[999])
    assert [answer["w"][0] for answer in result()] == list(range(200))


def test_nothing_is_left_behind() -> None:
    gc.collect()
    before = set(threading.enumerate())
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(3):
        with PeerHost() as host:
            with connect(host.local_address, member(0, host.address)) as link:
                link.publish(FIRST, MODEL, readers=[1])
                link.fetch([FIRST, SECOND], HASTY)
            socket_path = host.local_address.removeprefix("unix:")
            assert os.path.exists(socket_path)
        assert not os.path.exists(os.path.dirname(socket_path))
        gc.collect()
        deadline = time.monotonic() + 5
        while set(threading.enumerate()) - before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(threading.enumerate()) - before == set()
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 2


def test_a_host_can_stop_while_fetches_wait(in_background: Callable[..., Any]) -> None:
    host = PeerHost().start()
    link = connect(host.local_address, member(1, host.address))
    result = in_background(lambda: missing(link, FIRST, Patience(0.5, 20, 20)))
    time.sleep(0.3)
    host.stop()
    host.stop()
    assert result(10).kind == "unreachable"
    link.close()


FORKING_CLIENT = """
import multiprocessing, sys
import numpy as np
from flwr_gossip.server_free.errors import PeerError
from flwr_gossip.server_free.peers.links import Membership, ModelId, Patience, connect
local, address = sys.argv[1:]
fork = multiprocessing.get_context("fork")
link = connect(local, Membership("t", b"k" * 32, 0, "s", (address,)))
def use_in_child(number):
    try:
        link.fetch([], Patience())
    except PeerError:
        return -number
for round in range(1, 9):
    with fork.Pool(2) as pool:
        assert pool.map_async(use_in_child, [1, 2]).get(10) == [-1, -2]
        link.publish(ModelId(round, 0, 0), {"w": np.full(3, round, np.float32)}, readers=[1])
        [model] = link.fetch([ModelId(round, 0, 0)], Patience())
        assert model["w"][0] == round
print("done", flush=True)
sys.stdin.read()
link.close("told at the end")
"""


def test_train_functions_may_fork_workers(
    host: PeerHost, open_link: Callable[..., PeerLink]
) -> None:
    """DataLoader(num_workers=2) forks while the link is open; the children must not crash."""
    reader = open_link(host, member(1, host.address))
    command = [sys.executable, "-c", FORKING_CLIENT, host.local_address, host.address]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "done\n"
            assert missing(reader, ModelId(9, 0, 0)).kind == "late"  # it is attached again
            _, errors = client.communicate("", timeout=20)
        finally:
            client.kill()
    assert errors == ""
    answer = missing(reader, ModelId(9, 0, 0))
    assert answer.kind == "gone"
    assert "told at the end" in answer.reason


def test_fifty_megabytes_to_several_readers_at_once(
    host: PeerHost, open_link: Callable[..., PeerLink], in_background: Callable[..., Any]
) -> None:
    sent = {"w": np.random.default_rng(1).random(12_500_000, np.float32)}
    open_link(host, member(0, host.address)).publish(FIRST, sent, readers=[1, 2, 3])
    readers = [open_link(host, member(node, host.address)) for node in (1, 2, 3)]
    results = [in_background(lambda link=link: link.fetch([FIRST], PATIENT)) for link in readers]
    for result, link in zip(results, readers, strict=True):
        [model] = result(60)
        np.testing.assert_array_equal(model["w"], sent["w"])
        assert link.traffic.bytes_fetched == 50_000_000


# ----- addresses


def test_a_port_that_is_taken(host: PeerHost) -> None:
    with pytest.raises(PeerError, match=rf"listen is '{host.address}'.*Address already in use"):
        PeerHost(listen=host.address).start()


def test_an_address_that_is_not_of_this_machine() -> None:
    with pytest.raises(PeerError, match=r"listen is '192\.0\.2\.1:9400'.*cannot be listened on"):
        PeerHost(listen="192.0.2.1:9400").start()


def test_an_address_of_all_interfaces_needs_one_to_advertise() -> None:
    with pytest.raises(ValueError, match=r"listen is '0\.0\.0\.0:0'.*--advertise HOST:PORT"):
        PeerHost(listen="0.0.0.0:0")
    with pytest.raises(ValueError, match=r"advertise is '0\.0\.0\.0:1'"):
        PeerHost(listen="0.0.0.0:0", advertise="0.0.0.0:1")
    with PeerHost(listen="0.0.0.0:0", advertise="localhost:0") as host:
        name, port = host.address.split(":")
        assert name == "localhost"
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
            pass


@pytest.mark.parametrize("listen", ["", "9400", "host:", ":9400", "h:99999", "::1:9400", "h:x"])
def test_an_address_that_is_none(listen: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        PeerHost(listen=listen)


def test_a_socket_path_of_ones_own(tmp_path: Path, open_link: Callable[..., PeerLink]) -> None:
    address = f"unix:{tmp_path}/p.sock"
    with PeerHost(local=address) as host:
        assert host.local_address == address
        assert os.stat(tmp_path / "p.sock").st_mode & 0o777 == 0o600
        assert describe(address).address == host.address
        with pytest.raises(PeerError, match="another process listens there already"):
            PeerHost(local=address).start()
        assert describe(address).address == host.address
    assert not (tmp_path / "p.sock").exists()


def test_a_socket_is_never_open_to_other_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a later chmod: between bind and chmod anybody could connect."""
    monkeypatch.setattr(os, "chmod", lambda *args: None)
    before = os.umask(0o022)
    try:
        with PeerHost(local=f"unix:{tmp_path}/p.sock"):
            assert os.stat(tmp_path / "p.sock").st_mode & 0o777 == 0o600
    finally:
        assert os.umask(before) == 0o022


def test_a_socket_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    with PeerHost(local=f"unix:{path}") as host:
        assert describe(f"unix:{path}").address == host.address


def test_a_socket_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"its path has \d+ bytes, a unix socket's path may have"):
        PeerHost(local=f"unix:{tmp_path}/{'x' * 100}").start()
    with pytest.raises(ValueError, match="there is no folder"):
        PeerHost(local="unix:/nowhere/p.sock").start()


def test_the_local_side_on_a_loopback_port_only(open_link: Callable[..., PeerLink]) -> None:
    with PeerHost(local="127.0.0.1:0") as host:
        assert host.local_address.startswith("127.0.0.1:")
        open_link(host, member(0, host.address)).publish(FIRST, MODEL, readers=[])
    with pytest.raises(ValueError, match=r"must be unix:PATH or a loopback address"):
        PeerHost(local="10.0.0.1:9401").start()


def test_no_own_peer_names_the_field_and_the_command(tmp_path: Path) -> None:
    for local in (f"unix:{tmp_path}/none.sock", f"127.0.0.1:{free_port()}"):
        says = r"own peer at .*does not answer \(unavailable.*gossip-peer.*flwr-gossip peer"
        with pytest.raises(PeerUnreachable, match=says):
            connect(local, member(0, "a:1"), timeout_s=0.5)
        with pytest.raises(PeerUnreachable, match=says):
            describe(local, timeout_s=0.5)


def test_an_own_peer_that_says_nothing() -> None:
    with mute_socket() as address, pytest.raises(PeerUnreachable, match=address):
        connect(address, member(0, "a:1"), timeout_s=0.5)
