"""What a peer serves to the clients on its own machine: everything that writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial, wraps
from typing import Any, NoReturn, TypeVar

import grpc

from ..codecs import Chunk, EncodedModel, check_specs
from ..errors import MailboxFull, PeerError, WireError
from ..models import TensorSpec
from ..reachability import Relayed
from . import frames
from . import peer_pb2 as pb
from .assignments import Assignments
from .capacity import Reserved
from .events import Observer
from .links import KEY_BYTES, PeerInfo
from .mailbox import Attachment, Mailbox
from .peer_pb2_grpc import LocalPeerServicer
from .raw import parse, unpack
from .register import Unregistered
from .shelf import Shelf

__all__ = ["LocalService"]

T = TypeVar("T")
CRASHED = "its client process ended without a word (it crashed or was killed)"
CODES = {
    Unregistered: grpc.StatusCode.NOT_FOUND,
    MailboxFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    WireError: grpc.StatusCode.INVALID_ARGUMENT,
    PeerError: grpc.StatusCode.FAILED_PRECONDITION,
    ValueError: grpc.StatusCode.INVALID_ARGUMENT,
}


def _answering(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Turn our errors into status codes with the error's text."""

    @wraps(method)
    async def wrapper(self: Any, request: Any, context: grpc.aio.ServicerContext) -> T:
        try:
            return await method(self, request, context)
        except tuple(CODES) as error:
            await _abort(context, error)

    return wrapper


