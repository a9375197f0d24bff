"""The topologies that are formulas. Each says only its neighbours or its shifts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from ..errors import PlanError
from .base import Modes, Shift, Topology, cayley, check_num_nodes, circulant, undirected

__all__ = [
    "alone",
    "chain",
    "complete",
    "exponential",
    "one_peer_exponential",
    "ring",
    "star",
    "torus",
]


def alone(num_nodes: int) -> Topology:
    """Return the topology without edges: every node trains for itself."""
    return circulant("alone", num_nodes, [{0: 1.0}])


def ring(num_nodes: int) -> Topology:
    """Return the undirected cycle; degree 2 (1 for two nodes)."""
    return _closed("ring", (num_nodes,), [(-1,), (1,)])


def chain(num_nodes: int) -> Topology:
    """Return the path 0 - 1 - ... - n-1; degree 2, 1 at the ends."""

    def modes() -> Modes:
        # Weight 1/3 to each neighbour (1/2 for two nodes) and the rest kept: a reflecting walk.
        edge = 1 / 3 if num_nodes > 2 else 1 / 2
        angles = np.pi * np.arange(num_nodes) / num_nodes
        return Modes.of(1 - 2 * edge * (1 - np.cos(angles)), alike=num_nodes <= 2)

    return undirected(
        "chain",
        num_nodes,
        lambda node: [other for other in (node - 1, node + 1) if 0 <= other < num_nodes],
        min(2, num_nodes - 1),
        modes,
    )


def star(num_nodes: int) -> Topology:
    """Return the star with centre 0; degree n-1 there and 1 elsewhere."""

    def modes() -> Modes:
        # W = I - L / n with the Laplacian's eigenvalues 0, 1 (n - 2 times) and n.
        laplacian = np.array([0.0, *[1.0] * (num_nodes - 2), *[num_nodes] * (num_nodes > 1)])
        return Modes.of(1 - laplacian / num_nodes, alike=num_nodes <= 2)

    return undirected(
        "star",
        num_nodes,
        lambda node: range(1, num_nodes) if node == 0 else (0,),
        num_nodes - 1,
        modes,
    )


def complete(num_nodes: int) -> Topology:
    """Return W = 11^T / n: every round averages all nodes; degree n-1."""
    check_num_nodes("complete", num_nodes)
    row = dict.fromkeys(range(num_nodes), 1.0 / num_nodes)

    @cache
    def modes(_phase: int) -> Modes:
        return Modes.of(np.arange(num_nodes) == 0)

    return Topology(
        "complete",
        num_nodes,
        1,
        lambda node, _phase: row,
        lambda node, _phase: (other for other in range(num_nodes) if other != node),
        num_nodes - 1,
        symmetric=True,
        modes_of=modes,
    )


def torus(rows: int, columns: int) -> Topology:
    """Return the (rows, columns) grid that closes on itself; degree 4 from 3x3 on.

    Node ``r * columns + c`` sits in row r and column c.
    """
    if rows < 1 or columns < 1:
        raise PlanError(f"torus:{rows}x{columns}: both sides must be 1 or more.")
    return _closed(f"torus:{rows}x{columns}", (rows, columns), [(-1, 0), (1, 0), (0, -1), (0, 1)])


def exponential(num_nodes: int) -> Topology:
    """Return the static exponential graph: node i receives from i + 2^j, all j at once.

    Degree ceil(log2 n), equal weights; directed (Ying et al., 2021, arXiv:2110.13363).
    """
    hops = [2**j for j in range(_num_doublings(num_nodes))]
    return circulant("exponential", num_nodes, [dict.fromkeys([0, *hops], 1.0 / (1 + len(hops)))])


def one_peer_exponential(num_nodes: int) -> Topology:
    """Return the one-peer exponential graph: in phase p node i averages with i + 2^p.

    Degree 1, period max(1, ceil(log2 n)), any n; for a power of two one period is the
    exact average (Ying et al., 2021, arXiv:2110.13363). Directed.
    """
    halves = [{0: 0.5, 2**p: 0.5} for p in range(_num_doublings(num_nodes))]
    return circulant("one-peer-exponential", num_nodes, halves or [{0: 1.0}])


def _num_doublings(num_nodes: int) -> int:
    """Return ceil(log2 n): how many powers of two lie below n."""
    return (num_nodes - 1).bit_length()


def _closed(spec: str, sides: Sequence[int], shifts: Iterable[Shift]) -> Topology:
    """Return the regular undirected graph with these shifts and their inverses.

    Its Metropolis-Hastings weights are 1 / (1 + degree) throughout.
    """
    check_num_nodes(spec, min(sides))
    here = (0,) * len(sides)
    around = {
        tuple(step % side for step, side in zip(shift, sides, strict=True)) for shift in shifts
    }
    others = sorted(around - {here})
    return cayley(spec, sides, [dict.fromkeys([here, *others], 1.0 / (1 + len(others)))])
