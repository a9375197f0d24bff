"""How long one fetch waits for what: the rules of :class:`.links.Patience`, without any clock.

The ceiling counts only while the holder works. While it waits for others itself it is not late:
of a chain of nodes that wait for one that hangs, only that one's readers give up, and the rest go
on when these do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .links import Missing, ModelId, Patience
from .training import Absent, NotReady

__all__ = ["Wait"]

LONGEST = 3
"""A fetch ends after this many ceilings, even if the holder waits for others all the time."""


@dataclass(slots=True)
class Wait:
    """One fetch that waits; all times are seconds on one monotonic clock.

    Parameters
    ----------
    id : ModelId
        What is wanted.
    address : str
        Where its holder's peer is.
    patience : Patience
        The limits.
    began : float
        When the fetch began.
    was_at_work : bool (default: False)
        Whether the holder's client was at work before. Then there is nothing to wait for when it
        is not any more: it ended without a word, or its peer was started again without it.
    """

    id: ModelId
    address: str
    patience: Patience
    began: float
    was_at_work: bool = False
    heard: float = field(init=False)
    _started: float = field(init=False)  # when the client was last at work, or began to be gone
    _idle: bool = False
    _others: float = 0.0  # seconds for which the holder has waited for others
    _others_since: float | None = None

    def __post_init__(self) -> None:
        self.heard = self.began
        self._started = self.began

    def hear(self, answer: NotReady, now: float) -> None:
        """Note a sign of life."""
        self.heard = now
        if answer.started or (self.was_at_work and not self._idle):
            self._started = now
        self._idle = not answer.started
        self.was_at_work = self.was_at_work or answer.started
        if self._others_since is not None:
            self._others += now - self._others_since
        self._others_since = now if answer.waiting else None

    def give_up_at(self, answer: NotReady) -> float:
        """Return when a peer that goes on to answer like this is not waited for any longer."""
        longest = self.began + LONGEST * self.patience.ceiling_s
        if answer.waiting:
            return longest
        ceiling = min(self.began + self._others + self.patience.ceiling_s, longest)
        return ceiling if answer.started else min(self._started + self._start_s, ceiling)

    @property
    def _start_s(self) -> float:
        """How long a live peer may be without its client."""
        patience = self.patience
        return patience.silence_s if self.was_at_work else patience.start_s

    def overdue(self, answer: NotReady, now: float) -> Missing | None:
        """Return why to give up on a live peer, None to go on."""
        if now < self.give_up_at(answer):
            return None
        if answer.started or now < self._started + self._start_s:
            return self.missing("late", self._how_late(answer, now))
        if self.was_at_work:
            return self.missing(
                "gone",
                f"is alive, but its client, which was at work, has been gone for {self._start_s:g} "
                "s (the peer was started again, perhaps)",
            )
        return self.missing(
            "not-started",
            f"is alive, but its client has not been at work for {self.patience.start_s:g} s",
        )

    def _how_late(self, answer: NotReady, now: float) -> str:
        waited_s = self.patience.ceiling_s if not answer.waiting else now - self.began
        text = (
            f"is alive, at round {answer.round}, and had no model of round {self.id.round} "
            f"after {waited_s:g} s"
        )
        if answer.waiting:
            return f"{text}, waiting for others itself"
        return f"{text}, a quarter of strategy.start(timeout=...): raise it for longer rounds"

    def silent(self) -> Missing:
        """Return that nothing was heard."""
        return self.missing("silent", f"gave no sign of life for {self.patience.silence_s:g} s")

    def unreachable(self, detail: str) -> Missing:
        """Return that nobody can be reached at the address."""
        return self.missing(
            "unreachable", f"could not be reached for {self.patience.silence_s:g} s: {detail}"
        )

    def absent(self, answer: Absent) -> Missing:
        """Return what the peer said about a model that will not come."""
        return self.missing(answer.kind, f"says about {self.id}: {answer.reason}")

    def known(self, reason: str) -> Missing:
        """Return that the holder was known to be missing and has no model ready.

        A reason that others gave names node and address already.
        """
        if reason.startswith(self._whose):
            return Missing(self.id, "known", reason)
        return self.missing("known", f"is known to be missing: {reason}")

    def missing(self, kind: str, what: str) -> Missing:
        """Return a :class:`Missing` whose reason names node and address, then says ``what``."""
        return Missing(self.id, kind, f"{self._whose} at {self.address} {what}")

    @property
    def _whose(self) -> str:
        return "the own peer" if self.id.node < 0 else f"node {self.id.node}'s peer"
