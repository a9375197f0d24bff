"""A client's own peer over gRPC: open a training, attach, publish, tell who is missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NoReturn, TypeVar

import grpc

from ..codecs import CHUNK_BYTES, Chunk, stream
from ..errors import MailboxFull, PeerError, PeerUnreachable
from ..models import Model
from . import frames
from . import peer_pb2 as pb
from .links import Membership, ModelId, PeerInfo
from .loops import in_thread
from .peer_pb2_grpc import LocalPeerStub
from .raw import pack, raw_publish, raw_publish_whole
from .register import Unregistered
from .shelf import write_chunks
from .tokens import fingerprint

__all__ = ["OwnPeer"]

T = TypeVar("T")
CLOSE_S = 5.0
RETRY_S = 0.1
SLOWEST_BYTES_PER_S = 10e6
FILE_BYTES = 1 << 19
"""Models from this size on are handed over as files; for smaller ones a stream is as fast."""


class OwnPeer:
    """The calls to the peer beside this client; they raise our errors.

    Parameters
    ----------
    channel : grpc.aio.Channel
        To the peer.
    local : str
        Its address, for the errors.
    timeout_s : float
        How long it may take to answer.
    """

    def __init__(self, channel: Any, local: str, timeout_s: float) -> None:
        self._stub = LocalPeerStub(channel)
        self._publish, self._publish_whole = raw_publish(channel), raw_publish_whole(channel)
        self._local, self._timeout_s = local, timeout_s
        self._stream: Any = None
        self._attachment: int | None = None
        self._takes_files = local.startswith("unix:")
        self.ended = asyncio.Event()

    async def describe(self) -> PeerInfo:
        """Ask who it is."""
        reply = await self._first_answer(self._stub.Describe, pb.DescribeRequest())
        return frames.from_description(reply)

    async def open(self, membership: Membership, within_s: float | None = None) -> pb.OpenReply:
        """Register the training and its key; a peer may take ``within_s`` to start."""
        request = pb.OpenRequest(
            training=membership.training,
            key=membership.key,
            addresses=membership.addresses,
            segment=membership.segment,
            final=membership.final,
            resumed=membership.resumed,
            relayed=[pb.Relayed(**asdict(pair)) for pair in membership.relayed],
        )
        reply: pb.OpenReply = await self._first_answer(self._stub.Open, request, within_s)
        return reply

    async def attach(self, membership: Membership) -> asyncio.Event:
        """Open the stream whose end tells the peer that this process has ended.

        The event that is returned is set when the peer ends it, or has ended itself.
        """
        request = pb.AttachRequest(
            training=membership.training,
            node=membership.node,
            segment=membership.segment,
            first=membership.first,
            last=membership.last,
            run=fingerprint(membership.key),
        )
        self._stream = self._stub.Attach(request)
        try:
            first = await asyncio.wait_for(self._answer(self._stream.read()), self._timeout_s)
        except TimeoutError:
            raise self._unreachable(f"no answer for {self._timeout_s:g} s") from None
        self._attachment = first.attachment
        ended = self.ended
        self._stream.add_done_callback(lambda call: ended.set())
        return ended

    async def publish(
        self,
        membership: Membership,
        id: ModelId,
        model: Model,
        readers: Collection[int],
        keep: bool,
    ) -> int:
        """Bring a model into its mailbox; returns its size in bytes."""
        tensors, nbytes, chunks = stream(model)
        opening = frames.publish_header(membership, id, tensors, nbytes, readers, keep)
        timeout_s = self._timeout_s + nbytes / SLOWEST_BYTES_PER_S
        if nbytes >= FILE_BYTES and self._takes_files:
            if await self._answer(self._hand_over(opening, model, timeout_s)):
                return nbytes
            self._takes_files = False
        if 0 < nbytes <= CHUNK_BYTES:
            chunk = next(chunks)
            opening.header.header.crc32.append(chunk.crc32)
            whole = pack(opening.header, chunk.data)
            await self._answer(self._publish_whole(whole, timeout=timeout_s))
        else:
            await self._answer(self._publish(_messages(opening, chunks), timeout=timeout_s))
        return nbytes

    async def _hand_over(self, opening: pb.PublishFrame, model: Model, timeout_s: float) -> bool:
        """Write a model into a file that the peer offers; returns whether that was possible."""
        call = self._stub.HandOver(timeout=timeout_s)
        try:
            await call.write(opening)
            offer = await call.read()
            if offer is grpc.aio.EOF or not offer.path:
                return False
            try:
                checksums = await in_thread(lambda: write_chunks(offer.path, stream(model)[2]))
            except OSError:
                return False
            await call.write(frames.publish_checksums(checksums))
            return await call.read() is not grpc.aio.EOF
        except asyncio.InvalidStateError:  # written to a call that has ended: it says why when read
            return await call.read() is not grpc.aio.EOF
        finally:
            call.cancel()

    async def wait(self, waiting: bool) -> None:
        """Tell it that this client waits for others, or goes on."""
        if self._attachment is not None:
            request = pb.WaitRequest(attachment=self._attachment, waiting=waiting)
            await self._answer(self._stub.Wait(request, timeout=self._timeout_s))

    async def tell(
        self, membership: Membership, missing: Mapping[int, str], found: Collection[int] = ()
    ) -> None:
        """Have it tell others who is missing, and no longer who is ``found``."""
        request = pb.ReportMissingRequest(
            training=membership.training,
            segment=membership.segment,
            missing=missing,
            found=found,
            run=fingerprint(membership.key),
        )
        await self._answer(self._stub.ReportMissing(request, timeout=self._timeout_s))

    async def detach(self, failure: str | None) -> None:
        """End the attachment; a peer that is gone needs no word."""
        if self._attachment is not None:
            request = pb.DetachRequest(attachment=self._attachment, failure=failure)
            with suppress(grpc.aio.AioRpcError):
                await self._stub.Detach(request, timeout=CLOSE_S)
        if self._stream is not None:
            self._stream.cancel()

    def abandon(self) -> None:
        """Leave the attachment to one that was made since."""
        if self._stream is not None:
            self._stream.cancel()

    async def _first_answer(self, method: Any, request: Any, within_s: float | None = None) -> Any:
        """Return the answer of a peer that may still be starting."""
        ends = time.monotonic() + (self._timeout_s if within_s is None else within_s)
        while True:
            try:
                return await method(request, timeout=max(0.01, ends - time.monotonic()))
            except grpc.aio.AioRpcError as error:
                starting = error.code() == grpc.StatusCode.UNAVAILABLE
                if not starting or time.monotonic() + RETRY_S >= ends:
                    self._raise(error)
            await asyncio.sleep(RETRY_S)

    async def _answer(self, call: Awaitable[T]) -> T:
        """Return what the peer answers, with its refusals as our errors."""
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            self._raise(error)

    def _raise(self, error: grpc.aio.AioRpcError) -> NoReturn:
        code, details = error.code(), error.details() or error.code().name
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise MailboxFull(details) from None
        if code == grpc.StatusCode.NOT_FOUND:
            raise Unregistered(details) from None
        if code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT):
            raise PeerError(details) from None
        raise self._unreachable(f"{code.name.lower().replace('_', ' ')}: {details}") from None

    def _unreachable(self, detail: str) -> PeerUnreachable:
        return PeerUnreachable(
            f"this client's own peer at {self._local!r} does not answer ({detail}). Check the "
            "node-config field gossip-peer; a peer is started with: flwr-gossip peer --listen "
            "HOST:PORT --insecure (or with certificates), or together with the SuperNode by: "
            "flwr-gossip supernode"
        )


def _messages(
    opening: pb.PublishFrame, chunks: Iterable[Chunk]
) -> Iterator[pb.PublishFrame | bytes]:
    """Yield what a publication consists of; the checksums come last."""
    yield opening
    checksums = []
    for chunk in chunks:
        checksums.append(chunk.crc32)
        yield bytes(chunk.data)
    yield frames.publish_checksums(checksums)
