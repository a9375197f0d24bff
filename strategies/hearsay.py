"""What nodes say of others in one exchange: whose models are missing, and who is dead by that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..server_free.orders import Loss
from ..server_free.reachability import Probed
from .pairs import Pairs

__all__ = ["Hearsay", "first_read"]

_SILENT = frozenset({"unreachable", "silent", "not-started", "late"})
"""Kinds of loss that say how the holder's peer or client is when it is asked."""
_GONE = "gone"
"""The kind that says how the holder's client ended: that of the segment the round belongs to."""


@dataclass(slots=True)
class Hearsay:
    """The losses and probes in the replies of one exchange.

    Parameters
    ----------
    pairs : Pairs
        Which nodes can talk at all.
    first_read : int
        The first round whose models are read in this exchange. What is told of earlier rounds
        is old: its holder may be back since.

    Attributes
    ----------
    losses : list of Loss
        What was not told in an earlier exchange.
    unreached : dict of int to str
        Node -> why its peer, which could be reached before, cannot be now.
    """

    pairs: Pairs
    first_read: int = 0
    losses: list[Loss] = field(default_factory=list)
    unreached: dict[int, str] = field(default_factory=dict)

    def take(self, node: int, losses: Iterable[Loss], probed: Probed) -> None:
        """Take in what the reply of ``node`` says."""
        self.losses += losses
        self.pairs.take(node, probed)
        for one in probed.unreachable:
            if not self.pairs.never_talked(node, one.holder):
                where = f"node {one.holder}'s peer at {one.address}"
                self.unreached.setdefault(one.holder, f"{where} is not reached now, {one.why}")

    def dead(self) -> dict[int, str]:
        """Return the nodes that are named as dead, with the reason.

        Who never reached a node, or only through others, knows nothing of it.
        """
        never_talked = self.pairs.never_talked
        missed = {
            loss.holder: loss.reason
            for loss in self.losses
            if self._is_deadly(loss) and not never_talked(loss.reader, loss.holder)
        }
        return self.unreached | missed

    def _is_deadly(self, loss: Loss) -> bool:
        """Whether it says that its holder does not work now.

        A segment reads the models of the round before its own first: a holder that is silent then
        is silent now, but how its client of that round ended says nothing of the one at work.
        """
        if loss.kind == _GONE:
            return loss.round > self.first_read
        return loss.kind in _SILENT and loss.round >= self.first_read


def first_read(order: Mapping[str, Any]) -> int:
    """Return the first round whose models are read by who carries out an order."""
    return int(order["first"]) - 1 if "first" in order else int(order["round"])
