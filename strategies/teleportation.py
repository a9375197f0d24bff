"""Teleportation: k of n nodes active, their models mixed over a small topology of slots.

Y. Takezawa, S. U. Stich, "Scalable Decentralized Learning with Teleportation", ICLR 2025,
arXiv:2501.15259, Algorithm 1.
"""

from __future__ import annotations

from typing import Literal, Unpack

from ..server_free.counts import as_count
from ..server_free.errors import PlanError
from ..server_free.plans import Plan
from ..server_free.schedules import Teleport
from ..server_free.searches import Search
from ..server_free.topologies import Topology
from .assignments import Assignment
from .attendance import Attendance
from .decentralized import Decentralized
from .results import GossipResult
from .search import TeleportationSearch
from .settings import Options
from .specs import checked, checked_spec, fitted

__all__ = ["Teleportation"]


class Teleportation(Decentralized):
    """Each round a fresh random ``num_active`` of the nodes take over the slots' models.

    Parameters
    ----------
    num_active : int or "auto" (default: 8)
        k, the number of slots, 1..n; k = 1 is a single model walking over the nodes. With "auto"
        ``start`` is that of :class:`TeleportationSearch` with the same topology and options: it
        trains for twice ``num_rounds`` and returns the best candidate's models.
    topology : str or Topology (default: "one-peer-exponential")
        Over the k slots.
    **options
        See :class:`flwr_gossip.strategies.Settings`; ``seed`` draws the active sets.

    Examples
    --------
    ::

        strategy = Teleportation(num_active=8, topology="one-peer-exponential")
        result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=200)
    """

    def __init__(
        self,
        num_active: int | Literal["auto"] = 8,
        topology: str | Topology = "one-peer-exponential",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        self.codec.refuse_feedback("the holders of Teleportation's slots change each round")
        self._search: TeleportationSearch | None = None
        count = as_count(num_active)
        if num_active == "auto":
            self._search = TeleportationSearch(checked_spec(topology), **options)
        elif count is None or count < 1:
            raise PlanError(
                f"num_active is {num_active!r}, allowed is 1..n, the number of nodes, or 'auto'; "
                "the topology is the second argument."
            )
        self.num_active = num_active if count is None else count
        self.topology = checked(topology)

    def search(self, num_nodes: int) -> Search | None:
        """Return the search over ``num_nodes`` nodes where num_active is "auto", else None."""
        return self._search.search(num_nodes) if self._search else None

    def plan(self, num_nodes: int, num_rounds: int) -> Plan:
        """Return a fresh draw a round, over the topology of the slots."""
        if self._search or self.num_active == "auto":
            raise PlanError("num_active is 'auto', so there is no one plan; see search(num_nodes).")
        if self.num_active > num_nodes:
            raise PlanError(
                f"num_active is {self.num_active}, allowed is 1..{num_nodes} (there are "
                f"{num_nodes} nodes); lower it, or start more nodes: in Flower's simulation with "
                f"flwr run ... --federation-config 'num-supernodes={self.num_active}'."
            )
        schedule = Teleport(num_nodes, self.num_active, seed=self.settings.seed)
        return Plan(fitted(self.topology, self.num_active), schedule, num_rounds)

    def _carry_out(self, attendance: Attendance, assignment: Assignment) -> GossipResult:
        """Train by the strategy's plan, or search."""
        if self._search:
            return self._search._carry_out(attendance, assignment)
        return super()._carry_out(attendance, assignment)

    def describe(self) -> str:
        """Return one line on who is active."""
        if self._search:
            return self._search.describe()
        return f"{self.num_active} active nodes a round, topology over slots: {self.topology}"