async def _abort(context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
    code = next(code for kind, code in CODES.items() if isinstance(error, kind))
    await context.abort(code, str(error))
    raise AssertionError("abort always raises")


class LocalService(LocalPeerServicer):
    """Writes the mailbox for the clients of this machine.

    Parameters
    ----------
    mailbox : Mailbox
        The models.
    info : PeerInfo
        What clients are told about this peer.
    assigned : Assignments
        Where the pairs that are relayed are noted.
    observers : Sequence[Observer] (default: none)
        Told of each publication.
    shelf : Shelf | None (default: None)
        Where models are handed over as files; without it they all come as streams.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        info: PeerInfo,
        assigned: Assignments,
        observers: Sequence[Observer] = (),
        shelf: Shelf | None = None,
    ) -> None:
        self._mailbox, self._info, self._observers = mailbox, info, observers
        self._assigned, self._shelf = assigned, shelf
        self._attachments: dict[int, tuple[Attachment, asyncio.Event]] = {}

    async def Describe(
        self, request: pb.DescribeRequest, context: grpc.aio.ServicerContext
    ) -> pb.DescribeReply:
        """Say who this peer is."""
        return frames.to_description(self._info)

    @_answering
    async def Open(
        self, request: pb.OpenRequest, context: grpc.aio.ServicerContext
    ) -> pb.OpenReply:
        """Register a training and the key of its run."""
        if not request.training or len(request.key) != KEY_BYTES:
            raise ValueError(f"a training needs a name and a key of {KEY_BYTES} bytes")
        relayed = [Relayed(pair.reader, pair.holder, pair.relay) for pair in request.relayed]
        self._mailbox.open(
            request.training,
            request.key,
            tuple(request.addresses),
            request.final,
            request.resumed,
        )
        self._assigned.add(request.training, relayed)
        return pb.OpenReply(
            peer=frames.to_description(self._info),
            max_bytes=self._mailbox.max_bytes,
            known_missing=self._mailbox.known_missing(request.training, request.segment),
        )

    @_answering
    async def Attach(self, request: pb.AttachRequest, context: grpc.aio.ServicerContext) -> None:
        """Hold the stream while the client works; the node is gone when it breaks."""
        attachment = self._mailbox.attach(
            *(request.training, request.node, request.segment, request.first, request.last),
            run=request.run,
        )
        detached = asyncio.Event()
        self._attachments[attachment.number] = attachment, detached
        try:
            await context.write(pb.Attached(attachment=attachment.number))
            await detached.wait()
        finally:
            del self._attachments[attachment.number]
            self._mailbox.detach(attachment, CRASHED)

    async def Detach(
        self, request: pb.DetachRequest, context: grpc.aio.ServicerContext
    ) -> pb.DetachReply:
        """End an attachment in good order, or with the reason of a failure."""
        if request.attachment in self._attachments:
            attachment, detached = self._attachments[request.attachment]
            failure = request.failure if request.HasField("failure") else None
            self._mailbox.detach(attachment, failure)
            detached.set()
        return pb.DetachReply()

    async def Wait(
        self, request: pb.WaitRequest, context: grpc.aio.ServicerContext
    ) -> pb.WaitReply:
        """Note that a client waits for others, or goes on."""
        if request.attachment in self._attachments:
            attachment, _ = self._attachments[request.attachment]
            self._mailbox.wait(attachment, request.waiting)
        return pb.WaitReply()

    @_answering
    async def Publish(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> pb.PublishReply:
        """Take a model whole, then put it into the mailbox."""
        messages = aiter(requests)
        header = (await _frame(messages)).header
        tensors = self._checked(header)
        nbytes = header.header.nbytes
        with self._mailbox.room(header.training, nbytes, header.id.round) as room:
            chunks = await _receive(messages, nbytes, header.header.chunk_bytes)
            await self._put(header, EncodedModel(tensors, nbytes, chunks), room)
        return pb.PublishReply()

    @_answering
    async def PublishWhole(
        self, request: bytes, context: grpc.aio.ServicerContext
    ) -> pb.PublishReply:
        """Take a model of one chunk."""
        header, data = unpack(pb.PublishHeader, request)
        tensors, content = self._checked(header), header.header
        if len(data) != content.nbytes or len(content.crc32) != 1:
            raise WireError(f"{len(data)} bytes came where {content.nbytes} are stated")
        chunk = Chunk(data, content.crc32[0])
        await self._put(header, EncodedModel(tensors, content.nbytes, (chunk,)))
        return pb.PublishReply()

    @_answering
    async def HandOver(
        self, requests: AsyncIterator[pb.PublishFrame], context: grpc.aio.ServicerContext
    ) -> None:
        """Take a model in a file that the client writes, then put it into the mailbox."""
        messages = aiter(requests)
        header = (await anext(messages, pb.PublishFrame())).header
        tensors = self._checked(header)
        nbytes = header.header.nbytes
        if self._shelf is None:
            return
        with self._mailbox.room(header.training, nbytes, header.id.round) as room:
            if (offer := self._shelf.offer()) is None:
                return
            with offer:
                await context.write(pb.PublishReply(path=str(offer.path)))
                frame = await anext(messages, pb.PublishFrame())
                chunks = offer.take(nbytes, header.header.chunk_bytes, frame.checksums.crc32)
            await self._put(header, EncodedModel(tensors, nbytes, chunks), room)
        del offer, chunks  # so that the file is closed when the model is dropped
        await context.write(pb.PublishReply())

    def _checked(self, header: pb.PublishHeader) -> tuple[TensorSpec, ...]:
        """Return the tensors that it states."""
        frames.from_id(header.id)
        tensors = frames.from_tensors(header.header)
        check_specs(tensors, header.header.nbytes, self._mailbox.max_bytes)
        return tensors

    async def _put(
        self, header: pb.PublishHeader, model: EncodedModel, room: Reserved | None = None
    ) -> None:
        """Put it into the mailbox; a disk would keep everybody else waiting meanwhile."""
        put = partial(
            self._mailbox.put,
            *(header.training, frames.from_id(header.id), model, header.readers),
            keep=header.keep,
            room=room,
            run=header.run,
        )
        if self._mailbox.store is None:
            put()
        else:
            await asyncio.to_thread(put)
        for observer in self._observers:
            observer.published(model.nbytes)

    @_answering
    async def ReportMissing(
        self, request: pb.ReportMissingRequest, context: grpc.aio.ServicerContext
    ) -> pb.ReportMissingReply:
        """Note who is missing, and who is not after all."""
        self._mailbox.report_missing(
            *(request.training, request.segment, dict(request.missing), request.found),
            run=request.run,
        )
        return pb.ReportMissingReply()


async def _receive(
    messages: AsyncIterator[bytes], nbytes: int, chunk_bytes: int
) -> tuple[Chunk, ...]:
    """Return the chunks; readers check each one's CRC-32 when they get it."""
    pieces = []
    for start in range(0, nbytes, max(chunk_bytes, frames.MIN_CHUNK_BYTES)):
        pieces.append(await _next(messages))
        if len(pieces[-1]) != min(chunk_bytes, nbytes - start):
            raise WireError(f"a chunk has {len(pieces[-1])} bytes, the header says {chunk_bytes}")
    checksums = (await _frame(messages)).checksums.crc32
    if len(checksums) != len(pieces):
        raise WireError(f"{len(pieces)} chunks came with {len(checksums)} checksums")
    return tuple(map(Chunk, pieces, checksums))


async def _frame(messages: AsyncIterator[bytes]) -> pb.PublishFrame:
    return parse(pb.PublishFrame, await _next(messages))


async def _next(messages: AsyncIterator[bytes]) -> bytes:
    message = await anext(messages, None)
    if message is None:
        raise WireError("the stream ended before the model was whole")
    return message
