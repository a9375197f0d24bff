"""The record of one round on the simulated clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..plans import VACANT, Plan

__all__ = ["Step"]

RowId = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What happened in a round t: who trained when, on what, and what it cost.

    Parameters
    ----------
    round : int
        t, from 1.
    plan : Plan
        The plan with the live lists that were decided so far; right for rounds t - 1 and t.
    active : tuple of int
        Slot -> the node that trained, ``VACANT`` where none did: no live node had the slot, or its
        holder was offline. The h of such a slot stays what it was.
    start, finish : (k,) float64
        Simulated seconds since the start of the run at which each slot's training began and
        ended; NaN where nobody trained.
    seconds : float
        When the last slot of this round was done, or given up.
    arrivals : mapping of (reader's slot, slot) to float
        When the h of round t - 1 of each source was there. Empty in round 1.
    missing : mapping of (reader's slot, t - 1, slot) to str
        The rows that a slot which trained had to do without, and why: "lost", "sender offline",
        "receiver offline", or "untrained" when the slot itself has no h of round t - 1. The
        weights of the others are to be renormalised.
    sent, received : mapping of node to int
        Bytes of the models of round t - 1, whole or broken off; only the nodes that are involved.
    offline : frozenset of int
        The nodes that were offline when they were needed.
    """

    round: int
    plan: Plan
    active: tuple[int, ...]
    start: NDArray[np.float64]
    finish: NDArray[np.float64]
    seconds: float
    arrivals: Mapping[tuple[int, int], float]
    missing: Mapping[RowId, str]
    sent: Mapping[int, int]
    received: Mapping[int, int]
    offline: frozenset[int]

    @property
    def bytes(self) -> int:
        """Bytes that all nodes sent, those that did not arrive included."""
        return sum(self.sent.values())

    @property
    def median_s(self) -> float:
        """When the median of the slots that trained was done; ``seconds`` if none did."""
        done = self.finish[np.isfinite(self.finish)]
        return float(np.median(done)) if done.size else self.seconds

    @property
    def absent_rows(self) -> frozenset[RowId]:
        """The rows of this round's own models that nobody will get: (reader's slot, t, slot).

        What ``missing`` of round t + 1 says again; needed after the last round, to mix the result.
        """
        silent = [slot for slot, node in enumerate(self.active) if node == VACANT]
        readers = range(len(self.active))
        return frozenset((reader, self.round, slot) for slot in silent for reader in readers)
