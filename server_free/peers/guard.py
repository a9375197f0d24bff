"""Around every method of a peer: bytes that are no message, and our own mistakes, get a status.

gRPC would answer both with UNKNOWN and write a traceback each time: anybody could flood the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ..errors import WireError, one_line
from ..sparing import Sparing

__all__ = ["Guard"]

Behaviour = Callable[[Any, Any], Awaitable[Any]]
NO_MESSAGE = "these bytes are no message of this method"
KINDS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


class _Garbage:
    """Bytes that could not be parsed."""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """An interceptor for a peer's servers."""

    def __init__(self) -> None:
        self._log = Sparing()
        self._handlers: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Return the method's handler with the guard around it, the same one each time."""
        if (known := self._handlers.get(details.method)) is not None:
            return known
        handler = await continuation(details)
        if handler is None:  # not kept: anybody may ask for any method
            return None
        kind = KINDS[handler.request_streaming, handler.response_streaming]
        guarded = self._guarded(getattr(handler, kind), handler.request_streaming, details.method)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        parse = handler.request_deserializer
        made = make(guarded, parse and _tolerant(parse), handler.response_serializer)
        self._handlers[details.method] = made
        return made

    def _guarded(self, behaviour: Behaviour, streaming: bool, method: str) -> Behaviour:
        async def guarded(request: Any, context: Any) -> Any:
            try:
                if isinstance(request, _Garbage):
                    raise WireError(NO_MESSAGE)
                return await behaviour(_checked(request) if streaming else request, context)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except WireError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except Exception as error:
                self._log.warning(f"gossip peer: {method} failed: {one_line(error)}")
                await context.abort(grpc.StatusCode.INTERNAL, "this peer failed; see its log")

        return guarded


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return _Garbage()

    return tolerant


async def _checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the requests of a stream; raises ``WireError`` at the first that is none."""
    async for request in requests:
        if isinstance(request, _Garbage):
            raise WireError(NO_MESSAGE)
        yield request
