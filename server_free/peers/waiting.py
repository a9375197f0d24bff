"""How long one fetch waits for what: the rules of :class:`.links.Patience`, without any clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from .links import Missing, ModelId, Patience
from .training import Absent, NotReady

__all__ = ["Wait"]


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
    """

    id: ModelId
    address: str
    patience: Patience
    began: float
    heard: float = field(init=False)
    _at_work: float = field(init=False)

    def __post_init__(self) -> None:
        self.heard = self.began
        self._at_work = self.began

    def hear(self, answer: NotReady, now: float) -> None:
        """Note a sign of life."""
        self.heard = now
        if answer.started:
            self._at_work = now

    def give_up_at(self, answer: NotReady) -> float:
        """Return when a peer that goes on to answer like this is not waited for any longer."""
        ceiling = self.began + self.patience.ceiling_s
        return ceiling if answer.started else min(self._at_work + self.patience.start_s, ceiling)

    def overdue(self, answer: NotReady, now: float) -> Missing | None:
        """Return why to give up on a live peer, None to go on."""
        if now < self.give_up_at(answer):
            return None
        if answer.started or now >= self.began + self.patience.ceiling_s:
            return self.missing(
                "late",
                f"is alive, at round {answer.round}, and had no model of round {self.id.round} "
                f"after {self.patience.ceiling_s:g} s",
            )
        return self.missing(
            "not-started",
            f"is alive, but its client has not been at work for {self.patience.start_s:g} s",
        )

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
        """Return that the holder was known to be missing and has no model ready."""
        return self.missing("known", f"is known to be missing: {reason}")

    def missing(self, kind: str, what: str) -> Missing:
        """Return a :class:`Missing` whose reason names node and address, then says ``what``."""
        whose = "the own peer" if self.id.node < 0 else f"node {self.id.node}'s peer"
        return Missing(self.id, kind, f"{whose} at {self.address} {what}")
