"""What both kinds of link share: who is missing, what was moved, and how a link ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from ..errors import PeerError
from .links import INITIAL, Membership, ModelId, Traffic

__all__ = ["BaseLink"]


class BaseLink:
    """State of one link; safe to use from several threads."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self._lock = threading.Lock()
        self._known: dict[int, str] = dict(membership.known)
        self._traffic = Traffic()
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
            return self._traffic

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
            new = {node: reason for node, reason in missing.items() if node not in self._known}
            self._known.update(new)
            return new

    def _count_fetch(self, id: ModelId, nbytes: int) -> None:
        if self._is_own(id):
            return
        with self._lock:
            self._traffic = replace(
                self._traffic,
                bytes_fetched=self._traffic.bytes_fetched + nbytes,
                fetches=self._traffic.fetches + 1,
            )

    def _count_publish(self, nbytes: int) -> None:
        with self._lock:
            self._traffic = replace(
                self._traffic, bytes_published=self._traffic.bytes_published + nbytes
            )

    def _check_open(self) -> None:
        if self._closed:
            raise PeerError("this link is closed; open another one with connect()")

    def _mark_closed(self) -> bool:
        """Mark the link closed and return whether it was open."""
        with self._lock:
            was_open, self._closed = not self._closed, True
            return was_open
