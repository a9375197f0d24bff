"""Schedules: which nodes are active in a round, and in which slot.

``AllActive`` is decentralized SGD (Lian et al. 2017, arXiv:1705.09056); ``Teleport`` is the
random active set of Teleportation (Takezawa & Stich, ICLR 2025, arXiv:2501.15259,
Algorithm 1). Draws are those of :mod:`~.draws`, the same with every library version.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .counts import check_count
from .draws import check_seed, sample
from .errors import PlanError

__all__ = ["AllActive", "Schedule", "Teleport", "check_seed", "sample"]


class Schedule(Hashable, Protocol):
    """Who is active in which round. A pure function of the round and the live nodes."""

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""

    @property
    def num_slots(self) -> int:
        """Number of slots: n for all active, k for Teleportation."""

    def active(self, round: int, live: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return slot -> node for round ``round`` (from 1); -1 marks a slot without a holder.

        ``live`` lists the nodes that can be active, sorted; ``None`` means all.
        """


@dataclass(frozen=True, slots=True)
class AllActive:
    """Every node works in every round, in the slot of its own index."""

    num_nodes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", check_count("num_nodes", self.num_nodes))

    @property
    def num_slots(self) -> int:
        """Number of slots, n."""
        return self.num_nodes

    def active(self, round: int, live: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return (0, 1, ..., n-1), with -1 in the place of a node that is not live."""
        _check_round(round)
        if live is None or len(live) == self.num_nodes:
            return tuple(range(self.num_nodes))
        present = set(live)
        return tuple(node if node in present else -1 for node in range(self.num_nodes))


@dataclass(frozen=True, slots=True)
class Teleport:
    """k of n nodes, uniform without replacement, in uniformly random slot order, fresh a round.

    Cost and memory of :meth:`active` are O(k), whatever n. With fewer than k live nodes the
    last slots have no holder (-1) in that round.
    """

    num_nodes: int
    num_active: int
    seed: int = 0

    def __post_init__(self) -> None:
        nodes = check_count("num_nodes", self.num_nodes)
        advice = f" (there are {nodes} nodes)"
        active = check_count("num_active", self.num_active, most=nodes, advice=advice)
        object.__setattr__(self, "num_nodes", nodes)
        object.__setattr__(self, "num_active", active)
        object.__setattr__(self, "seed", check_seed(self.seed))

    @property
    def num_slots(self) -> int:
        """Number of slots, k."""
        return self.num_active

    def active(self, round: int, live: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return slot -> node (Algorithm 1, line 3); -1 where too few nodes are live."""
        _check_round(round)
        population = self.num_nodes if live is None else len(live)
        count = min(self.num_active, population)
        drawn = sample(self.seed, round, population, count, purpose="teleport")
        nodes = drawn if live is None else [live[index] for index in drawn]
        return (*nodes, *(-1 for _ in range(self.num_active - count)))


def _check_round(round: int) -> None:
    if round < 1:
        raise PlanError(f"round is {round}; rounds count from 1.")
