"""Topologies that are not a formula: a networkx graph, matrices, or their bytes.

What is not connected is refused, since no number of rounds lets its parts agree.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PlanError
from .base import Row, Topology, check_doubly_stochastic, check_sums, undirected

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["from_bytes", "from_matrix", "from_neighbors", "from_networkx", "parts"]


def from_networkx(graph: nx.Graph[Any]) -> Topology:
    """Return the Metropolis-Hastings topology of an undirected, connected networkx graph.

    Node i of the topology is the i-th graph node in sorted order (insertion order where
    the names cannot be sorted). Self loops and parallel edges change nothing. Raises
    ``PlanError`` for a graph that is directed, empty or not connected.
    """
    import networkx

    if not isinstance(graph, networkx.Graph):
        raise PlanError(
            f"from_networkx: graph is of type {type(graph).__name__}, allowed is a networkx.Graph."
        )
    if graph.is_directed():
        raise PlanError("from_networkx: the graph is directed; give its W to from_matrix instead.")
    try:
        names = sorted(graph)
    except TypeError:
        names = list(graph)
    index = {name: i for i, name in enumerate(names)}
    return from_neighbors(
        "<networkx>", [{index[other] for other in graph[name]} for name in names], names
    )


def from_neighbors(
    spec: str, neighbors: Sequence[Collection[int]], names: Sequence[object] | None = None
) -> Topology:
    """Return the Metropolis-Hastings topology of a connected undirected graph.

    Parameters
    ----------
    spec : str
        What errors call it.
    neighbors : sequence of collections of int
        Of each node, 0..n-1, without repetition; i is among j's where j is among i's.
    names : sequence, optional
        What errors call the nodes, if not 0..n-1.
    """
    num_nodes = len(neighbors)
    listed = [sorted(others) for others in neighbors]  # sums are alike whatever order is given
    graph = undirected(spec, num_nodes, lambda node: listed[node], max_degree=num_nodes - 1)
    rows = [graph.weights(node, 1) for node in range(num_nodes)]
    _check_connected(spec, [rows], names or range(num_nodes))
    return _from_phases(spec, [rows])


def from_matrix(matrix: ArrayLike) -> Topology:
    """Return the topology with the given W, (n, n), or one W a phase, (period, n, n); floats.

    Each W is doubly stochastic; ``W[s, r]`` is the weight that receiver s gives sender r. Round
    t uses matrix (t - 1) mod period. Over a period, models must reach every node. Raises
    ``PlanError`` for anything else.
    """
    stack = _as_stack(matrix)
    for phase, dense in enumerate(stack):
        check_doubly_stochastic(dense, _name_of(phase, len(stack), "the matrix"))
    phases = [
        [{int(j): float(row[j]) for j in np.flatnonzero(row)} for row in dense] for dense in stack
    ]
    _check_connected("the matrix", phases, range(len(stack[0])))
    return _from_phases("<matrix>", phases)


def from_bytes(payload: bytes) -> Topology:
    """Return the topology that another's ``payload`` holds; the inverse of that field.

    Raises ``PlanError`` unless the bytes hold mixing matrices. Whether they connect all nodes
    was looked at where the payload was made.
    """
    try:
        content = json.loads(payload)
        phases = [
            [{int(j): float(w) for j, w in row} for row in rows] for rows in content["phases"]
        ]
        spec = str(content["spec"])
        if not phases or not phases[0] or any(len(rows) != len(phases[0]) for rows in phases):
            raise ValueError(f"its phases have {[len(rows) for rows in phases]} rows")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PlanError(f"these bytes are not a topology: {error}") from error
    for phase, rows in enumerate(phases):
        _check_rows(rows, _name_of(phase, len(phases), f"topology {spec}"))
    return _from_phases(
        spec, [[{j: w for j, w in row.items() if w > 0} for row in rows] for rows in phases]
    )


def parts(
    num_nodes: int,
    heads: ArrayLike,
    tails: ArrayLike,
    connection: Literal["strong", "weak"] = "strong",
) -> NDArray[np.int32]:
    """Return for each node the number of the part of the graph in which it lies, (n,) int32.

    Edges lead from ``heads[e]`` to ``tails[e]``. In a strong part there is a way from every node
    to every other; for a weak one the directions do not count. Memory O(n + edges).
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    # int32: scipy 1.11 silently takes a graph with wider indices for one without edges.
    ends = (np.asarray(heads, dtype=np.int32), np.asarray(tails, dtype=np.int32))
    graph = csr_array((np.ones(len(ends[0])), ends), shape=(num_nodes, num_nodes))
    labels: NDArray[np.int32] = connected_components(graph, connection=connection)[1]
    return labels


def _as_stack(matrix: ArrayLike) -> NDArray[np.float64]:
    """Return (period, n, n) float64 from numbers of that shape or (n, n)."""
    try:
        given = np.asarray(matrix)
    except ValueError as error:
        raise PlanError(f"the matrix is not an array of numbers: {error}") from error
    if given.dtype.kind not in "biuf":
        raise PlanError(
            f"the matrix is of type {type(matrix).__name__} with entries of type {given.dtype}, "
            "allowed is an array of real numbers; of a sparse matrix give .toarray()."
        )
    if given.ndim not in (2, 3) or given.shape[-1] != given.shape[-2] or not given.size:
        raise PlanError(
            f"the matrix has shape {given.shape}, allowed is (n, n) with n >= 1, or "
            "(period, n, n) with one matrix a phase."
        )
    return given.reshape(-1, *given.shape[-2:]).astype(np.float64)


def _name_of(phase: int, period: int, name: str) -> str:
    return name if period == 1 else f"{name} of phase {phase}"


def _check_connected(name: str, phases: Sequence[list[Row]], names: Sequence[object]) -> None:
    """Raise ``PlanError`` unless the edges of all phases lead from every node to every other."""
    heads = [r for rows in phases for r, row in enumerate(rows) for _ in row]
    tails = [s for rows in phases for row in rows for s in row]
    labels = parts(len(names), heads, tails)
    if (stray := int((labels != labels[0]).argmax())) > 0:
        raise PlanError(
            f"{name} has {labels.max() + 1} parts that never exchange a model: no path leads from "
            f"node {names[0]!r} to node {names[stray]!r} and back. Add an edge between them, or "
            "use topology 'alone' where no node is to mix with another."
        )


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


def _from_phases(spec: str, phases: Sequence[list[Row]]) -> Topology:
    """Return the topology with these rows, one list of them a phase."""
    readers = [_readers(rows) for rows in phases]
    listed = [[sorted(row.items()) for row in rows] for rows in phases]
    payload = json.dumps({"spec": spec, "phases": listed}).encode()
    degrees = (len(row.keys() - {node}) for rows in phases for node, row in enumerate(rows))
    return Topology(
        spec,
        len(phases[0]),
        len(phases),
        lambda node, phase: phases[phase][node],
        lambda node, phase: readers[phase][node],
        max(degrees),
        all(_is_symmetric(rows) for rows in phases),
        payload,
    )


def _readers(rows: list[Row]) -> list[set[int]]:
    """Return for each node who gives it a positive weight, itself excluded."""
    readers: list[set[int]] = [set() for _ in rows]
    for receiver, row in enumerate(rows):
        for sender in row.keys() - {receiver}:
            readers[sender].add(receiver)
    return readers


def _is_symmetric(rows: list[Row]) -> bool:
    return all(rows[j].get(i) == weight for i, row in enumerate(rows) for j, weight in row.items())
