"""One fetch over gRPC: it listens for signs of life, retries, and says why it gave up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from ..codecs import CHUNK_BYTES, Decoder
from ..errors import WireError
from ..models import Model
from . import frames
from . import peer_pb2 as pb
from .links import Membership, Missing
from .raw import Methods, parse, read, unpack
from .receive_buffers import ReceiveBuffers
from .room import Room
from .tokens import NONCE_BYTES
from .training import Absent, NotReady
from .waiting import Wait

__all__ = ["Fetch"]

FIRST_RETRY_S, LAST_RETRY_S = 0.05, 1.0
TRANSFERS = 2
"""How often a model may begin to come: a connection that breaks half-way is tried once more."""
CHALLENGES = 3
"""How often in a row a peer may ask for another token; an honest one asks once when it is new."""
PROBE_S = 1.0
"""How long a holder that is known to be missing may take to say that it has the model."""
ASKED_FOR_S = 1.0
"""Who has less patience than this does not ask for what may come within a moment."""
REFUSALS = {
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
}


class _Challenged(Exception):
    """The peer asks for a token for another challenge."""


class _NoRoom(Exception):
    """The model is there, but others must be mixed before there is memory for it."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self.nbytes = nbytes


@dataclass(slots=True)
class Fetch:
    """Fetches one model.

    Parameters
    ----------
    methods : Methods
        Those of the holder's peer, or of the one that relays.
    membership : Membership
        Who asks.
    wait : Wait
        What is asked, where, and how long it may take.
    max_bytes : int
        The largest model accepted.
    challenges : dict[str, bytes]
        The latest challenge of each peer, by address; shared by the fetches of a link.
    small : set[str]
        The addresses where the latest model was small: they are asked first; shared as well.
    buffers : ReceiveBuffers
        Where large models are received; shared as well.
    hear : Callable[[Wait, NotReady], None]
        Told what the peer says of the holder and of missing nodes.
    room, place : Room | None, int (default: None, 0)
        Where memory for the model is asked for, and its place in the order of the reader.
    """

    methods: Methods
    membership: Membership
    wait: Wait
    max_bytes: int
    challenges: dict[str, bytes]
    small: set[str]
    buffers: ReceiveBuffers
    hear: Callable[[Wait, NotReady], None]
    room: Room | None = None
    place: int = 0
    transfers: int = 0
    receiving: bool = False
    answered: bool = False
    nbytes: int = 0
    problem: str = ""

    async def patiently(self) -> Model | Missing:
        """Return the model, or why it did not come within the patience."""
        answer = None
        if self.methods.ask and self.wait.address in self.small:
            answer = await self._ask(self.methods.ask)
        return await self._insist() if answer is None else answer

    async def _ask(self, method: Callable[..., Any]) -> Model | Missing | None:
        """Return what is said within a moment, None to fetch after all, which finds out why."""
        if self.wait.patience.ceiling_s < ASKED_FOR_S:
            return None
        try:
            async with asyncio.timeout(self._bearable_s()):
                answer = await self._call(method)
            frame, data = unpack(pb.FetchFrame, answer)
            kind = self._note(frame)
            if kind == "absent":
                return self.wait.absent(Absent(frame.absent.kind, frame.absent.reason))
            if kind == "header" and self._is_small(frame.header):
                return await self._receive(_Sent(data), frame.header)
        except TimeoutError:
            return self._silent()
        except (_Challenged, _NoRoom, WireError, grpc.aio.AioRpcError):
            pass
        return None

    def _is_small(self, header: pb.Header) -> bool:
        """Return whether the model fits in an answer, and note that of its holder."""
        is_small = len(header.crc32) == 1
        (self.small.add if is_small else self.small.discard)(self.wait.address)
        return is_small

    async def _insist(self) -> Model | Missing:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                return await self._attempt(CHALLENGES)
            except _NoRoom as full:
                await self._wait_for_room(full.nbytes)
                continue
            except TimeoutError:
                return self._silent()
            except WireError as error:
                problem = self._damaged(str(error))
            except grpc.aio.AioRpcError as error:
                problem = self._judge(error)
            if problem is not None:
                return problem
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def probe(self) -> Model | None:
        """Return the model if the peer has it right now."""
        self.answered = False
        for _ in range(CHALLENGES + 1):
            try:
                return await self._ask_once()
            except _Challenged:
                continue
            except _NoRoom as full:
                await self._wait_for_room(full.nbytes)
        return None

    async def _wait_for_room(self, nbytes: int) -> None:
        """Wait for memory; the peer is asked again then, and is not silent meanwhile."""
        self.receiving = True
        try:
            if self.room is not None:
                await self.room.wait(self.place, nbytes)
        finally:
            self.receiving = False
        self.wait.heard = time.monotonic()

    async def _ask_once(self) -> Model | None:
        call = self._call(self.methods.fetch)
        try:
            limit = min(PROBE_S, self.wait.patience.silence_s)
            message = await read(call, limit)
            self.answered = True
            if message is grpc.aio.EOF:
                return None
            frame = parse(pb.FetchFrame, message)
            kind = self._note(frame)
            if kind != "header":
                return None
            return await self._receive(call, frame.header)
        except (TimeoutError, WireError, grpc.aio.AioRpcError):
            return None
        finally:
            call.cancel()

    def _call(self, method: Callable[..., Any]) -> Any:
        """Begin an attempt; its deadline is one that slow but steady transfers never reach."""
        patience = self.wait.patience
        longest = patience.ceiling_s + patience.silence_s * (2 + self.max_bytes / CHUNK_BYTES)
        challenge = self.challenges.get(self.wait.address, b"")
        request = frames.fetch_request(self.membership, self.wait.id, patience.silence_s, challenge)
        return method(request, timeout=longest)

    async def _attempt(self, challenges: int) -> Model | Missing:
        """Ask, and ask again at once up to ``challenges`` times when another token is wanted."""
        for _ in range(challenges):
            with suppress(_Challenged):
                return await self._listen()
        raise WireError(f"the peer asked for another token {challenges} times in a row")

    async def _listen(self) -> Model | Missing:
        call = self._call(self.methods.fetch)
        try:
            while True:
                message = await self._next(call)
                if message is grpc.aio.EOF:
                    raise WireError("the peer ended the stream without an answer")
                frame = parse(pb.FetchFrame, message)
                kind = self._note(frame)
                if kind == "header":
                    self._is_small(frame.header)
                    return await self._receive(call, frame.header)
                if kind == "absent":
                    return self.wait.absent(Absent(frame.absent.kind, frame.absent.reason))
                if kind != "not_ready":
                    raise WireError(f"the peer sent a frame of kind {kind} out of order")
                late = self.wait.overdue(frames.from_state(frame), time.monotonic())
                if late is not None:
                    return late
        finally:
            call.cancel()

    def _note(self, frame: pb.FetchFrame) -> str | None:
        """Note a sign of life and return the kind of the frame; raises ``_Challenged``."""
        kind: str | None = frame.WhichOneof("frame")
        self.problem = ""
        if kind == "challenge":
            self.wait.heard = time.monotonic()
            if len(frame.challenge) != NONCE_BYTES:
                raise WireError(f"the peer sent a challenge of {len(frame.challenge)} bytes")
            self.challenges[self.wait.address] = frame.challenge
            raise _Challenged
        if kind in ("not_ready", "header"):
            state = frames.from_state(frame)
            self.wait.hear(state, time.monotonic())
            self.hear(self.wait, state)
        return kind

    async def _next(self, call: Any) -> Any:
        """Return the next message; raises ``TimeoutError`` when the silence has lasted too long."""
        return await read(call, self._bearable_s())

    def _bearable_s(self) -> float:
        """Return for how long nothing need be heard yet."""
        silent_at = self.wait.heard + self.wait.patience.silence_s
        return max(0.01, silent_at - time.monotonic())

    async def _receive(self, call: Any, header: pb.Header) -> Model:
        if self.room is not None and not self.room.enter(self.place, header.nbytes):
            raise _NoRoom(header.nbytes)
        self.transfers += 1
        self.receiving = True
        try:
            decoder = Decoder(
                frames.from_tensors(header), header.nbytes, self.max_bytes, self.buffers.take
            )
            await self._feed(decoder, call, header)
            self.nbytes = header.nbytes
            return decoder.finish()
        except grpc.aio.AioRpcError as error:
            raise WireError(f"the stream broke: {_detail(error)}") from None
        finally:
            self.receiving = False

    async def _feed(self, decoder: Decoder, call: Any, header: pb.Header) -> None:
        """Take the bytes; one alarm for all messages, put off by each, costs next to nothing."""
        checksums, silence_s = iter(header.crc32), self.wait.patience.silence_s
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(silence_s) as alarm:
            while (message := await call.read()) is not grpc.aio.EOF:
                alarm.reschedule(clock() + silence_s)
                self.wait.heard = time.monotonic()
                for chunk in frames.chunks_of(message, header, checksums):
                    decoder.feed(chunk)

    def _judge(self, error: grpc.aio.AioRpcError) -> Missing | None:
        """Return why to give up after a failed attempt, None to try again."""
        if error.code() in REFUSALS:
            return self.wait.missing("refused", f"refuses: {error.details()}")
        now = time.monotonic()
        if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:  # it lives, but is overrun
            self.wait.heard = now
            return self.wait.overdue(NotReady(False, 0, {}), now)
        self.problem = _detail(error)
        if now < self.wait.heard + self.wait.patience.silence_s:
            return None
        return self.wait.unreachable(self.problem)

    def _silent(self) -> Missing:
        return self.wait.unreachable(self.problem) if self.problem else self.wait.silent()

    def _damaged(self, what: str) -> Missing | None:
        if 0 < self.transfers < TRANSFERS:
            return None
        return self.wait.missing("damaged", f"sent a damaged model: {what}")


class _Sent:
    """Bytes that have come already, as a stream that ends after them."""

    def __init__(self, data: memoryview) -> None:
        self._messages = [data]

    async def read(self) -> Any:
        """Return them, then the end."""
        return self._messages.pop() if self._messages else grpc.aio.EOF


def _detail(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name.lower().replace('_', ' ')}: {error.details()}"
