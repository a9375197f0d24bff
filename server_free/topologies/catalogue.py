"""The topologies that are formulas. Each says only its neighbours or its shifts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from ..counts import check_count
from ..errors import PlanError
from .base import Modes, Row, Shift, Topology, cayley, check_num_nodes, circulant, undirected

__all__ = [
    "alone",
    "binary_tree",
    "chain",
    "complete",
    "directed_ring",
    "exponential",
    "grid",
    "hypercube",
    "one_peer_exponential",
    "one_peer_hypercube",
    "ring",
    "star",
    "torus",
    "two_cliques",
]


def alone(num_nodes: int) -> Topology:
    """Return the topology without edges: every node trains for itself."""
    return circulant("alone", num_nodes, [{0: 1.0}])


def ring(num_nodes: int) -> Topology:
    """Return the undirected cycle; degree 2 (1 for two nodes)."""
    return _closed("ring", (num_nodes,), [(-1,), (1,)])


def directed_ring(num_nodes: int) -> Topology:
    """Return the directed cycle: node i averages with i + 1; degree 1."""
    return circulant("directed-ring", num_nodes, [{0: 0.5, 1: 0.5}])


def chain(num_nodes: int) -> Topology:
    """Return the path 0 - 1 - ... - n-1; degree 2, 1 at the ends."""
    num_nodes = check_num_nodes("chain", num_nodes)

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
    num_nodes = check_num_nodes("star", num_nodes)

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


def binary_tree(num_nodes: int) -> Topology:
    """Return the binary tree in heap order: node i's parent is (i - 1) // 2; degree 3 inside."""
    num_nodes = check_num_nodes("binary-tree", num_nodes)

    def neighbors(node: int) -> list[int]:
        around = [2 * node + 1, 2 * node + 2, *([(node - 1) // 2] if node else [])]
        return [other for other in around if other < num_nodes]

    most = 3 if num_nodes > 4 else min(2, num_nodes - 1)
    return undirected("binary-tree", num_nodes, neighbors, most)


def two_cliques(num_nodes: int) -> Topology:
    """Return two complete graphs joined by one edge; degree about n / 2.

    The first has floor(n / 2) nodes; its last node has the edge to the other's first.
    """
    num_nodes = check_num_nodes("two-cliques", num_nodes)
    half = num_nodes // 2
    bridge = {half - 1: [half], half: [half - 1]} if half else {}

    def neighbors(node: int) -> list[int]:
        own = range(half) if node < half else range(half, num_nodes)
        return [other for other in [*own, *bridge.get(node, [])] if other != node]

    def degree(node: int) -> int:
        return (half if node < half else num_nodes - half) - 1 + (node in bridge)

    most = num_nodes - half if half else 0
    return undirected("two-cliques", num_nodes, neighbors, most, degree_of=degree)


def complete(num_nodes: int) -> Topology:
    """Return W = 11^T / n: every round averages all nodes; degree n-1."""
    num_nodes = check_num_nodes("complete", num_nodes)

    @cache
    def row() -> Row:
        return dict.fromkeys(range(num_nodes), 1.0 / num_nodes)

    @cache
    def modes(_phase: int) -> Modes:
        return Modes.of(np.arange(num_nodes) == 0)

    return Topology(
        "complete",
        num_nodes,
        1,
        lambda node, _phase: row(),
        lambda node, _phase: (other for other in range(num_nodes) if other != node),
        num_nodes - 1,
        symmetric=True,
        modes_of=modes,
    )


def torus(rows: int, columns: int) -> Topology:
    """Return the (rows, columns) grid that closes on itself; degree 4 from 3x3 on.

    Node ``r * columns + c`` sits in row r and column c.
    """
    spec, rows, columns = _sides("torus", rows, columns)
    return _closed(spec, (rows, columns), [(-1, 0), (1, 0), (0, -1), (0, 1)])


def grid(rows: int, columns: int) -> Topology:
    """Return the (rows, columns) grid with borders; degree 4 inside, 3 and 2 at the border.

    Node ``r * columns + c`` sits in row r and column c.
    """
    spec, rows, columns = _sides("grid", rows, columns)

    def neighbors(node: int) -> list[int]:
        row, column = divmod(node, columns)
        return [
            *[r * columns + column for r in (row - 1, row + 1) if 0 <= r < rows],
            *[row * columns + c for c in (column - 1, column + 1) if 0 <= c < columns],
        ]

    return undirected(spec, rows * columns, neighbors, min(2, rows - 1) + min(2, columns - 1))


def hypercube(num_nodes: int) -> Topology:
    """Return the hypercube: a node's neighbours differ in one bit of its number; degree log2 n.

    Raises ``PlanError`` unless n is a power of two.
    """
    sides = _bits("hypercube", num_nodes)
    return _closed("hypercube", sides, _unit_shifts(len(sides)))


def one_peer_hypercube(num_nodes: int) -> Topology:
    """Return the one-peer hypercube: in phase p node i averages with i XOR 2^p.

    Degree 1, period max(1, log2 n), and one period is the exact average. Undirected.
    Raises ``PlanError`` unless n is a power of two.
    """
    sides = _bits("one-peer-hypercube", num_nodes)
    lowest_first = reversed(_unit_shifts(len(sides)))
    here = (0,) * len(sides)
    return cayley("one-peer-hypercube", sides, [{here: 0.5, flip: 0.5} for flip in lowest_first])


def exponential(num_nodes: int) -> Topology:
    """Return the static exponential graph: node i receives from i + 2^j, all j at once.

    Degree ceil(log2 n), equal weights; directed (Ying et al., 2021, arXiv:2110.13363).
    """
    num_nodes = check_num_nodes("exponential", num_nodes)
    hops = [2**j for j in range(_num_doublings(num_nodes))]
    return circulant("exponential", num_nodes, [dict.fromkeys([0, *hops], 1.0 / (1 + len(hops)))])


def one_peer_exponential(num_nodes: int) -> Topology:
    """Return the one-peer exponential graph: in phase p node i averages with i + 2^p.

    Degree 1, period max(1, ceil(log2 n)), any n; for a power of two one period is the
    exact average (Ying et al., 2021, arXiv:2110.13363). Directed.
    """
    num_nodes = check_num_nodes("one-peer-exponential", num_nodes)
    halves = [{0: 0.5, 2**p: 0.5} for p in range(_num_doublings(num_nodes))]
    return circulant("one-peer-exponential", num_nodes, halves or [{0: 1.0}])


def _num_doublings(num_nodes: int) -> int:
    """Return ceil(log2 n): how many powers of two lie below n."""
    return (num_nodes - 1).bit_length()


def _sides(form: str, rows: int, columns: int) -> tuple[str, int, int]:
    """Return the spec and both sides; ``PlanError`` unless they are whole, from 1."""
    spec = f"{form}:{rows}x{columns}"
    return spec, check_count(f"{spec}: rows", rows), check_count(f"{spec}: columns", columns)


def _bits(form: str, num_nodes: int) -> tuple[int, ...]:
    """Return a side of 2 for each bit of a node's number, or one side of 1 for a single node."""
    num_nodes = check_num_nodes(form, num_nodes)
    if num_nodes & (num_nodes - 1):
        raise PlanError(
            f"{form}: num_nodes is {num_nodes}, allowed are powers of two; "
            "base-graph:1 and one-peer-exponential take any number of nodes."
        )
    return (2,) * _num_doublings(num_nodes) or (1,)


def _unit_shifts(num_sides: int) -> list[Shift]:
    """Return one step along each side, the first side first."""
    return [tuple(int(axis == side) for axis in range(num_sides)) for side in range(num_sides)]


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
