"""The peer plane of a training: where each node's models are served.

In a deployment every SuperNode has a peer of its own. In Flower's simulation the ServerApp
keeps one gRPC peer host for all virtual nodes, in a process beside its own (gRPC servers and
forks, such as those of data loaders, do not mix); in this process, there is one in memory.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..server_free.errors import RosterError
from ..server_free.models import Model
from .roster import Member

if TYPE_CHECKING:
    from ..server_free.peers.memory import MemoryHost
    from ..server_free.peers.process import PeerProcess

__all__ = ["Plane", "open_plane"]


@dataclass(frozen=True, slots=True)
class Plane:
    """How clients reach the mailboxes.

    ``local`` is the embedded host's address or "" when each client has its own peer;
    ``sequential`` says that clients may run one after another, so that a message must
    carry one round.
    """

    kind: str
    local: str
    addresses: tuple[str, ...]
    sequential: bool
    host: MemoryHost | PeerProcess | None = None

    @property
    def deployed(self) -> bool:
        """Whether every node has a peer of its own."""
        return self.host is None


@contextmanager
def open_plane(
    members: Sequence[Member],
    training: str,
    key: bytes,
    initial: Model,
    concurrent: bool,
    store: Path | None = None,
    resumed: int = 0,
) -> Iterator[Plane]:
    """Open the plane that fits the members' introductions; an embedded host has the initial.

    ``concurrent`` says that clients in this process all run at the same time, ``store`` where an
    embedded host keeps its models on disk, ``resumed`` after which round the run goes on.
    """
    if any(member.intro.peer for member in members):
        yield _deployed(members)
        return
    with _embedded_host(members, store) as (kind, host):
        host.open(training, key, resumed)
        host.put_initial(training, initial)
        sequential = kind == "simulation" or not concurrent
        yield Plane(kind, host.local_address, (host.address,), sequential, host)


def _deployed(members: Sequence[Member]) -> Plane:
    for index, member in enumerate(members):
        if not member.intro.peer:
            raise RosterError(_no_peer(index, member))
    addresses = tuple(member.intro.peer for member in members)
    return Plane("deployment", "", addresses, sequential=False)


@contextmanager
def _embedded_host(
    members: Sequence[Member], store: Path | None
) -> Iterator[tuple[str, MemoryHost | PeerProcess]]:
    here = (socket.gethostname(), os.getpid())
    if all((m.intro.host, m.intro.process) == here for m in members):
        from ..server_free.peers.memory import MemoryHost  # slow to import
        from ..server_free.peers.store import Store

        kept = None if store is None else Store(store)
        with MemoryHost(max_bytes=machine_bytes(), store=kept) as memory:
            yield "in-process", memory
        return
    for index, member in enumerate(members):
        if not member.intro.simulated:
            raise RosterError(_no_peer(index, member))
        if member.intro.host != here[0]:
            raise RosterError(
                f"node {index} is simulated on machine {member.intro.host!r}, the ServerApp runs "
                f"on {here[0]!r}; a simulation must stay on one machine."
            )
    from ..server_free.peers.process import PeerProcess  # a simulation alone needs gRPC here

    with PeerProcess(max_bytes=machine_bytes(), store=store) as host:
        yield "simulation", host


def machine_bytes() -> int:
    """Return the machine's memory: what an embedded host may hold, since it holds all models."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _no_peer(index: int, member: Member) -> str:
    return (
        f"node {index} ({member.identity}) has no gossip-peer in its node-config; start its "
        "SuperNode with 'flwr-gossip supernode ... -- <flower-supernode options>', or start "
        "'flwr-gossip peer' and give --node-config 'gossip-peer=\"unix:PATH\"'."
    )
