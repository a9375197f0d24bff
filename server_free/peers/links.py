"""The transport seam: how a client talks to its own peer and to the peers of others.

``connect`` gives a :class:`PeerLink` for one message; which transport it uses follows from the
address of the own peer: ``memory:<id>`` stays in this process, everything else is gRPC.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Protocol, Self

from ..models import Model
from ..reachability import Relayed, Unreachable

__all__ = [
    "INITIAL",
    "KEY_BYTES",
    "WIRE_VERSION",
    "Membership",
    "Missing",
    "ModelId",
    "Patience",
    "PeerInfo",
    "PeerLink",
    "TlsFiles",
    "Traffic",
    "connect",
    "describe",
]

WIRE_VERSION = 2
"""Version of what peers say to each other; peers of different versions refuse each other."""
KEY_BYTES = 32
MISSING_KINDS = (
    *("unreachable", "silent", "not-started", "late", "gone"),
    *("dropped", "refused", "damaged", "no-base", "known"),
)


@dataclass(frozen=True, slots=True, order=True)
class ModelId:
    """Names one half-step model of a training.

    Parameters
    ----------
    round : int
        The round that made it, counted from 1; 0 is the initial arrays.
    slot : int
        The slot it belongs to.
    node : int
        Its holder; -1 is the peer itself, for the initial arrays.
    """

    round: int
    slot: int
    node: int

    def __post_init__(self) -> None:
        if self.round < 0 or self.slot < 0 or self.node < -1:
            raise ValueError(f"{self}: round and slot must be >= 0 and node >= -1")

    def __str__(self) -> str:
        return f"the model of round {self.round}, slot {self.slot}, node {self.node}"


INITIAL = ModelId(round=0, slot=0, node=-1)
"""The initial arrays: each peer holds its own copy."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a client must know to talk to the peers of one training.

    Parameters
    ----------
    training : str
        The training id.
    key : bytes
        The 32 random bytes of this run, made by the ServerApp.
    node : int
        The index of this client's node.
    segment : str
        Id of the segment being worked on; empty when only reading, as in evaluation.
    addresses : tuple[str, ...]
        The advertised ``host:port`` of each node's peer; one entry is the same for all nodes.
    first, last : int (default: 0)
        The rounds of the segment; 0 when only reading. Of a round before ``first`` this node will
        publish nothing more, whoever asks. Should its client fail, no model up to ``last`` will
        come, and nobody waits (``last`` = 0: of any round).
    known : Mapping[int, str] (default: none)
        Node -> reason: nodes that the ServerApp has lost. The link starts with them as known to
        be missing and does not tell others.
    final : bool (default: False)
        Whether the training ends with this message: its models may then make room for others.
    resumed : int (default: 0)
        The round after which the run goes on with a training that an earlier run began; that
        run's models of later rounds are dropped.
    cut : Mapping[int, str] (default: none)
        Node -> reason: nodes whose peers this client cannot reach, though others may. As ``known``,
        and others are never told.
    relayed : tuple[Relayed, ...] (default: none)
        The pairs without a connection of their own in which this node takes part.
    """

    training: str
    key: bytes
    node: int
    segment: str
    addresses: tuple[str, ...]
    first: int = 0
    last: int = 0
    known: Mapping[int, str] = field(default_factory=dict, hash=False)
    final: bool = False
    resumed: int = 0
    cut: Mapping[int, str] = field(default_factory=dict, hash=False)
    relayed: tuple[Relayed, ...] = ()

    def __post_init__(self) -> None:
        if not self.training:
            raise ValueError("Membership.training must not be empty")
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"Membership.key has {len(self.key)} bytes, must have {KEY_BYTES}")
        if not self.addresses:
            raise ValueError("Membership.addresses must not be empty")
        if self.node < 0 or (len(self.addresses) > 1 and self.node >= len(self.addresses)):
            raise ValueError(
                f"Membership.node is {self.node}, must be 0 to {len(self.addresses) - 1}"
            )
        if min(self.first, self.last, self.resumed) < 0:
            raise ValueError(
                f"Membership.first is {self.first}, last is {self.last} and resumed is "
                f"{self.resumed}, all must be >= 0"
            )

    def __repr__(self) -> str:
        return (
            f"Membership(training={self.training!r}, key=..., node={self.node}, "
            f"segment={self.segment!r}, addresses={self.addresses!r}, first={self.first}, "
            f"last={self.last}, known={dict(self.known)!r}, final={self.final}, "
            f"resumed={self.resumed}, cut={dict(self.cut)!r}, relayed={self.relayed!r})"
        )

    def relay_to(self, holder: int) -> int | None:
        """Return the node through whose peer ``holder``'s models come; None for no such."""
        pairs = (p.relay for p in self.relayed if (p.reader, p.holder) == (self.node, holder))
        return next(pairs, None)

    def address_of(self, node: int) -> str:
        """Return the advertised address of ``node``'s peer."""
        if len(self.addresses) == 1:
            return self.addresses[0]
        if not 0 <= node < len(self.addresses):
            raise ValueError(f"node {node} has no address: there are {len(self.addresses)} nodes")
        return self.addresses[node]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a fetch waits, in seconds, all > 0.

    Parameters
    ----------
    silence_s : float (default: 10.0)
        Without any sign of life from a peer for this long, its model is missing.
    start_s : float (default: 120.0)
        For a live peer whose client is not at work.
    ceiling_s : float (default: 900.0)
        For a live peer whose client is still training. Time in which that client waits for other
        nodes itself is not counted, but after three times as long the fetch ends in any case.
    """

    silence_s: float = 10.0
    start_s: float = 120.0
    ceiling_s: float = 900.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Patience.{item.name} is {value}, must be a number > 0")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a model did not come.

    Parameters
    ----------
    id : ModelId
        What was asked for.
    kind : str
        ``"unreachable"`` nobody listens there; ``"silent"`` no sign of life; ``"not-started"`` a
        live peer whose client is not at work; ``"late"`` its client still trains; ``"gone"`` its
        client ended or failed; ``"dropped"`` no longer held; ``"refused"`` the peer does not serve
        us; ``"damaged"`` not what the header states; ``"no-base"`` a difference to a model that
        did not arrive either; ``"known"`` others had found it missing.
    reason : str
        One sentence that names the node, its address and the value.
    """

    id: ModelId
    kind: str
    reason: str

    def __post_init__(self) -> None:
        if self.kind not in MISSING_KINDS:
            raise ValueError(f"Missing.kind is {self.kind!r}, must be one of {MISSING_KINDS}")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a link has moved: payload bytes from other nodes, bytes published, models fetched.

    ``bytes_relayed`` is the part of ``bytes_fetched`` that came through a third node's peer.
    """

    bytes_fetched: int = 0
    bytes_published: int = 0
    fetches: int = 0
    bytes_relayed: int = 0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files.

    Parameters
    ----------
    certfile, keyfile : str
        Certificate chain and private key that a peer shows, and its client when it dials others.
    ca_certfile : str | None (default: None)
        With it every peer must show a certificate of this CA (mutual TLS); without it the
        dialled peer is checked against the system's CAs and the dialling client is not.
    """

    certfile: str
    keyfile: str
    ca_certfile: str | None = None


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What a peer says about itself to its local client."""

    address: str
    version: str
    protocol: int
    tls: bool
    tls_files: TlsFiles | None = None


class PeerLink(Protocol):
    """One client's link to its own peer and to the peers of others, for one message."""

    def fetch(self, wants: Sequence[ModelId], patience: Patience) -> list[Model | Missing]:
        """Fetch all ``wants`` at the same time; the answers come in their order.

        Wants of the own node, and ``INITIAL``, go to the own peer. A remote fault is an answer,
        never an exception. The arrays must not be changed in place: they may be shared.
        """

    def fetch_each(self, wants: Sequence[ModelId], patience: Patience) -> Iterator[Model | Missing]:
        """Fetch as :meth:`fetch` does and give the answers one by one, in the order of ``wants``.

        Of large models few are received at a time: one that was given, and is held by nobody,
        makes room for others.
        """

    def publish(
        self, id: ModelId, model: Model, readers: Collection[int], *, keep: bool = False
    ) -> None:
        """Put ``model`` into the own peer, which keeps it till the nodes ``readers`` have it.

        With ``keep`` it also stays till clients have begun two newer segments there, whoever has
        read it. Returns when the peer has acknowledged.

        Raises
        ------
        MailboxFull
            If the peer's memory limit is reached.
        PeerUnreachable
            If the own peer does not answer.
        """

    def report_missing(self, missing: Mapping[int, str]) -> None:
        """Tell the own peer which nodes are missing, and why; it tells whoever asks it.

        From then on they are asked but not waited for, till they are heard at work again. Of nodes
        that only this client does not reach, or through a relay, nobody is told.
        """

    def probe(self, nodes: Collection[int]) -> list[Unreachable]:
        """Try to talk to the peers of ``nodes``, all at the same time; return those that fail.

        Takes at most some ten seconds. From then on those are asked but not waited for.
        """

    @property
    def known_missing(self) -> Mapping[int, str]:
        """Node -> reason: what this client reported and what other peers said."""

    @property
    def traffic(self) -> Traffic:
        """What this link has moved so far."""

    def close(self, failure: str | None = None) -> None:
        """Detach; with ``failure``, who waits for this node is told that it is gone and why."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def connect(
    local: str, membership: Membership, *, timeout_s: float = 10.0, return_s: float = 10.0
) -> PeerLink:
    """Return a link through the own peer at ``local``.

    Registers the training and its key there and, if ``membership.segment`` is not empty, attaches
    to it: from then on the end of this process is noticed by the peer.

    Parameters
    ----------
    local : str
        ``"memory:<id>"``, ``"unix:/path"`` or ``"host:port"``.
    membership : Membership
        The training, and who this client is in it.
    timeout_s : float (default: 10.0)
        How long the own peer may take to answer.
    return_s : float (default: 10.0)
        How long it may be away later, while it is restarted.

    Raises
    ------
    PeerUnreachable
        If the own peer does not answer in time.
    """
    if local.startswith("memory:"):
        from .memory import MemoryLink

        return MemoryLink(local, membership)
    from .grpc_link import GrpcLink

    return GrpcLink(local, membership, timeout_s=timeout_s, return_s=return_s)


def describe(local: str, *, timeout_s: float = 10.0) -> PeerInfo:
    """Ask the peer at ``local`` who it is; raises as :func:`connect` does."""
    if local.startswith("memory:"):
        from .memory import find_host

        return find_host(local).info
    from .grpc_link import describe_peer

    return describe_peer(local, timeout_s=timeout_s)
