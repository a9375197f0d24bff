"""What a peer serves on the network: fetches and probes, and nothing that writes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import grpc

from ..codecs import Chunk, joined
from ..orders import plugin_version
from . import frames
from . import peer_pb2 as pb
from .assignments import Assignments
from .certificates import covers
from .events import FetchEvent, Observer, watched
from .links import WIRE_VERSION, ModelId
from .mailbox import Mailbox
from .pace import Pace
from .peer_pb2_grpc import PeerServicer
from .probing import answer_probe
from .raw import pack
from .tokens import Challenge, fingerprint, token_is_good
from .training import Absent, Answer, NotReady, Ready

__all__ = ["Admission", "NetworkService", "Refused"]

MAX_STRANGERS = 256
"""Fetches that wait for a run this peer does not know: nothing tells them from an attack."""
STRANGER_WAIT_S, STRANGER_BEAT_S = 300.0, 0.25
TAKE_S = 60.0
"""Who takes no chunk for so long holds the model here for nothing."""
MIN_BEAT_S, USUAL_BEAT_S = 0.05, 1.0
SOON_S = 0.1
"""How long an Ask waits for a model."""
MAX_DOUBT_S = 60.0
"""How long a model is kept at most for a reader who may find that its line broke."""
UNKNOWN_RUN = NotReady(started=False, round=0, known_missing={})


class Refused(Exception):
    """A request that is not served: status code and one sentence."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Challenged(Exception):
    """The request was made for another challenge than the one of now."""


class NetworkService(PeerServicer):
    """Serves the models of a mailbox to who has the key of their run.

    Parameters
    ----------
    mailbox : Mailbox
        The models.
    bind_requester : bool
        Whether a requester must show a certificate for the host it is known under (mutual TLS).
    observers : Sequence[Observer] (default: none)
        Told how each request ends.
    assigned : Assignments | None (default: None)
        Who may read through another node's peer; nobody if None.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        bind_requester: bool,
        observers: Sequence[Observer] = (),
        assigned: Assignments | None = None,
    ) -> None:
        self.mailbox = mailbox
        self.bind_requester = bind_requester
        self.observers = observers
        self.assigned = assigned or Assignments(lambda training: False)
        self.challenge = Challenge()
        self._strangers = 0

    async def Fetch(self, request: pb.FetchRequest, context: grpc.aio.ServicerContext) -> None:
        """Send signs of life till there is an answer, then the answer."""
        with watched(self.observers, request) as event:
            try:
                fetch = _Fetch(self, request, context)
                try:
                    answer = await fetch.settled()
                except _Challenged:
                    event.outcome = "challenged"
                    await fetch.write(frames.challenge_frame(self.challenge.value))
                    return
                event.settle(answer)
                await fetch.send(answer)
                event.sent(answer)
            except Refused as refusal:
                event.refuse(str(refusal))
                await context.abort(refusal.code, str(refusal))

    async def Ask(self, request: pb.FetchRequest, context: grpc.aio.ServicerContext) -> bytes:
        """Answer within a moment, with the model if it is there by then and small."""
        with watched(self.observers, request) as event:
            try:
                return await _Fetch(self, request, context).at_once(event)
            except _Challenged:
                event.outcome = "challenged"
                return pack(frames.challenge_frame(self.challenge.value))
            except Refused as refusal:
                event.refuse(str(refusal))
                await context.abort(refusal.code, str(refusal))
                raise

    async def Probe(
        self, request: pb.ProbeRequest, context: grpc.aio.ServicerContext
    ) -> pb.ProbeReply:
        """Say whether a fetch would be served."""
        names = subject_names(context) if self.bind_requester else None
        return answer_probe(self.mailbox, request, names)

    @contextmanager
    def stranger(self) -> Iterator[None]:
        """Count a fetch that waits for a run this peer does not know."""
        if self._strangers >= MAX_STRANGERS:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{MAX_STRANGERS} fetches wait here already for runs that are not registered",
            )
        self._strangers += 1
        try:
            yield
        finally:
            self._strangers -= 1


class Admission:
    """One request: who asks, for what, and whether it is allowed."""

    def __init__(
        self,
        service: NetworkService,
        request: pb.FetchRequest,
        context: grpc.aio.ServicerContext,
    ) -> None:
        self._service, self._mailbox = service, service.mailbox
        self._request, self._context = request, context
        self._id = _checked_id(request)
        self._beat_s = max(MIN_BEAT_S, min(USUAL_BEAT_S, request.silence_s / 4))
        self._admitted_by: bytes | None = None

    async def write(self, frame: Any) -> None:
        """Write one frame; who reads nothing is not waited for without end."""
        try:
            async with asyncio.timeout(TAKE_S):
                await self._context.write(frame)
        except grpc.aio.InternalError:  # who asked has just gone: end as when gRPC says so itself
            raise asyncio.CancelledError from None
        except TimeoutError:
            raise Refused(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"nothing was read for {TAKE_S:g} s"
            ) from None

    @contextmanager
    def _changes(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set when what is known here of the wanted model changes."""
        loop, changed, here = asyncio.get_running_loop(), asyncio.Event(), threading.get_ident()

        def wake() -> None:
            if threading.get_ident() == here:
                changed.set()
            else:
                loop.call_soon_threadsafe(changed.set)

        with self._mailbox.watch(self._request.training, self._id.node, wake):
            yield changed

    async def _be_a_stranger(self, changed: asyncio.Event) -> None:
        """Wait, within a cap, till the run is registered here."""
        clock = asyncio.get_running_loop().time
        ends = clock() + STRANGER_WAIT_S
        with self._service.stranger():
            while not self._is_admitted():
                if clock() > ends:
                    raise Refused(
                        grpc.StatusCode.UNAVAILABLE,
                        f"the run was not registered here within {STRANGER_WAIT_S:g} s",
                    )
                await self._beat(UNKNOWN_RUN, changed, max(STRANGER_BEAT_S, self._beat_s))

    async def _beat(self, answer: NotReady, changed: asyncio.Event, beat_s: float) -> None:
        """Give a sign of life, then sleep till something changes, at most a beat."""
        await self.write(frames.not_ready_frame(answer))
        with suppress(TimeoutError):
            async with asyncio.timeout(beat_s):
                await changed.wait()
            changed.clear()

    def _is_admitted(self) -> bool:
        """Return whether the run is registered; raises ``Refused`` if the request is not good."""
        request = self._request
        key = self._mailbox.key(request.training)
        if key is None or fingerprint(key) != request.run or not self._is_assigned():
            return False
        if self._admitted_by != key:
            self._check_token(key)
            self._check_certificate(request.via if request.HasField("via") else request.requester)
            self._admitted_by = key
            self._mailbox.hear_from(request.training, request.requester)
        return True

    def _check_token(self, key: bytes) -> None:
        request, challenge = self._request, self._service.challenge
        if request.challenge != challenge.value:
            raise _Challenged
        token, signed = request.token, (request.training, self._id, request.requester)
        if not token_is_good(token, key, *signed, request.nonce, challenge.value):
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "the token is not good for this")
        if not challenge.use(key, request.nonce):
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "the token was used before")

    def _is_assigned(self) -> bool:
        """Return whether this way to read is one that the clients here know of, till now."""
        request = self._request
        way = (request.training, request.requester, request.id.node, request.via)
        return not request.HasField("via") or self._service.assigned.allow(*way)

    def _check_certificate(self, node: int) -> None:
        """Under mutual TLS nobody reads in the name of a node on another host.

        What comes through a relay shows the relay's certificate: then that is what is checked.
        """
        if not self._service.bind_requester:
            return
        addresses = self._mailbox.addresses(self._request.training)
        if not addresses:
            return
        if len(addresses) > 1 and not 0 <= node < len(addresses):
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"there is no node {node}")
        address = addresses[node] if len(addresses) > 1 else addresses[0]
        if not covers(subject_names(self._context), address):
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the certificate shown is not one for node {node} at {address}; it needs "
                "that host as a subject alternative name",
            )


