"""Teleportation: k of n nodes active, their models mixed over a small topology of slots.

Y. Takezawa, S. U. Stich, "Scalable Decentralized Learning with Teleportation", ICLR 2025,
arXiv:2501.15259, Algorithm 1.
"""

from __future__ import annotations

from typing import Unpack

from ..server_free.errors import PlanError
from ..server_free.plans import Plan
from ..server_free.schedules import Teleport
from ..server_free.topologies import Topology
from .decentralized import Decentralized
from .settings import Options
from .specs import fitted

__all__ = ["Teleportation"]


class Teleportation(Decentralized):
    """Each round a fresh random ``num_active`` of the nodes take over the slots' models.

    Parameters
    ----------
    num_active : int (default: 8)
        k, the number of slots, 1..n; k = 1 is a single model walking over the nodes.
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
        num_active: int = 8,
        topology: str | Topology = "one-peer-exponential",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        if isinstance(num_active, bool) or not isinstance(num_active, int) or num_active < 1:
            raise PlanError(f"num_active is {num_active!r}, allowed is 1..n, the number of nodes.")
        self.num_active = num_active
        self.topology = topology

    def plan(self, num_nodes: int, num_rounds: int) -> Plan:
        """Return a fresh draw a round, over the topology of the slots."""
        schedule = Teleport(num_nodes, self.num_active, seed=self.settings.seed)
        return Plan(fitted(self.topology, self.num_active), schedule, num_rounds)

    def describe(self) -> str:
        """Return one line on who is active."""
        return f"{self.num_active} active nodes a round, topology over slots: {self.topology}"
