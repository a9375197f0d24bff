"""A strategy's ``topology`` argument: a spec or an object, checked for size."""

from __future__ import annotations

from ..server_free.errors import PlanError
from ..server_free.topologies import SPECS, Topology, from_spec

__all__ = ["fitted"]


def fitted(topology: str | Topology, size: int) -> Topology:
    """Return the topology over ``size`` nodes or slots; ``PlanError`` when it does not fit."""
    if isinstance(topology, str):
        return from_spec(topology, num_nodes=size)
    if not isinstance(topology, Topology):
        raise PlanError(
            f"topology is {topology!r}, allowed is a spec ({', '.join(SPECS)}) or a Topology."
        )
    if topology.num_nodes != size:
        raise PlanError(
            f"topology {topology.spec!r} has {topology.num_nodes} nodes, but {size} are needed."
        )
    return topology
