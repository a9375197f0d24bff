"""What happens at a peer, told to who watches it: its log, and its metrics if they are wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ..sparing import Sparing, brief
from . import peer_pb2 as pb
from .training import Absent, Ready

__all__ = ["OUTCOMES", "FetchEvent", "Log", "Observer", "watched"]

OUTCOMES = ("served", "gone", "dropped", "refused", "challenged", "later", "left", "relayed")
"""A model was sent; its node is gone; it is no longer held; the request was refused; another token
was asked for; who asked was told to ask again, since the model is not here yet or too large for
the answer; who asked left before there was an answer, or before it was sent; what another peer
answered was handed on."""


@dataclass(slots=True)
class FetchEvent:
    """One request on the network or local side, from its coming to its end.

    Parameters
    ----------
    request : pb.FetchRequest
        What was asked, unchecked.
    outcome : str
        One of ``OUTCOMES``.
    reason : str
        Why no model was sent; "" if one was, or if who asked left.
    waited_s : float | None
        How long the answer took to come; None where there was none.
    nbytes : int
        Size of the model that was sent, or of the frames that were handed on.
    """

    request: pb.FetchRequest
    outcome: str = "left"
    reason: str = ""
    waited_s: float | None = None
    nbytes: int = 0
    _began: float = field(default_factory=time.monotonic)

    def settle(self, answer: Ready | Absent) -> None:
        """Note that there is an answer now; a model is served when it has been sent."""
        self.waited_s = time.monotonic() - self._began
        if isinstance(answer, Absent):
            self.outcome, self.reason = answer.kind, answer.reason

    def sent(self, answer: Ready | Absent) -> None:
        """Note that the answer has been sent whole."""
        if isinstance(answer, Ready):
            self.outcome, self.nbytes = "served", answer.model.nbytes

    def refuse(self, reason: str) -> None:
        """Note that nothing is sent, and why."""
        self.outcome, self.reason = "refused", reason


class Observer(Protocol):
    """Is told of events in the thread that serves: it must return at once."""

    def begun(self) -> None:
        """A request has come."""

    def fetched(self, event: FetchEvent) -> None:
        """A request has ended."""

    def published(self, nbytes: int) -> None:
        """A model of a client beside this peer has been put into the mailbox."""


@contextmanager
def watched(observers: Sequence[Observer], request: pb.FetchRequest) -> Iterator[FetchEvent]:
    """Yield the event of a request and tell it at its end, however that comes."""
    event = FetchEvent(request)
    for observer in observers:
        observer.begun()
    try:
        yield event
    finally:
        for observer in observers:
            observer.fetched(event)


class Log:
    """One line for each model that was refused or is missing, and no more than a few a minute."""

    def __init__(self) -> None:
        self._sparing = Sparing()

    def begun(self) -> None:
        """Say nothing."""

    def published(self, nbytes: int) -> None:
        """Say nothing."""

    def fetched(self, event: FetchEvent) -> None:
        """Say what was not served, and to whom."""
        if not event.reason:
            return
        request = event.request
        self._sparing.warning(
            f"gossip peer: {event.outcome} training={brief(request.training)} "
            f"key={request.run.hex()[:16]} segment={brief(request.segment)} "
            f"round={request.id.round} slot={request.id.slot} node={request.id.node} "
            f"requester={request.requester}: {brief(event.reason, 300)}"
        )
