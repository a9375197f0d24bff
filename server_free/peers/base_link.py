"""What both kinds of link share: who is missing, what was moved, and how a link ends.

Who is missing is learnt from the own client (by ``report_missing``) and by hearsay. A node whose
client is heard at work is not missing; and hearsay about a node that was heard within the
patience for silence is not believed, so that one bad moment on one line does not last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from ..errors import PeerError
from .links import INITIAL, Membership, ModelId, Patience, Traffic
from .training import NotReady
from .waiting import Wait

__all__ = ["BaseLink", "long_wait_s"]

LONG_WAIT_S = 1.0
HANGS_AFTER = 0.75
"""Part of the ceiling: who gave no word for so long is not at work but hangs. Less than the whole
since a reader that gives up after a ceiling may have begun to wait before the holder's last word,
which may have ended a wait that was not long enough to be told."""


def long_wait_s(patience: Patience) -> float:
    """Return after how many seconds of waiting in a fetch the own peer is told of it."""
    return min(LONG_WAIT_S, patience.ceiling_s / 5)


class BaseLink:
    """State of one link; safe to use from several threads."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self._lock = threading.Lock()
        self._known: dict[int, str] = {**membership.known, **membership.cut}
        # Of these others are not told: it is this client that does not reach them.
        self._private = set(membership.cut)
        self._private |= {p.holder for p in membership.relayed if p.reader == membership.node}
        self._at_work: dict[int, float] = {}  # node -> when its client was last heard at work
        self._waiting = 0
        self._bytes_fetched = self._bytes_published = self._bytes_relayed = self._fetches = 0
        self._closed = False

    @property
    def known_missing(self) -> Mapping[int, str]:
        """Node -> reason: what this client reported and what peers said."""
        with self._lock:
            return dict(self._known)

    @property
    def traffic(self) -> Traffic:
        """What this link has moved so far."""
        with self._lock:
            return Traffic(
                self._bytes_fetched, self._bytes_published, self._fetches, self._bytes_relayed
            )

    def close(self, failure: str | None = None) -> None:
        """Detach from the own peer."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(None if exc is None else f"{type(exc).__name__}: {exc}")

    # ----- for the links themselves

    def _is_own(self, id: ModelId) -> bool:
        """Whether ``id`` is asked of the own peer."""
        return id == INITIAL or id.node == self.membership.node

    def _why_known(self, id: ModelId) -> str | None:
        """Return why the holder of ``id`` is known to be missing, None if it is not."""
        if self._is_own(id):
            return None
        with self._lock:
            return self._known.get(id.node)

    def _learn(self, missing: Mapping[int, str]) -> dict[int, str]:
        """Merge ``missing`` into what is known and return what is new."""
        with self._lock:
            known = self._known.keys() | {self.membership.node}
            new = {node: reason for node, reason in missing.items() if node not in known}
            self._known.update(new)
            return new

    def _learn_cut(self, reasons: Mapping[int, str]) -> None:
        """Learn of nodes that this client does not reach; others are never told."""
        with self._lock:
            self._private.update(reasons)
        self._learn(reasons)

    def _to_tell(self, missing: Mapping[int, str]) -> dict[int, str]:
        """Return who of the missing others are to be told of."""
        with self._lock:
            return {node: why for node, why in missing.items() if node not in self._private}

    def _is_node(self, node: int) -> bool:
        """Whether there can be such a node: no peer fills this link's memory with others."""
        addresses = self.membership.addresses
        return node >= 0 and (len(addresses) == 1 or node < len(addresses))

    def _credible(self, wait: Wait, state: NotReady) -> dict[int, str]:
        """Return who is missing by the hearsay in ``state``, less who was heard of late."""
        silent_since = wait.heard - wait.patience.silence_s
        with self._lock:
            return {
                node: reason
                for node, reason in state.known_missing.items()
                if self._is_node(node) and self._at_work.get(node, silent_since) <= silent_since
            }

    def _recognise(self, wait: Wait, state: NotReady) -> bool:
        """Note what a holder's peer says of it; return whether it was thought to be missing."""
        node = wait.id.node
        if self._is_own(wait.id) or not state.at_work(HANGS_AFTER * wait.patience.ceiling_s):
            return False
        with self._lock:
            self._at_work[node] = wait.heard
            return self._known.pop(node, None) is not None

    def _wait(self, id: ModelId, address: str, patience: Patience) -> Wait:
        """Begin to wait for a model."""
        with self._lock:
            was_at_work = id.node in self._at_work
        return Wait(id, address, patience, time.monotonic(), was_at_work)

    def _begin_waiting(self) -> bool:
        """Count a fetch that waits long; return whether it is the only one."""
        with self._lock:
            self._waiting += 1
            return self._waiting == 1

    def _end_waiting(self) -> bool:
        """Count it no longer; return whether none is left."""
        with self._lock:
            self._waiting -= 1
            return self._waiting == 0

    def _count_fetch(self, id: ModelId, nbytes: int) -> None:
        if self._is_own(id):
            return
        with self._lock:
            self._bytes_fetched += nbytes
            self._fetches += 1
            if self.membership.relay_to(id.node) is not None:
                self._bytes_relayed += nbytes

    def _count_publish(self, nbytes: int) -> None:
        with self._lock:
            self._bytes_published += nbytes

    def _check_open(self) -> None:
        if self._closed:
            raise PeerError("this link is closed; open another one with connect()")

    def _mark_closed(self) -> bool:
        """Mark the link closed and return whether it was open."""
        with self._lock:
            was_open, self._closed = not self._closed, True
            return was_open
