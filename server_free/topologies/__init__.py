"""Topologies: who mixes with whom, and with what weight.

Every function here returns a :class:`Topology`; :func:`from_spec` builds one
from text such as ``"torus:4x8"``.
"""

from __future__ import annotations

from .base import Topology, check_doubly_stochastic
from .base_graphs import base_graph, simple_base_graph
from .catalogue import (
    alone,
    binary_tree,
    chain,
    complete,
    directed_ring,
    exponential,
    grid,
    hypercube,
    one_peer_exponential,
    one_peer_hypercube,
    ring,
    star,
    torus,
    two_cliques,
)
from .explicit import from_bytes, from_matrix, from_networkx
from .files import davis_southern_women, from_edge_file
from .random_graphs import erdos_renyi, random_regular, small_world
from .specs import SPECS, from_spec

__all__ = [
    "SPECS",
    "Topology",
    "alone",
    "base_graph",
    "binary_tree",
    "chain",
    "check_doubly_stochastic",
    "complete",
    "davis_southern_women",
    "directed_ring",
    "erdos_renyi",
    "exponential",
    "from_bytes",
    "from_edge_file",
    "from_matrix",
    "from_networkx",
    "from_spec",
    "grid",
    "hypercube",
    "one_peer_exponential",
    "one_peer_hypercube",
    "random_regular",
    "ring",
    "simple_base_graph",
    "small_world",
    "star",
    "torus",
    "two_cliques",
]