class _Fetch(Admission):
    """A request for a model that lies here."""

    async def send(self, answer: Ready | Absent) -> None:
        """Write the frames of the answer."""
        if isinstance(answer, Absent):
            await self.write(frames.absent_frame(answer))
            return
        encoded = answer.model.encoded()
        await self.write(frames.header_frame(encoded, answer.state))
        await self._send(encoded.chunks)
        self._sent()

    async def at_once(self, event: FetchEvent) -> bytes:
        """Return what there is to say after a moment, packed."""
        answer = await self._soon()
        event.outcome = "later"
        if isinstance(answer, NotReady):
            return pack(frames.not_ready_frame(answer))
        if isinstance(answer, Absent):
            event.settle(answer)
            return pack(frames.absent_frame(answer))
        encoded = answer.model.encoded()
        frame = frames.header_frame(encoded, answer.state)
        if len(encoded.chunks) != 1:
            return pack(frame)
        event.settle(answer)
        event.sent(answer)
        self._sent()
        return pack(frame, encoded.chunks[0].data)

    def _sent(self) -> None:
        """Note that the reader has it, or asks again once it finds that its line broke."""
        request = self._request
        doubt_s = min(2.0 * request.silence_s, MAX_DOUBT_S)
        self._mailbox.delivered(request.training, self._id, request.requester, doubt_s)

    async def _soon(self) -> Answer:
        """Return the answer of now, or that after the next change within a moment."""
        with self._changes() as changed:
            if isinstance(answer := self._look(), NotReady) and answer is not UNKNOWN_RUN:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(SOON_S, self._beat_s)):
                        await changed.wait()
                answer = self._look()
        return answer

    async def _send(self, chunks: Sequence[Chunk]) -> None:
        """Write the chunks, as many in a message as the line takes well."""
        clock, pace, start = asyncio.get_running_loop().time, Pace(), 0
        while start < len(chunks):
            data = joined(chunks, start, start + pace.chunks)
            start, began = start + pace.chunks, clock()
            await self.write(data)
            pace.took(clock() - began)

    async def settled(self) -> Ready | Absent:
        """Wait, giving signs of life, for the answer."""
        with self._changes() as changed:
            if not self._is_admitted():
                await self._be_a_stranger(changed)
            while isinstance(answer := self._look(), NotReady):
                await self._beat(answer, changed, self._beat_s)
        return answer

    def _look(self) -> Answer:
        if not self._is_admitted():  # the training was closed or resumed with another key meanwhile
            return UNKNOWN_RUN
        request = self._request
        return self._mailbox.look(request.training, self._id, request.requester, request.segment)


def subject_names(context: grpc.aio.ServicerContext) -> Iterable[bytes]:
    """Return the names in the certificate that the caller has shown."""
    names: Iterable[bytes] = context.auth_context().get("x509_subject_alternative_name", ())
    return names


def _checked_id(request: pb.FetchRequest) -> ModelId:
    if request.protocol != WIRE_VERSION:
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"it speaks protocol {WIRE_VERSION} (flwr-gossip {plugin_version()}) and was asked in "
            f"protocol {request.protocol}; install the same version on all nodes",
        )
    try:
        return frames.from_id(request.id)
    except ValueError as error:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
