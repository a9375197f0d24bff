"""Topologies from text: ``ring``, ``torus:4x8`` and the like."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import PlanError
from . import catalogue
from .base import Topology

__all__ = ["SPECS", "from_spec"]


def _torus(argument: str, num_nodes: int) -> Topology:
    match = re.fullmatch(r"(\d+)x(\d+)", argument)
    if match is None:
        raise PlanError(f"topology 'torus:{argument}': write torus:RxC, for instance torus:4x8.")
    topology = catalogue.torus(int(match[1]), int(match[2]))
    if topology.num_nodes != num_nodes:
        raise PlanError(
            f"topology 'torus:{argument}' has {topology.num_nodes} nodes, but num_nodes is "
            f"{num_nodes}; rows times columns must be {num_nodes}."
        )
    return topology


_PLAIN: dict[str, Callable[[int], Topology]] = {
    "alone": catalogue.alone,
    "chain": catalogue.chain,
    "complete": catalogue.complete,
    "exponential": catalogue.exponential,
    "one-peer-exponential": catalogue.one_peer_exponential,
    "ring": catalogue.ring,
    "star": catalogue.star,
}
_WITH_ARGUMENT: dict[str, tuple[str, Callable[[str, int], Topology]]] = {
    "torus": ("torus:RxC", _torus),
}

SPECS: tuple[str, ...] = tuple(sorted([*_PLAIN, *(form for form, _ in _WITH_ARGUMENT.values())]))
"""The forms that :func:`from_spec` understands."""


def from_spec(spec: str, num_nodes: int) -> Topology:
    """Return the topology that ``spec`` describes for ``num_nodes`` nodes.

    Raises ``PlanError`` (a ``ValueError``) that names the spec and the allowed forms.
    """
    name, colon, argument = spec.partition(":")
    if name in _PLAIN and not colon:
        return _PLAIN[name](num_nodes)
    if name in _WITH_ARGUMENT:
        return _WITH_ARGUMENT[name][1](argument, num_nodes)
    raise PlanError(f"topology {spec!r} is unknown; allowed are {', '.join(SPECS)}.")
