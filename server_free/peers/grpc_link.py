"""A client's link over gRPC: to its own peer on a local address, and to the peers of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import grpc

from ..codecs import encode
from ..errors import MailboxFull, PeerError, PeerUnreachable
from ..models import Model
from . import frames
from . import peer_pb2 as pb
from .base_link import BaseLink
from .fetching import Fetch
from .links import Membership, Missing, ModelId, Patience, PeerInfo
from .loops import LoopThread
from .peer_pb2_grpc import LocalPeerStub, PeerStub
from .tls import channel_credentials
from .waiting import Wait

__all__ = ["GrpcLink", "describe_peer"]

T = TypeVar("T")
CLOSE_S = 5.0
RETRY_S = 0.1
SLOWEST_LOCAL_BYTES_PER_S = 10e6
CLIENT_OPTIONS = (
    *frames.CHANNEL_OPTIONS,
    # Peers are dialled directly: an http_proxy in the environment is not meant for them.
    ("grpc.enable_http_proxy", 0),
    # A peer that restarts is found again soon, and links do not share a broken connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def describe_peer(local: str, timeout_s: float) -> PeerInfo:
    """Ask the peer at ``local`` who it is; raises ``PeerUnreachable``."""
    loop = LoopThread.acquire()
    try:
        return loop.run(_describe(local, timeout_s))
    finally:
        loop.release()


async def _describe(local: str, timeout_s: float) -> PeerInfo:
    async with grpc.aio.insecure_channel(local, options=CLIENT_OPTIONS) as channel:
        reply = await _first_answer(
            LocalPeerStub(channel).Describe, pb.DescribeRequest(), local, timeout_s
        )
        return frames.from_description(reply)


class GrpcLink(BaseLink):
    """A link over gRPC; see :class:`.links.PeerLink`.

    Its calls block the calling thread; what they wait for runs in one shared event loop.
    """

    def __init__(self, local: str, membership: Membership, *, timeout_s: float) -> None:
        super().__init__(membership)
        self._local, self._timeout_s = local, timeout_s
        self._channels: dict[str, Any] = {}
        self._heard_of: dict[int, asyncio.Event] = {}
        self._not_before: dict[int, float] = {}
        self._attachment: int | None = None
        self._stub: Any = None
        self._stream: Any = None
        self._credentials: Any = None
        self._max_bytes = 0
        self._background: set[asyncio.Task[None]] = set()
        self._loop = LoopThread.acquire()
        try:
            self._loop.run(self._connect())
        except BaseException:
            self._mark_closed()
            self._disconnect(None)
            raise

    def publish(self, id: ModelId, model: Model, readers: Collection[int]) -> None:
        """Stream ``model`` to the own peer and wait for its acknowledgement."""
        self._check_open()
        encoded = encode(model)
        timeout_s = self._timeout_s + encoded.nbytes / SLOWEST_LOCAL_BYTES_PER_S
        parts = frames.publish_frames(self.membership, id, encoded, readers)
        self._loop.run(self._publish(parts, timeout_s))
        self._count_publish(encoded.nbytes)

    def report_missing(self, missing: Mapping[int, str]) -> None:
        """Tell the own peer who is missing."""
        self._check_open()
        self._loop.run(self._report(missing))

    def fetch(self, wants: Sequence[ModelId], patience: Patience) -> list[Model | Missing]:
        """Fetch all wants as tasks of the shared loop."""
        self._check_open()
        waits = [Wait(id, self._address(id), patience, time.monotonic()) for id in wants]
        return self._loop.run(self._fetch_all(waits))

    def close(self, failure: str | None = None) -> None:
        """Detach from the own peer, once, and close all connections."""
        if self._mark_closed():
            self._disconnect(failure)

    # ----- the own peer

    async def _connect(self) -> None:
        own = grpc.aio.insecure_channel(self._local, options=CLIENT_OPTIONS)
        self._channels[self._local] = own
        self._stub = LocalPeerStub(own)
        mine = self.membership
        request = pb.OpenRequest(
            training=mine.training, key=mine.key, addresses=mine.addresses, segment=mine.segment
        )
        reply = await _first_answer(self._stub.Open, request, self._local, self._timeout_s)
        self._credentials = _credentials(frames.from_description(reply.peer))
        self._max_bytes = reply.max_bytes
        self._learn(dict(reply.known_missing))
        if mine.segment:
            await self._attach()

    async def _attach(self) -> None:
        """Open the stream whose end tells the peer that this process has ended."""
        mine = self.membership
        request = pb.AttachRequest(training=mine.training, node=mine.node, segment=mine.segment)
        self._stream = self._stub.Attach(request)
        try:
            first = await asyncio.wait_for(
                _local_answer(self._stream.read(), self._local), self._timeout_s
            )
        except TimeoutError:
            raise _unreachable(self._local, f"no answer for {self._timeout_s:g} s") from None
        self._attachment = first.attachment

    async def _publish(self, parts: Iterable[pb.PublishFrame], timeout_s: float) -> None:
        call = self._stub.Publish(iter(parts), timeout=timeout_s)
        await _local_answer(call, self._local)

    def _note(self, missing: Mapping[int, str]) -> dict[int, str]:
        """Learn who is missing, wake who waits for them, and return what is new."""
        new = self._learn(missing)
        for node in new:
            self._event(node).set()
        return new

    async def _report(self, missing: Mapping[int, str]) -> None:
        if new := self._note(missing):
            await self._tell(new)

    async def _tell(self, missing: Mapping[int, str]) -> None:
        """Have the own peer tell others."""
        mine = self.membership
        request = pb.ReportMissingRequest(
            training=mine.training, segment=mine.segment, missing=missing
        )
        call = self._stub.ReportMissing(request, timeout=self._timeout_s)
        await _local_answer(call, self._local)

    def _disconnect(self, failure: str | None) -> None:
        try:
            with suppress(TimeoutError):
                self._loop.run(self._detach(failure), 2 * CLOSE_S)
        finally:
            self._loop.release()

    async def _detach(self, failure: str | None) -> None:
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_S)
        if self._attachment is not None:
            request = pb.DetachRequest(attachment=self._attachment, failure=failure)
            with suppress(grpc.aio.AioRpcError):
                await self._stub.Detach(request, timeout=CLOSE_S)
            self._stream.cancel()
        for channel in self._channels.values():
            await channel.close()
        # gRPC's own thread ends with the last object of it that anybody holds.
        self._channels.clear()
        self._stub = self._stream = None

    # ----- the peers of others

    def _address(self, id: ModelId) -> str:
        return self._local if self._is_own(id) else self.membership.address_of(id.node)

    async def _fetch_all(self, waits: Sequence[Wait]) -> list[Model | Missing]:
        return await asyncio.gather(*(self._fetch_one(wait) for wait in waits))

    async def _fetch_one(self, wait: Wait) -> Model | Missing:
        fetch = Fetch(
            PeerStub(self._channel(wait.address)),
            self.membership,
            wait,
            self._max_bytes,
            self._hear,
        )
        answer = await self._fetch_unless_known(fetch)
        if not isinstance(answer, Missing):
            self._count_fetch(wait.id, fetch.nbytes)
        return answer

    async def _fetch_unless_known(self, fetch: Fetch) -> Model | Missing:
        """Fetch patiently; once the holder is known to be missing, only ask for what it has."""
        id = fetch.wait.id
        if self._is_own(id):
            return await fetch.patiently()
        if self._why_known(id) is None:
            answer = await _race(fetch, self._event(id.node))
            if answer is not None:
                return answer
        answer = await self._probe(fetch)
        return answer if answer is not None else fetch.wait.known(self._why_known(id) or "")

    async def _probe(self, fetch: Fetch) -> Model | None:
        """Ask a missing holder once, but do not knock at a dead machine again and again."""
        node, patience = fetch.wait.id.node, fetch.wait.patience
        if time.monotonic() < self._not_before.get(node, 0.0):
            return None
        answer = await fetch.probe()
        if answer is None and not fetch.answered:
            self._not_before[node] = time.monotonic() + patience.silence_s
        return answer

    def _hear(self, missing: Mapping[int, str]) -> None:
        """Take what a peer says about missing nodes, and have the own peer tell it on."""
        if new := self._note(missing):
            task = asyncio.ensure_future(self._tell_on(new))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _tell_on(self, missing: Mapping[int, str]) -> None:
        with suppress(PeerError):  # the own peer's troubles show when the client publishes
            await self._tell(missing)

    def _event(self, node: int) -> asyncio.Event:
        """Return the event that is set when ``node`` becomes known to be missing."""
        return self._heard_of.setdefault(node, asyncio.Event())

    def _channel(self, address: str) -> Any:
        if address not in self._channels:
            self._channels[address] = self._dial(address)
        return self._channels[address]

    def _dial(self, address: str) -> Any:
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
        return grpc.aio.secure_channel(address, self._credentials, options=CLIENT_OPTIONS)


async def _race(fetch: Fetch, known: asyncio.Event) -> Model | Missing | None:
    """Return the answer, or None if the holder becomes known to be missing before it sends."""
    waiting = asyncio.ensure_future(fetch.patiently())
    hearing = asyncio.ensure_future(known.wait())
    try:
        await asyncio.wait({waiting, hearing}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done() or fetch.receiving:
            return await waiting
        return None
    finally:
        waiting.cancel()
        hearing.cancel()


def _credentials(info: PeerInfo) -> Any:
    """Return what to dial other peers with, None for plain text."""
    if info.tls_files is None:
        return None
    try:
        return channel_credentials(info.tls_files)
    except OSError as error:
        raise PeerError(
            f"the own peer uses TLS, but this client cannot read {error.filename!r} "
            f"({error.strerror}); run both as the same user"
        ) from None


async def _first_answer(method: Any, request: Any, local: str, timeout_s: float) -> Any:
    """Return the answer of an own peer that may still be starting."""
    ends = time.monotonic() + timeout_s
    while True:
        try:
            return await method(request, timeout=max(0.01, ends - time.monotonic()))
        except grpc.aio.AioRpcError as error:
            starting = error.code() == grpc.StatusCode.UNAVAILABLE
            if not starting or time.monotonic() + RETRY_S >= ends:
                _raise_local(error, local)
        await asyncio.sleep(RETRY_S)


async def _local_answer(call: Awaitable[T], local: str) -> T:
    """Return what the own peer answers, with its refusals as our errors."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        _raise_local(error, local)


def _raise_local(error: grpc.aio.AioRpcError, local: str) -> NoReturn:
    details = error.details() or error.code().name
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        raise MailboxFull(details) from None
    if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT):
        raise PeerError(details) from None
    raise _unreachable(local, f"{error.code().name.lower()}: {details}") from None


def _unreachable(local: str, detail: str) -> PeerUnreachable:
    return PeerUnreachable(
        f"this client's own peer at {local!r} does not answer ({detail}). Check the node-config "
        "field gossip-peer; a peer is started with: flwr-gossip peer --listen HOST:PORT "
        "--insecure (or with certificates), or with the SuperNode by: flwr-gossip supernode"
    )
