"""Topologies: who mixes with whom, and with what weight.

Every function here returns a :class:`Topology`; :func:`from_spec` builds one
from text such as ``"torus:4x8"``.
"""

from __future__ import annotations

from .base import Topology, check_doubly_stochastic
from .catalogue import (
    alone,
    chain,
    complete,
    exponential,
    one_peer_exponential,
    ring,
    star,
    torus,
)
from .explicit import from_bytes, from_matrix, from_networkx
from .specs import SPECS, from_spec

__all__ = [
    "SPECS",
    "Topology",
    "alone",
    "chain",
    "check_doubly_stochastic",
    "complete",
    "exponential",
    "from_bytes",
    "from_matrix",
    "from_networkx",
    "from_spec",
    "one_peer_exponential",
    "ring",
    "star",
    "torus",
]
