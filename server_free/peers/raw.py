"""Methods whose streams carry a model's bytes as they are, between messages of peer.proto.

Protobuf would copy each piece twice at either end. gRPC hands on whatever bytes a serializer
gives, so these methods have their own: a message of bytes goes as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

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
    "parse",
    "raw_fetch",
    "raw_publish",
    "raw_relay",
    "serve_local_peer",
    "serve_peer",
    "serve_relay",
]

M = TypeVar("M", bound=Message)
PEER = pb.DESCRIPTOR.services_by_name["Peer"].full_name
RELAY = pb.DESCRIPTOR.services_by_name["Relay"].full_name
LOCAL_PEER = pb.DESCRIPTOR.services_by_name["LocalPeer"].full_name


def parse(kind: type[M], message: bytes) -> M:
    """Return a message of peer.proto; raises ``WireError`` for bytes that are none."""
    try:
        parsed: M = kind()
        parsed.ParseFromString(message)
    except DecodeError:
        raise WireError(f"{len(message)} bytes came that are no {kind.__name__}") from None
    return parsed


def raw_fetch(channel: Any) -> Callable[..., Any]:
    """Return the method Fetch of a peer; its answers are bytes."""
    return _fetch(channel, PEER)


def raw_relay(channel: Any) -> Callable[..., Any]:
    """Return the method Fetch of a peer that relays; its answers are bytes."""
    return _fetch(channel, RELAY)


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
    """Serve ``service``, whose Fetch writes messages and bytes."""
    add_PeerServicer_to_server(service, _Server(server, {"Fetch": _fetch_handler(service)}))


def serve_relay(service: RelayServicer, server: Any) -> None:
    """Serve ``service``, whose Fetch writes messages and bytes."""
    add_RelayServicer_to_server(service, _Server(server, {"Fetch": _fetch_handler(service)}))


def _fetch_handler(service: PeerServicer | RelayServicer) -> Any:
    return grpc.unary_stream_rpc_method_handler(service.Fetch, pb.FetchRequest.FromString, _as_sent)


def serve_local_peer(service: LocalPeerServicer, server: Any) -> None:
    """Serve ``service``, whose Publish is given bytes."""
    handler = grpc.stream_unary_rpc_method_handler(service.Publish, None, _as_sent)
    add_LocalPeerServicer_to_server(service, _Server(server, {"Publish": handler}))


def _as_sent(message: bytes | Message) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
