"""Gossip: decentralized SGD over a topology, every node active in every round.

X. Lian et al., "Can Decentralized Algorithms Outperform Centralized Algorithms?", NeurIPS
2017, arXiv:1705.09056; A. Koloskova et al., ICML 2020, arXiv:2003.10422.
"""

from __future__ import annotations

from typing import Unpack

from ..server_free.plans import Plan
from ..server_free.schedules import AllActive
from ..server_free.topologies import Topology
from .decentralized import Decentralized
from .settings import Options
from .specs import checked, fitted

__all__ = ["Gossip"]


class Gossip(Decentralized):
    """Decentralized SGD: each round all nodes train and average with their neighbours.

    Parameters
    ----------
    topology : str or Topology (default: "ring")
        A spec such as "ring" or "torus:4x8", or a topology object.
    **options
        See :class:`flwr_gossip.strategies.Settings`.

    Examples
    --------
    ::

        strategy = Gossip("torus:4x4", evaluate_every=50)
        result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=500)
    """

    def __init__(self, topology: str | Topology = "ring", **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.topology = checked(topology)

    def plan(self, num_nodes: int, num_rounds: int) -> Plan:
        """Return all nodes active, over the topology."""
        topology = fitted(self.topology, num_nodes)
        if topology.period != 1:
            self.codec.refuse_feedback(f"{topology.spec} has other neighbours each round")
        return Plan(topology, AllActive(num_nodes), num_rounds)

    def describe(self) -> str:
        """Return one line on who is active."""
        return f"All nodes active, topology: {self.topology}"
