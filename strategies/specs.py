"""A strategy's ``topology`` argument: a spec or an object, checked as soon as it can be."""

from __future__ import annotations

from ..server_free.errors import PlanError
from ..server_free.topologies import SPECS, Topology, from_spec
from ..server_free.topologies.specs import maker_of

__all__ = ["checked", "checked_spec", "fitted"]


def checked(topology: str | Topology) -> str | Topology:
    """Return the topology; ``PlanError`` for what is none for any number of nodes."""
    if isinstance(topology, str):
        maker_of(topology)
    elif not isinstance(topology, Topology):
        raise PlanError(
            f"topology is {topology!r}, allowed is a spec ({', '.join(SPECS)}) or a Topology."
        )
    return topology


def checked_spec(topology: str | Topology) -> str:
    """Return a search's spec; ``PlanError`` for a topology of a fixed number of slots."""
    if isinstance(topology, str):
        maker_of(topology)
        return topology
    raise PlanError(
        f"topology is {topology!r}; with num_active='auto' give a spec that does for any number "
        "of slots, such as 'one-peer-exponential' or 'ring'."
    )


def fitted(topology: str | Topology, size: int) -> Topology:
    """Return the topology over ``size`` nodes or slots; ``PlanError`` when it does not fit."""
    if isinstance(topology, str):
        return from_spec(topology, num_nodes=size)
    if topology.num_nodes != size:
        raise PlanError(
            f"topology {topology.spec!r} has {topology.num_nodes} nodes, but {size} are needed."
        )
    return topology
