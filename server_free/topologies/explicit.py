"""Topologies that are not a formula: a networkx graph, a matrix, or their bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import PlanError
from .base import Row, Topology, check_doubly_stochastic, check_sums, undirected

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["from_bytes", "from_matrix", "from_networkx"]


def from_networkx(graph: nx.Graph[Any]) -> Topology:
    """Return the Metropolis-Hastings topology of an undirected networkx graph.

    Node i of the topology is the i-th graph node in sorted order (insertion order where
    the names cannot be sorted). Raises ``PlanError`` for a directed or empty graph.
    """
    if graph.is_directed():
        raise PlanError("from_networkx: the graph is directed; give its W to from_matrix instead.")
    try:
        names = sorted(graph)
    except TypeError:
        names = list(graph)
    index = {name: i for i, name in enumerate(names)}
    adjacency = [frozenset(index[other] for other in graph[name]) for name in names]
    weighted = undirected(
        "<networkx>", len(names), lambda node: adjacency[node], max(map(len, adjacency), default=0)
    )
    return _from_rows("<networkx>", [weighted.weights(i, 1) for i in range(len(names))])


def from_matrix(matrix: ArrayLike) -> Topology:
    """Return the static topology with the given W, (n, n) floats, doubly stochastic."""
    dense = np.asarray(matrix, dtype=np.float64)
    check_doubly_stochastic(dense, "the matrix")
    rows = [{int(j): float(row[j]) for j in np.flatnonzero(row)} for row in dense]
    return _from_rows("<matrix>", rows)


def from_bytes(payload: bytes) -> Topology:
    """Return the topology that another's ``payload`` holds; the inverse of that field."""
    try:
        content = json.loads(payload)
        rows = [{int(j): float(w) for j, w in row} for row in content["rows"]]
        spec = str(content["spec"])
        if not rows:
            raise ValueError("it has no rows")
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise PlanError(f"these bytes are not a topology: {error}") from error
    _check_rows(rows, f"topology {spec}")
    return _from_rows(spec, [{j: w for j, w in row.items() if w > 0} for row in rows])


def _check_rows(rows: list[Row], name: str) -> None:
    """Raise ``PlanError`` unless the rows are a mixing matrix; costs no (n, n) memory."""
    entries = [(i, j, weight) for i, row in enumerate(rows) for j, weight in row.items()]
    for i, j, _ in entries:
        if not 0 <= j < len(rows):
            raise PlanError(f"row {i} names sender {j}, allowed is 0..{len(rows) - 1}.")
    row_sums, column_sums = np.zeros((2, len(rows)))
    for i, j, weight in entries:
        row_sums[i] += weight
        column_sums[j] += weight
    check_sums(np.array([weight for _, _, weight in entries]), row_sums, column_sums, name)


def _from_rows(spec: str, rows: list[Row]) -> Topology:
    readers: list[set[int]] = [set() for _ in rows]
    for receiver, row in enumerate(rows):
        for sender in row:
            if sender != receiver:
                readers[sender].add(receiver)
    listed = [sorted(row.items()) for row in rows]
    payload = json.dumps({"spec": spec, "rows": listed}).encode()
    return Topology(
        spec,
        len(rows),
        1,
        lambda node, _phase: rows[node],
        lambda node, _phase: readers[node],
        max(len(row.keys() - {node}) for node, row in enumerate(rows)),
        _is_symmetric(rows),
        payload,
    )


def _is_symmetric(rows: list[Row]) -> bool:
    return all(rows[j].get(i) == weight for i, row in enumerate(rows) for j, weight in row.items())
