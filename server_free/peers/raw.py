"""Methods that carry a model's bytes as they are, between messages of peer.proto or behind one.

Protobuf would copy each piece twice at either end. gRPC hands on whatever bytes a serializer
gives, so these methods have their own: a message of bytes goes as it is.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from ..errors import WireError
from . import peer_pb2 as pb
from .peer_pb2_grpc import (
    LocalPeerServicer,
    PeerServicer,
    RelayServicer,
    add_LocalPeerServicer_to_server,
    add_PeerServicer_to_server,
    add_RelayServicer_to_server,
)

__all__ = [
    "Methods",
    "fetch_methods",
    "pack",
    "parse",
    "raw_fetch",
    "raw_publish",
    "raw_publish_whole",
    "read",
    "relay_methods",
    "serve_local_peer",
    "serve_peer",
    "serve_relay",
    "unpack",
]

M = TypeVar("M", bound=Message)
PEER = pb.DESCRIPTOR.services_by_name["Peer"].full_name
RELAY = pb.DESCRIPTOR.services_by_name["Relay"].full_name
PACKED_ALIGN = 16
SIZE = struct.Struct("<I")
LOCAL_PEER = pb.DESCRIPTOR.services_by_name["LocalPeer"].full_name


class Methods(NamedTuple):
    """How to get a model: Fetch, whose answers are bytes, and Ask, whose answer is packed."""

    fetch: Callable[..., Any]
    ask: Callable[..., Any] | None


async def read(call: Any, timeout_s: float) -> Any:
    """Return a call's next message, or ``grpc.aio.EOF``; raises ``TimeoutError``."""
    async with asyncio.timeout(timeout_s):
        return await call.read()


def parse(kind: type[M], message: bytes) -> M:
    """Return a message of peer.proto; raises ``WireError`` for bytes that are none."""
    try:
        parsed: M = kind()
        parsed.ParseFromString(message)
    except DecodeError:
        raise WireError(f"{len(message)} bytes came that are no {kind.__name__}") from None
    return parsed


def pack(message: Message, data: bytes | memoryview = b"") -> bytes:
    """Return a message of peer.proto and the bytes behind it as one message."""
    head = message.SerializeToString()
    gap = bytes(-(SIZE.size + len(head)) % PACKED_ALIGN) if data else b""
    return b"".join((SIZE.pack(len(head)), head, gap, data))


def unpack(kind: type[M], packed: bytes) -> tuple[M, memoryview]:
    """Return what was packed, the bytes as a view; raises ``WireError`` for what was not."""
    if len(packed) < SIZE.size:
        raise WireError(f"{len(packed)} bytes came where a packed {kind.__name__} was expected")
    end = SIZE.size + SIZE.unpack_from(packed)[0]
    if end > len(packed):
        raise WireError(f"a {kind.__name__} of {end} bytes came in {len(packed)} bytes")
    start = end + -end % PACKED_ALIGN
    return parse(kind, packed[SIZE.size : end]), memoryview(packed)[start:]


def raw_fetch(channel: Any) -> Callable[..., Any]:
    """Return the method Fetch of a peer; its answers are bytes."""
    return _fetch(channel, PEER)


def fetch_methods(channel: Any) -> Methods:
    """Return how to get a model from a peer that holds it."""
    ask = channel.unary_unary(f"/{PEER}/Ask", request_serializer=_as_sent)
    return Methods(raw_fetch(channel), ask)


def relay_methods(channel: Any) -> Methods:
    """Return how to get a model from a peer that relays."""
    return Methods(_fetch(channel, RELAY), None)


def _fetch(channel: Any, service: str) -> Callable[..., Any]:
    path = f"/{service}/Fetch"
    method: Callable[..., Any] = channel.unary_stream(path, request_serializer=_as_sent)
    return method


def raw_publish(channel: Any) -> Callable[..., Any]:
    """Return the method Publish, which takes messages and bytes."""
    method: Callable[..., Any] = channel.stream_unary(
        f"/{LOCAL_PEER}/Publish",
        request_serializer=_as_sent,
        response_deserializer=pb.PublishReply.FromString,
    )
    return method


def raw_publish_whole(channel: Any) -> Callable[..., Any]:
    """Return the method PublishWhole, which takes what is packed."""
    method: Callable[..., Any] = channel.unary_unary(
        f"/{LOCAL_PEER}/PublishWhole", response_deserializer=pb.PublishReply.FromString
    )
    return method


class _Server:
    """Takes the handlers that the generated code makes, puts in ``instead`` and serves them."""

    def __init__(self, server: Any, instead: dict[str, Any]) -> None:
        self._server, self._instead = server, instead

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Drop them: the next call brings the same by name."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Serve them."""
        both = handlers | self._instead
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, both),)
        )


def serve_peer(service: PeerServicer, server: Any) -> None:
    """Serve ``service``, whose Fetch writes messages and bytes, and whose Ask gives bytes."""
    ask = grpc.unary_unary_rpc_method_handler(service.Ask, pb.FetchRequest.FromString, _as_sent)
    instead = {"Fetch": _fetch_handler(service), "Ask": ask}
    add_PeerServicer_to_server(service, _Server(server, instead))


def serve_relay(service: RelayServicer, server: Any) -> None:
    """Serve ``service``, whose Fetch writes messages and bytes."""
    add_RelayServicer_to_server(service, _Server(server, {"Fetch": _fetch_handler(service)}))


def _fetch_handler(service: PeerServicer | RelayServicer) -> Any:
    return grpc.unary_stream_rpc_method_handler(service.Fetch, pb.FetchRequest.FromString, _as_sent)


def serve_local_peer(service: LocalPeerServicer, server: Any) -> None:
    """Serve ``service``, whose Publish and PublishWhole are given bytes."""
    instead = {
        "Publish": grpc.stream_unary_rpc_method_handler(service.Publish, None, _as_sent),
        "PublishWhole": grpc.unary_unary_rpc_method_handler(service.PublishWhole, None, _as_sent),
    }
    add_LocalPeerServicer_to_server(service, _Server(server, instead))


def _as_sent(message: bytes | Message) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
