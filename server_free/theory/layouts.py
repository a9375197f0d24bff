"""Where a picture puts the nodes of a topology: pure functions from a topology to points."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..topologies import Topology

__all__ = ["Edge", "edges", "is_wrapped", "positions"]

Edge = tuple[int, int]
Points = NDArray[np.float64]

_CIRCLES = (
    "alone",
    "base-graph",
    "complete",
    "directed-ring",
    "erdos-renyi",
    "exponential",
    "hypercube",
    "one-peer-exponential",
    "one-peer-hypercube",
    "random-regular",
    "ring",
    "simple-base-graph",
    "small-world",
)
_GRIDS = ("grid", "torus")
_LARGEST_SPRING = 500


def edges(topology: Topology, round: int) -> tuple[list[Edge], list[Edge]]:
    """Return this round's edges: (both ways, one way), each (sender, receiver).

    An edge that goes both ways is listed once, the smaller node first.
    """
    directed = {
        (sender, receiver)
        for receiver in range(topology.num_nodes)
        for sender in topology.weights(receiver, round)
        if sender != receiver
    }
    mutual = sorted(edge for edge in directed if edge[0] < edge[1] and edge[::-1] in directed)
    return mutual, sorted(edge for edge in directed if edge[::-1] not in directed)


def positions(topology: Topology, drawn: Iterable[Edge]) -> Points:
    """Return a point for each node, (n, 2) float64 within [-1, 1].

    ``drawn`` are the edges of all rounds in the picture; only layouts that follow no formula
    look at them, and those use a fixed seed.
    """
    count = topology.num_nodes
    kind, _, argument = topology.spec.partition(":")
    if kind in _GRIDS:
        return _grid(argument, count)
    if kind == "chain":
        return _circle(count + 1)[:count]  # open where its ends are
    if kind == "star":
        return np.vstack([np.zeros((1, 2)), _circle(count - 1)])
    if kind == "binary-tree":
        return _tree(count)
    if kind == "two-cliques" and count > 4:
        return _two_circles(count)
    if kind in _CIRCLES or count <= 3 or count > _LARGEST_SPRING:
        return _circle(count)
    return _springs(count, drawn)


def is_wrapped(topology: Topology, edge: Edge) -> bool:
    """Whether the edge leaves a torus on one side and comes back on the other."""
    kind, _, argument = topology.spec.partition(":")
    if kind != "torus":
        return False
    columns = int(argument.split("x")[1])
    (row, column), (other_row, other_column) = (divmod(node, columns) for node in edge)
    return abs(row - other_row) + abs(column - other_column) > 1


def _circle(count: int) -> Points:
    """Return points on the unit circle, clockwise, the first at the top."""
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / max(1, count)
    return np.column_stack([np.cos(angles), np.sin(angles)])


def _grid(argument: str, count: int) -> Points:
    columns = int(argument.split("x")[1])
    rows, column = np.divmod(np.arange(count), columns)
    points = np.column_stack([column, -rows]).astype(np.float64)
    return _fitted(points)


def _tree(count: int) -> Points:
    """Return the levels of a heap-ordered binary tree, the root at the top."""
    heap = np.arange(count) + 1
    level = np.floor(np.log2(heap)).astype(np.int64)
    across = (heap - 2.0**level + 0.5) / 2.0**level
    return _fitted(np.column_stack([across * level.max() * 1.6, -level.astype(np.float64)]))


def _two_circles(count: int) -> Points:
    first = (count + 1) // 2
    left, right = _circle(first), _circle(count - first)
    turned = np.column_stack([left[:, 1], left[:, 0]])  # node 0 of each faces the other circle
    apart = np.array([1.5, 0.0])
    facing = np.column_stack([-right[:, 1], right[:, 0]])
    return _fitted(np.vstack([turned - apart, facing + apart]))


def _springs(count: int, drawn: Iterable[Edge]) -> Points:
    import networkx as nx

    graph = nx.Graph(drawn)
    graph.add_nodes_from(range(count))
    if count <= 100 and nx.is_connected(graph):
        placed = nx.kamada_kawai_layout(graph)
    else:
        placed = nx.spring_layout(graph, seed=0)
    return _fitted(np.array([placed[node] for node in range(count)], dtype=np.float64))


def _fitted(points: Points) -> Points:
    """Return the points centred and scaled into [-1, 1], the shape kept."""
    low, high = points.min(axis=0), points.max(axis=0)
    fitted: Points = (points - (low + high) / 2) * 2 / max(float((high - low).max()), 1e-9)
    return fitted
