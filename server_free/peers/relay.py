"""A peer that stands in: it fetches for a reader that cannot connect to the holder.

The reader's request goes to the holder as it is, so the token stays that of the reader for the
holder, and a request that comes again is refused there. Frames pass through as bytes, one at a
time. A relay calls the holder's Peer service, never another relay, so there are no chains. It
stands in only for the pairs that the ServerApp has assigned to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from . import peer_pb2 as pb
from .events import watched
from .grpc_link import CLIENT_OPTIONS
from .links import TlsFiles
from .network_service import Admission, NetworkService, Refused
from .peer_pb2_grpc import RelayServicer
from .raw import raw_fetch, read
from .tls import channel_credentials
from .tokens import token_is_good

__all__ = ["MAX_RELAYED", "RelayService", "dialler"]

MAX_RELAYED = 64
"""Models that one peer relays at the same time."""
SILENT_S = 60.0
"""A holder's peer that is alive gives a sign of life each second; it is not waited for longer."""
LONGEST_S = 3600.0
"""A request is relayed for so long at most, whatever the requester's deadline; it may ask again."""


class RelayService(RelayServicer):
    """Relays fetches between the nodes of a run.

    Parameters
    ----------
    network : NetworkService
        That of this peer: it knows the runs and who may ask.
    dial : Callable[[str], grpc.aio.Channel]
        Connects to another peer's address, with this peer's own certificate.
    """

    def __init__(self, network: NetworkService, dial: Callable[[str], Any]) -> None:
        self._network, self._dial = network, dial
        self._channels: dict[str, Any] = {}
        self._relayed = 0

    async def Fetch(self, request: pb.FetchRequest, context: grpc.aio.ServicerContext) -> None:
        """Hand on what the holder's peer answers, frame by frame."""
        with watched(self._network.observers, request) as event:
            try:
                relaying = _Relaying(self._network, request, context)
                await relaying.wait()
                with self._room():
                    event.nbytes = await relaying.hand_on(self._call)
                event.outcome = "relayed"
            except Refused as refusal:
                event.refuse(str(refusal))
                await context.abort(refusal.code, str(refusal))

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Count a model that is being relayed."""
        if self._relayed >= MAX_RELAYED:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_RELAYED} models are relayed here already"
            )
        self._relayed += 1
        try:
            yield
        finally:
            self._relayed -= 1

    def _call(self, address: str, request: pb.FetchRequest, timeout_s: float) -> Any:
        """Ask the peer at ``address``; what it answers stays bytes."""
        if address not in self._channels:
            self._channels[address] = self._dial(address)
        return raw_fetch(self._channels[address])(request, timeout=timeout_s)

    async def close(self) -> None:
        """Close the connections to other peers."""
        channels, self._channels = self._channels, {}
        await asyncio.gather(*(channel.close() for channel in channels.values()))


class _Relaying(Admission):
    """A request for a model that lies elsewhere."""

    async def wait(self) -> None:
        """Wait, giving signs of life, till the run and the pair are registered here."""
        if not self._request.HasField("via"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the request does not say who relays")
        with self._changes() as changed:
            if not self._is_admitted():
                await self._be_a_stranger(changed)

    async def hand_on(self, ask: Callable[[str, pb.FetchRequest, float], Any]) -> int:
        """Ask the holder's peer, write what it answers and return how many bytes that was."""
        request = self._request
        addresses = self._mailbox.addresses(request.training)
        if not request.id.node < len(addresses):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"there is no node {request.id.node}")
        address = addresses[request.id.node]
        relaying, nbytes = f"node {request.via}, which relays, got", 0
        call = ask(address, request, self._longest_s())
        try:
            while (frame := await read(call, SILENT_S)) is not grpc.aio.EOF:
                await self.write(frame)
                nbytes += len(frame)
        except TimeoutError:
            said = f"{relaying} nothing from {address} for {SILENT_S:g} s"
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, said) from None
        except grpc.aio.AioRpcError as error:
            said = f"{relaying} from {address}: {error.details()}"
            raise Refused(error.code(), said) from None
        finally:
            call.cancel()
        return nbytes

    def _longest_s(self) -> float:
        """Return for how long the requester will wait, within a cap."""
        remaining = self._context.time_remaining()
        return LONGEST_S if remaining is None else min(remaining, LONGEST_S)

    def _check_token(self, key: bytes) -> None:
        """Check that who asks has the key; the holder checks challenge and nonce."""
        request = self._request
        signed = (request.training, self._id, request.requester, request.nonce, request.challenge)
        if not token_is_good(request.token, key, *signed):
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "the token is not good for this")

    def _check_certificate(self, node: int) -> None:
        super()._check_certificate(self._request.requester)


def dialler(tls: TlsFiles | None) -> Callable[[str], Any]:
    """Return what connects to other peers as the peer that has these certificates."""

    def dial(address: str) -> Any:
        if tls is None:
            return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
        credentials = channel_credentials(tls)
        return grpc.aio.secure_channel(address, credentials, options=CLIENT_OPTIONS)

    return dial
