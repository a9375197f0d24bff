"""Graphs and matrices that users bring: what they mean, how they travel, what is refused."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive
from flwr_gossip.server_free.topologies import Topology
from flwr_gossip.server_free.topologies.explicit import parts

HALVES = [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]
CROSSED = [[0.5, 0, 0, 0.5], [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5]]


def edges(topology: Topology, round: int = 1) -> set[tuple[int, int]]:
    """Return (receiver, sender) of all positive weights off the diagonal."""
    pairs = np.argwhere(topology.matrix(round) > 0)
    return {(int(s), int(r)) for s, r in pairs if s != r}


def both_ways(graph: nx.Graph[Any]) -> set[tuple[int, int]]:
    return {pair for a, b in graph.edges if a != b for pair in ((a, b), (b, a))}


@st.composite
def connected_graphs(draw: st.DrawFn) -> nx.Graph[int]:
    """Draw a path with further edges, loops among them."""
    n = draw(st.integers(1, 12))
    graph = nx.path_graph(draw(st.permutations(range(n))))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=20))
    graph.add_edges_from(pairs)
    return graph


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray:
    """Draw (period, n, n) doubly stochastic matrices, the first of them with a cycle."""
    n, period = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    cycle = np.roll(np.eye(n), 1, axis=1)
    return np.array(
        [
            sum(share * np.eye(n)[rng.permutation(n)] for share in rng.dirichlet(np.ones(3))) / 2
            + (cycle if phase == 0 else np.eye(n)) / 2
            for phase in range(period)
        ]
    )


# --- networkx graphs ----------------------------------------------------------------------------


@settings(max_examples=60)
@given(graph=connected_graphs())
def test_any_connected_graph_makes_a_topology(graph: nx.Graph[int]) -> None:
    topology = topologies.from_networkx(graph)
    w = topology.matrix(1)
    topologies.check_doubly_stochastic(w, "w")
    assert (w == w.T).all()
    assert topology.symmetric
    assert topology.spec == "<networkx>"
    assert edges(topology) == both_ways(graph)
    others = {node: set(graph[node]) - {node} for node in graph}
    for a, b in both_ways(graph):
        assert w[a, b] == 1 / (1 + max(len(others[a]), len(others[b])))
    assert topology.max_degree == max(map(len, others.values()))
    for node in graph:
        assert topology.readers(node, 1) == tuple(sorted(others[node]))


def test_loops_and_parallel_edges_change_nothing() -> None:
    plain = topologies.from_networkx(nx.cycle_graph(5))
    loops = nx.cycle_graph(5)
    loops.add_edges_from((node, node) for node in range(5))
    parallel = nx.MultiGraph([*nx.cycle_graph(5).edges, (0, 1), (2, 2)])
    for graph in (loops, parallel):
        assert topologies.from_networkx(graph) == plain
        assert topologies.from_networkx(graph).max_degree == 2


def test_graph_nodes_count_in_sorted_order() -> None:
    letters = nx.Graph([("c", "a"), ("b", "b"), ("b", "c")])
    assert edges(topologies.from_networkx(letters)) == {(0, 2), (2, 0), (1, 2), (2, 1)}
    mixed = nx.Graph()
    mixed.add_nodes_from(["b", 1, "a"])
    mixed.add_edges_from([("b", "a"), ("a", 1)])
    assert edges(topologies.from_networkx(mixed)) == {(0, 2), (2, 0), (1, 2), (2, 1)}


def test_the_order_in_which_edges_are_added_does_not_matter() -> None:
    # The own weight is 1 minus a sum, whose last bit depends on the order of its terms.
    for seed in range(30):
        graph = nx.compose(nx.path_graph(40), nx.gnp_random_graph(40, 0.3, seed=seed))
        backwards = nx.Graph(list(graph.edges)[::-1])
        assert topologies.from_networkx(backwards) == topologies.from_networkx(graph)


def test_a_single_node_is_connected() -> None:
    for topology in (
        topologies.from_networkx(nx.empty_graph(1)),
        topologies.from_networkx(nx.Graph([(7, 7)])),
        topologies.from_matrix([[1.0]]),
        topologies.from_matrix(np.ones((3, 1, 1))),
    ):
        assert topology.num_nodes == 1
        assert topology.max_degree == 0
        assert topology.weights(0, 2) == {0: 1.0}


# --- matrices -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(stack=stacks())
def test_any_mixing_matrices_come_back_from_bytes(stack: np.ndarray) -> None:
    topology = topologies.from_matrix(stack if len(stack) > 1 else stack[0])
    again = topologies.from_bytes(topology.payload)
    assert again == topology
    assert topology.period == len(stack)
    assert topology.symmetric == all((w == w.T).all() for w in stack)
    links = [np.count_nonzero(w - np.diag(np.diag(w)), axis=1) for w in stack]
    assert topology.max_degree == np.max(links)
    for t in range(2 * len(stack)):
        w = stack[t % len(stack)]
        np.testing.assert_array_equal(topology.matrix(t + 1), w)
        np.testing.assert_array_equal(again.matrix(t + 1), w)
        for node in range(len(w)):
            readers = tuple(s for s in np.flatnonzero(w[:, node]).tolist() if s != node)
            assert again.readers(node, t + 1) == topology.readers(node, t + 1) == readers


def test_a_stack_of_one_matrix_is_that_matrix() -> None:
    w = topologies.ring(5).matrix(1)
    assert topologies.from_matrix(w[None]) == topologies.from_matrix(w)
    assert topologies.from_matrix(w.tolist()) == topologies.from_matrix(w)


def test_phases_take_turns_and_travel_in_the_plan() -> None:
    topology = topologies.from_matrix([HALVES, CROSSED])
    assert (topology.period, topology.max_degree, topology.symmetric) == (2, 1, True)
    assert [topology.weights(0, t) for t in (1, 2, 3)] == [
        {0: 0.5, 1: 0.5},
        {0: 0.5, 3: 0.5},
        {0: 0.5, 1: 0.5},
    ]
    # Two rounds average exactly, as with the one-peer exponential graph.
    product = topology.matrix(2) @ topology.matrix(1)
    np.testing.assert_array_equal(product, np.full((4, 4), 0.25))
    arrived = Plan.from_json(Plan(topology, AllActive(4), 6).to_json()).topology
    assert arrived == topology
    for t in (1, 2, 3, 4):
        np.testing.assert_array_equal(arrived.matrix(t), topology.matrix(t))


def test_a_zero_in_a_matrix_is_no_edge() -> None:
    swap = topologies.from_matrix([[0, 1], [1, 0]])
    assert swap.weights(0, 1) == {1: 1.0}
    assert swap.degree(0, 1) == 1
    payload = {"spec": "<matrix>", "phases": [[[[0, 1.0], [1, 0.0]], [[1, 1.0]]]]}
    assert topologies.from_bytes(json.dumps(payload).encode()).weights(0, 1) == {0: 1.0}
    assert topologies.from_bytes(json.dumps(payload).encode()).readers(1, 1) == ()


# --- bytes --------------------------------------------------------------------------------------


def test_a_graph_comes_back_from_bytes() -> None:
    topology = topologies.from_networkx(nx.petersen_graph())
    again = topologies.from_bytes(topology.payload)
    assert again == topology
    np.testing.assert_array_equal(again.matrix(1), topology.matrix(1))
    assert again != topologies.from_networkx(nx.cycle_graph(10))


def test_large_sparse_graphs_need_no_dense_matrix() -> None:
    n = 3000
    topologies.from_networkx(nx.cycle_graph(3))  # imports what it needs
    tracemalloc.start()
    try:
        payload = topologies.from_networkx(nx.cycle_graph(n)).payload
        again = topologies.from_bytes(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again.weights(0, 1).keys() == {0, 1, n - 1}
    assert peak < n * n  # bytes: an eighth of the (n, n) matrix


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (nx.empty_graph(3), "3 parts .* from node 0 to node 1 and back"),
        (nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)), "2 parts .* node 0 to node 3"),
        (nx.Graph([("ann", "bob"), ("cy", "di")]), "2 parts .* from node 'ann' to node 'cy'"),
        (nx.Graph([(0, 0), (1, 1)]), "2 parts .* node 0 to node 1"),
    ],
)
def test_graphs_in_several_parts_are_refused(graph: nx.Graph[Any], says: str) -> None:
    with pytest.raises(PlanError, match=f"<networkx> has {says}") as caught:
        topologies.from_networkx(graph)
    assert "Add an edge between them" in str(caught.value)
    assert "use topology 'alone'" in str(caught.value)


def test_matrices_in_several_parts_are_refused() -> None:
    for matrix, parted in (
        (np.eye(3), "3 parts .* from node 0 to node 1 and back"),
        (HALVES, "2 parts .* from node 0 to node 2 and back"),
        ([HALVES, np.eye(4), HALVES], "2 parts .* from node 0 to node 2 and back"),
        (np.eye(10)[::-1], "5 parts .* from node 0 to node 1 and back"),
    ):
        with pytest.raises(PlanError, match=f"the matrix has {parted}"):
            topologies.from_matrix(matrix)


def test_a_weight_one_way_only_is_no_way_back() -> None:
    tiny = 1e-10  # the sums are those of a mixing matrix to ten digits
    with pytest.raises(PlanError, match="the matrix has 2 parts"):
        topologies.from_matrix([[1 - tiny, tiny], [0, 1]])


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ([[0.5, 0.5], [0.6, 0.5]], r"row 1 of the matrix sums to 1\.1, allowed is 1"),
        ([[0.5, 0.5], [0.6, 0.4]], r"column 0 of the matrix sums to 1\.1, allowed is 1"),
        ([HALVES, np.eye(4) * 2], "row 0 of the matrix of phase 1 sums to 2, allowed is 1"),
        ([[1.5, -0.5], [-0.5, 1.5]], r"an entry of -0\.5, allowed are finite values >= 0"),
        ([[np.nan, 1], [1, 0]], "an entry of nan"),
        ([[np.inf, 0], [0, 1]], "an entry of inf"),
        ([[1.0, 0.0]], r"shape \(1, 2\), allowed is \(n, n\) with n >= 1, or \(period, n, n\)"),
        ([1.0], r"shape \(1,\)"),
        (1.0, r"shape \(\), allowed"),
        (np.zeros((0, 0)), r"shape \(0, 0\)"),
        (np.zeros((0, 3, 3)), r"shape \(0, 3, 3\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.ones((1, 1, 1, 1)), r"shape \(1, 1, 1, 1\)"),
        ([[1.0], [1.0, 2.0]], "the matrix is not an array of numbers"),
        ([["1"]], "type list with entries of type <U1, allowed is an array of real numbers"),
        ([[1 + 0j]], "entries of type complex128"),
        (None, "type NoneType with entries of type object"),
        ("ring", "type str"),
        (csr_array(np.eye(2)), r"type csr_array .* of a sparse matrix give \.toarray\(\)"),
    ],
)
def test_what_is_no_mixing_matrix_is_refused(matrix: Any, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        topologies.from_matrix(matrix)


def test_graphs_without_symmetric_weights_are_refused() -> None:
    for graph in (nx.DiGraph([(0, 1)]), nx.MultiDiGraph([(0, 1)])):
        with pytest.raises(PlanError, match="directed; give its W to from_matrix"):
            topologies.from_networkx(graph)
    with pytest.raises(PlanError, match="num_nodes is 0, allowed is a whole number from 1"):
        topologies.from_networkx(nx.Graph())


@pytest.mark.parametrize("graph", [None, "ring", [(0, 1)], np.eye(2), nx.Graph])
def test_what_is_no_graph_is_refused(graph: Any) -> None:
    with pytest.raises(PlanError, match=r"graph is of type \w+, allowed is a networkx\.Graph"):
        topologies.from_networkx(graph)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "not a topology"),
        (b"\xff", "not a topology"),
        (b"[]", "not a topology"),
        (b"{}", "not a topology"),
        (b"[" * 100_000, "not a topology"),
        (b'{"spec":"x","rows":[[[0,1.0]]]}', "not a topology: 'phases'"),
        (b'{"spec":"x","phases":"ab"}', "not a topology"),
        (b'{"spec":"x","phases":[[[0,1]]]}', "not a topology"),
        (b'{"spec":"x","phases":[[[[1e999,1]]]]}', "not a topology"),
        (b'{"spec":"x","phases":[]}', r"not a topology: its phases have \[\] rows"),
        (b'{"spec":"x","phases":[[]]}', r"not a topology: its phases have \[0\] rows"),
        (
            b'{"spec":"x","phases":[[[[0,1]]],[[[0,1]],[[1,1]]]]}',
            r"not a topology: its phases have \[1, 2\] rows",
        ),
        (b'{"spec":"x","phases":[[[]]]}', "row 0 of topology x sums to 0, allowed is 1"),
        (b'{"spec":"x","phases":[[[[1,1.0]]]]}', r"row 0 names sender 1, allowed is 0\.\.0"),
        (b'{"spec":"x","phases":[[[[-1,1.0]]]]}', r"row 0 names sender -1, allowed is 0\.\.0"),
        (b'{"spec":"x","phases":[[[[0,0.9]]]]}', r"row 0 of topology x sums to 0\.9"),
        (b'{"spec":"x","phases":[[[[0,NaN]]]]}', "entry of nan"),
        (b'{"spec":"x","phases":[[[[0,1]],[[0,1]]]]}', "column 0 of topology x sums to 2"),
        (b'{"spec":"x","phases":[[[[0,1]]],[[[0,2]]]]}', "row 0 of topology x of phase 1 sums"),
    ],
)
def test_bytes_that_are_no_topology_are_refused(payload: bytes, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        topologies.from_bytes(payload)


def test_parts_are_those_that_hang_together() -> None:
    labels = parts(5, [0, 1, 3], [1, 0, 4])
    assert labels[0] == labels[1]
    assert len(set(labels.tolist())) == 4  # from 3 to 4 there is no way back
    assert len(set(parts(5, [0, 1, 3], [1, 0, 4], "weak").tolist())) == 3
    assert parts(2, [], [], "weak").tolist() == [0, 1]
