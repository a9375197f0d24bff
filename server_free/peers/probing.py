"""Probes: can this client talk to the peers that it will need, and if not, why.

A probe is a call like a fetch, over the same connection and with the same credentials, but without
a model. gRPC's words for a connection that fails are dark; :mod:`.diagnosis` has better ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from ..orders import plugin_version
from ..reachability import Unreachable
from . import peer_pb2 as pb
from .certificates import covers
from .diagnosis import diagnose
from .links import WIRE_VERSION, Membership, ModelId, TlsFiles
from .mailbox import Mailbox
from .peer_pb2_grpc import PeerStub
from .tokens import fingerprint, make_nonce, make_token, token_is_good

__all__ = ["PROBE_S", "Prober", "answer_probe"]

PROBE_S = 5.0
"""How long a peer may take to answer, connection included."""
DIAGNOSE_S = 3.0


@dataclass(frozen=True, slots=True)
class Prober:
    """Probes for one client.

    Parameters
    ----------
    membership : Membership
        Who asks.
    tls_files : TlsFiles | None
        What it dials with.
    timeout_s : float
        How long a peer may take to answer.
    """

    membership: Membership
    tls_files: TlsFiles | None
    timeout_s: float

    async def probe(self, channel: Any, node: int) -> Unreachable | None:
        """Return why the peer of ``node`` cannot be talked to, None if it can.

        Where a call fails and its cause is gone by the time it is looked for, there is another.
        """
        try:
            reply = await self._ask(channel, node)
        except grpc.aio.AioRpcError as error:
            kind, reason, lasts = await self._explain(node, error)
            if lasts:
                return self._lost(node, kind, reason)
            try:
                reply = await self._ask(channel, node, wait_for_ready=True)
            except grpc.aio.AioRpcError as again:
                kind, reason, _ = await self._explain(node, again)
                return self._lost(node, kind, reason)
        if reply.protocol != WIRE_VERSION:
            return self._lost(node, "version", _versions(f"flwr-gossip {reply.version}"))
        return self._lost(node, reply.kind, reply.reason) if reply.kind else None

    async def _ask(self, channel: Any, node: int, wait_for_ready: bool = False) -> pb.ProbeReply:
        request = _request(self.membership, node)
        reply: pb.ProbeReply = await PeerStub(channel).Probe(
            request, timeout=self.timeout_s, wait_for_ready=wait_for_ready
        )
        return reply

    async def _explain(self, node: int, error: grpc.aio.AioRpcError) -> tuple[str, str, bool]:
        """Return kind and reason of a call that failed, and whether the cause is there still."""
        code, details = error.code(), error.details() or ""
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return "version", _versions("an older flwr-gossip, which knows no probes"), True
        address = self.membership.address_of(node)
        kind, reason = await asyncio.to_thread(diagnose, address, self.tls_files, DIAGNOSE_S)
        if kind != "failed":
            return kind, reason, True
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            waited = f"{self.timeout_s:g} s"
            return "timed-out", f"it accepts connections and did not answer within {waited}", False
        return "failed", f"{code.name.lower().replace('_', ' ')}: {details}", False

    def _lost(self, node: int, kind: str, reason: str) -> Unreachable:
        address = self.membership.address_of(node)
        return Unreachable(self.membership.node, node, address, kind, reason)


def _versions(theirs: str) -> str:
    return f"it runs {theirs}, this side flwr-gossip {plugin_version()}; install the same version"


def _request(membership: Membership, node: int) -> pb.ProbeRequest:
    nonce = make_nonce()
    return pb.ProbeRequest(
        protocol=WIRE_VERSION,
        training=membership.training,
        requester=membership.node,
        holder=node,
        run=fingerprint(membership.key),
        nonce=nonce,
        token=_token(membership.key, membership.training, node, membership.node, nonce),
        address=membership.address_of(membership.node),
    )


def _token(key: bytes, training: str, holder: int, requester: int, nonce: bytes) -> bytes:
    """Return the token of a probe: no fetch asks for that model, or without a challenge."""
    return make_token(key, training, ModelId(0, 0, holder), requester, nonce, b"")


def answer_probe(
    mailbox: Mailbox, request: pb.ProbeRequest, names: Iterable[bytes] | None
) -> pb.ProbeReply:
    """Return whether a fetch of this requester would be served.

    Parameters
    ----------
    mailbox : Mailbox
        Knows the run, if its client has been here already.
    request : pb.ProbeRequest
        Who asks. Nothing secret is told, so its nonce may come again.
    names : Iterable[bytes] | None
        The subject names of the certificate shown; None where none is demanded.
    """
    reply = pb.ProbeReply(version=plugin_version(), protocol=WIRE_VERSION)
    if request.protocol != WIRE_VERSION:
        return reply
    key = mailbox.key(request.training)
    reply.known = key is not None and fingerprint(key) == request.run
    if key is not None and reply.known and not _token_is_good(request, key):
        reply.kind, reply.reason = "token", "the token is not good for this run"
        return reply
    address = _address_of(mailbox, request, reply.known)
    if names is not None and not _covered(names, address):
        reply.kind = "certificate"
        reply.reason = (
            f"the certificate of node {request.requester} is not one for its own address "
            f"{address}; it needs that host as a subject alternative name"
        )
    return reply


def _token_is_good(request: pb.ProbeRequest, key: bytes) -> bool:
    if request.holder < 0:
        return False
    id, nonce = ModelId(0, 0, request.holder), request.nonce
    return token_is_good(request.token, key, request.training, id, request.requester, nonce, b"")


def _address_of(mailbox: Mailbox, request: pb.ProbeRequest, known: bool) -> str:
    """Return where the requester's peer is: as this run says, else as it says itself."""
    addresses = mailbox.addresses(request.training) if known else ()
    if len(addresses) == 1:
        return addresses[0]
    is_node = 0 <= request.requester < len(addresses)
    return addresses[request.requester] if is_node else request.address


def _covered(names: Iterable[bytes], address: str) -> bool:
    try:
        return covers(names, address)
    except ValueError:  # what it says of itself is no address
        return False
