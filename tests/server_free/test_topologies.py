"""Every topology, whatever its form and size, keeps the contract; and is the graph it claims."""

from __future__ import annotations

import json
import tracemalloc

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.topologies import Topology, from_spec
from flwr_gossip.server_free.topologies.base import circulant

# A form that from_spec knows and that is missing here fails the first test.
SYMMETRIC = {"alone", "chain", "complete", "ring", "star", "torus:RxC"}
DIRECTED = {"exponential", "one-peer-exponential"}
FORMS = sorted(SYMMETRIC | DIRECTED)
SPARSE = sorted({*FORMS} - {"complete"})
sizes = st.sampled_from([1, 2, 3, 4, 16, 31, 32, 33]) | st.integers(1, 40)


def spec_of(form: str, n: int, rows: int = 1) -> str:
    """Return a spec of the form for n nodes; ``rows`` divides n."""
    return f"torus:{rows}x{n // rows}" if form == "torus:RxC" else form


@st.composite
def some(draw: st.DrawFn, forms: list[str] | None = None) -> Topology:
    """Draw a topology of any form and size."""
    form, n = draw(st.sampled_from(forms or FORMS)), draw(sizes)
    rows = draw(st.sampled_from([r for r in range(1, n + 1) if n % r == 0]))
    return from_spec(spec_of(form, n, rows), num_nodes=n)


def edges(topology: Topology, round: int = 1) -> set[tuple[int, int]]:
    """Return (receiver, sender) of all positive weights off the diagonal."""
    pairs = np.argwhere(topology.matrix(round) > 0)
    return {(int(s), int(r)) for s, r in pairs if s != r}


def both_ways(graph: nx.Graph) -> set[tuple[int, int]]:
    return {pair for a, b in graph.edges if a != b for pair in ((a, b), (b, a))}


# --- the contract, for every form -------------------------------------------------------------


def test_every_form_is_tested_here() -> None:
    assert tuple(FORMS) == topologies.SPECS


@given(topology=some(), later=st.integers(0, 100))
def test_every_mixing_matrix_is_doubly_stochastic(topology: Topology, later: int) -> None:
    w = topology.matrix(1 + later)
    assert w.dtype == np.float64
    assert w.shape == (topology.num_nodes, topology.num_nodes)
    assert w.min() >= 0
    np.testing.assert_allclose(w.sum(axis=0), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(w.sum(axis=1), 1, rtol=0, atol=1e-12)


@given(topology=some(), later=st.integers(0, 100))
def test_rows_readers_and_degree_agree_with_the_matrix(topology: Topology, later: int) -> None:
    round = 1 + later
    w = topology.matrix(round)
    for node in range(topology.num_nodes):
        row = topology.weights(node, round)
        assert list(row) == np.flatnonzero(w[node]).tolist()
        assert list(row.values()) == w[node][list(row)].tolist()
        readers = [s for s in np.flatnonzero(w[:, node]).tolist() if s != node]
        assert list(topology.readers(node, round)) == readers
        assert topology.degree(node, round) == np.count_nonzero(w[node]) - (w[node, node] > 0)


@given(topology=some())
def test_every_node_keeps_a_share_of_its_own_model(topology: Topology) -> None:
    for round in range(1, topology.period + 1):
        assert np.diag(topology.matrix(round)).min() > 0


@given(topology=some())
def test_rounds_repeat_with_the_period_and_not_sooner(topology: Topology) -> None:
    period = topology.period
    phases = [topology.matrix(round).tobytes() for round in range(1, 2 * period + 1)]
    assert phases[:period] == phases[period:]
    assert len(set(phases)) == period
    assert [topology.phase(round) for round in range(1, period + 2)] == [*range(period), 0]


@given(topology=some(sorted(SYMMETRIC)))
def test_undirected_topologies_are_symmetric_to_the_bit(topology: Topology) -> None:
    w = topology.matrix(1)
    assert (w == w.T).all()


@given(topology=some(sorted({*FORMS} - {"alone"})))
def test_models_reach_every_node_over_a_period(topology: Topology) -> None:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(topology.num_nodes))
    for round in range(1, topology.period + 1):
        graph.add_edges_from(edges(topology, round))
    assert nx.is_strongly_connected(graph)


@given(n=sizes)
def test_alone_is_the_identity(n: int) -> None:
    np.testing.assert_array_equal(topologies.alone(n).matrix(1), np.eye(n))


@given(topology=some())
def test_a_spec_names_its_topology(topology: Topology) -> None:
    again = from_spec(topology.spec, num_nodes=topology.num_nodes)
    assert again == topology
    assert [again.matrix(t + 1).tobytes() for t in range(again.period)] == [
        topology.matrix(t + 1).tobytes() for t in range(topology.period)
    ]


@given(topology=some())
def test_a_row_can_be_changed_without_changing_the_topology(topology: Topology) -> None:
    topology.weights(0, 1)[0] = 99.0
    assert topology.weights(0, 1)[0] <= 1.0


# --- the graph that it claims to be -----------------------------------------------------------


@settings(max_examples=40)
@given(n=sizes)
def test_plain_graphs_are_those_of_networkx(n: int) -> None:
    assert edges(topologies.ring(n)) == both_ways(nx.cycle_graph(n))
    assert edges(topologies.chain(n)) == both_ways(nx.path_graph(n))
    assert edges(topologies.star(n)) == both_ways(nx.star_graph(n - 1))
    assert edges(topologies.complete(n)) == both_ways(nx.complete_graph(n))
    np.testing.assert_array_equal(topologies.complete(n).matrix(1), np.full((n, n), 1 / n))


@settings(max_examples=40)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_rows_and_columns_of_a_torus_close_on_themselves(rows: int, columns: int) -> None:
    graph = nx.Graph()
    graph.add_nodes_from(range(rows * columns))
    for row in np.arange(rows * columns).reshape(rows, columns):
        nx.add_cycle(graph, row.tolist())
    for column in np.arange(rows * columns).reshape(rows, columns).T:
        nx.add_cycle(graph, column.tolist())
    topology = topologies.torus(rows, columns)
    assert edges(topology) == both_ways(graph)
    grid = nx.grid_2d_graph(rows, columns, periodic=True)
    grid = nx.relabel_nodes(grid, {(r, c): r * columns + c for r, c in grid})
    assert edges(topology) == both_ways(grid)


@given(n=st.integers(1, 20))
def test_a_torus_of_one_row_is_the_ring(n: int) -> None:
    ring = topologies.ring(n).matrix(1)
    np.testing.assert_array_equal(topologies.torus(1, n).matrix(1), ring)
    np.testing.assert_array_equal(topologies.torus(n, 1).matrix(1), ring)


@pytest.mark.parametrize(
    ("topology", "degrees"),
    [
        (topologies.alone(5), {0}),
        (topologies.ring(1), {0}),
        (topologies.ring(2), {1}),
        (topologies.ring(7), {2}),
        (topologies.chain(7), {1, 2}),
        (topologies.star(7), {1, 6}),
        (topologies.complete(7), {6}),
        (topologies.torus(3, 4), {4}),
        (topologies.torus(2, 4), {3}),
        (topologies.torus(2, 2), {2}),
        (topologies.exponential(8), {3}),
        (topologies.exponential(9), {4}),
        (topologies.one_peer_exponential(1), {0}),
        (topologies.one_peer_exponential(9), {1}),
    ],
    ids=lambda value: f"{value.spec}-{value.num_nodes}" if isinstance(value, Topology) else None,
)
def test_degrees(topology: Topology, degrees: set[int]) -> None:
    nodes = range(topology.num_nodes)
    for round in range(1, topology.period + 1):
        assert {topology.degree(node, round) for node in nodes} == degrees


def test_metropolis_hastings_weights() -> None:
    third = 1 / 3
    chain = [
        [2 * third, third, 0, 0],
        [third, third, third, 0],
        [0, third, third, third],
        [0, 0, third, 2 * third],
    ]
    np.testing.assert_allclose(topologies.chain(4).matrix(1), chain, rtol=0, atol=1e-15)


def test_one_peer_exponential_is_directed_and_takes_one_hop_after_another() -> None:
    topology = topologies.one_peer_exponential(6)
    assert topology.period == 3
    assert [topology.weights(0, t) for t in (1, 2, 3)] == [{0: 0.5, hop: 0.5} for hop in (1, 2, 4)]
    assert topology.readers(0, 2) == (4,)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 64])
@pytest.mark.parametrize("start", [1, 2, 7])
def test_one_peer_exponential_averages_exactly_in_a_period(n: int, start: int) -> None:
    topology = topologies.one_peer_exponential(n)
    assert topology.period == max(1, int(np.log2(n)))
    product = np.eye(n)
    for round in range(start, start + topology.period):
        product = topology.matrix(round) @ product
    np.testing.assert_array_equal(product, np.full((n, n), 1 / n))


def test_exponential_receives_from_powers_of_two_ahead() -> None:
    assert topologies.exponential(9).weights(7, 1) == {6: 0.2, 7: 0.2, 8: 0.2, 0: 0.2, 2: 0.2}
    assert topologies.exponential(8).weights(0, 1) == dict.fromkeys([0, 1, 2, 4], 0.25)


@pytest.mark.parametrize("form", SPARSE)
def test_a_sparse_row_needs_no_memory_for_all_nodes(form: str) -> None:
    n = 100_000
    tracemalloc.start()
    try:
        topology = from_spec(spec_of(form, n, rows=400), num_nodes=n)
        topology.weights(n // 2, 3)  # a star looks once at its centre
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for node in (1, n // 3, n - 1):
            assert len(topology.weights(node, 2)) <= 18
            assert len(topology.readers(node, 2)) <= 17
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < n  # bytes: less than one for each node


# --- graphs and matrices ----------------------------------------------------------------------


@settings(max_examples=40)
@given(n=st.integers(1, 12), seed=st.integers(0, 1000), p=st.floats(0, 1))
def test_any_undirected_graph_makes_a_topology(n: int, seed: int, p: float) -> None:
    graph = nx.gnp_random_graph(n, p, seed=seed)
    topology = topologies.from_networkx(graph)
    w = topology.matrix(1)
    topologies.check_doubly_stochastic(w, "w")
    assert edges(topology) == both_ways(graph)
    degree = dict(graph.degree)
    for a, b in graph.edges:
        assert w[a, b] == 1 / (1 + max(degree[a], degree[b]))
    assert [topology.readers(i, 1) for i in range(n)] == [tuple(sorted(graph[i])) for i in range(n)]


def test_graph_nodes_count_in_sorted_order() -> None:
    assert edges(topologies.from_networkx(nx.Graph([("c", "a"), ("b", "b")]))) == {(0, 2), (2, 0)}
    mixed = nx.Graph()
    mixed.add_nodes_from(["b", 1, "a"])
    mixed.add_edge("b", "a")
    assert edges(topologies.from_networkx(mixed)) == {(0, 2), (2, 0)}


@settings(max_examples=40)
@given(n=st.integers(1, 8), seed=st.integers(0, 1000), terms=st.integers(1, 5))
def test_any_doubly_stochastic_matrix_comes_back_from_bytes(n: int, seed: int, terms: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(terms))
    w = sum(share * np.eye(n)[rng.permutation(n)] for share in shares)
    topology = topologies.from_matrix(w)
    np.testing.assert_array_equal(topology.matrix(5), w)
    again = topologies.from_bytes(topology.payload)
    assert again == topology
    np.testing.assert_array_equal(again.matrix(1), w)
    for node in range(n):
        readers = [s for s in np.flatnonzero(w[:, node]).tolist() if s != node]
        assert list(again.readers(node, 1)) == list(topology.readers(node, 1)) == readers


def test_a_graph_comes_back_from_bytes() -> None:
    topology = topologies.from_networkx(nx.petersen_graph())
    again = topologies.from_bytes(topology.payload)
    assert again == topology
    np.testing.assert_array_equal(again.matrix(1), topology.matrix(1))
    assert again != topologies.from_networkx(nx.cycle_graph(10))


def test_large_sparse_graphs_come_back_without_a_dense_matrix() -> None:
    n = 3000
    payload = topologies.from_networkx(nx.cycle_graph(n)).payload
    tracemalloc.start()
    try:
        again = topologies.from_bytes(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again.weights(0, 1).keys() == {0, 1, n - 1}
    assert peak < n * n  # bytes: an eighth of the (n, n) matrix


def test_a_zero_in_a_matrix_is_no_edge() -> None:
    swap = topologies.from_matrix([[0, 1], [1, 0]])
    assert swap.weights(0, 1) == {1: 1.0}
    assert swap.degree(0, 1) == 1
    rows = {"spec": "<matrix>", "rows": [[[0, 1.0], [1, 0.0]], [[1, 1.0]]]}
    assert topologies.from_bytes(json.dumps(rows).encode()).weights(0, 1) == {0: 1.0}
    assert topologies.from_bytes(json.dumps(rows).encode()).readers(1, 1) == ()


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["", "rings", "ring:3", "ring:", "Ring", "grid", ":", "<matrix>"])
def test_an_unknown_spec_is_named_with_those_that_are_known(spec: str) -> None:
    with pytest.raises(ValueError, match="allowed are alone, chain, complete") as caught:
        from_spec(spec, num_nodes=4)
    assert isinstance(caught.value, PlanError)
    assert repr(spec) in str(caught.value)


@pytest.mark.parametrize("argument", ["", "4", "2x", "2x2x1", "-2x-2", "2X2", "2 x 2"])
def test_a_torus_needs_rows_and_columns(argument: str) -> None:
    with pytest.raises(PlanError, match=f"'torus:{argument}': write torus:RxC"):
        from_spec(f"torus:{argument}", num_nodes=4)


def test_a_torus_must_have_as_many_places_as_nodes() -> None:
    with pytest.raises(PlanError, match=r"'torus:2x3' has 6 nodes, but num_nodes is 7.*must be 7"):
        from_spec("torus:2x3", num_nodes=7)
    with pytest.raises(PlanError, match="torus:0x3: both sides must be 1 or more"):
        from_spec("torus:0x3", num_nodes=0)


@pytest.mark.parametrize("form", sorted({*FORMS} - {"torus:RxC"}))
@pytest.mark.parametrize("n", [0, -1, -7])
def test_sizes_below_one_are_refused(form: str, n: int) -> None:
    with pytest.raises(
        PlanError, match=f"{form}: num_nodes is {n}, allowed is a whole number from 1"
    ):
        from_spec(form, num_nodes=n)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("node", [-1, 4, 100])
def test_nodes_outside_are_refused(form: str, node: int) -> None:
    topology = from_spec(spec_of(form, 4, 2), num_nodes=4)
    for ask in (topology.weights, topology.readers, topology.degree):
        with pytest.raises(PlanError, match=rf"node is {node}, allowed is 0\.\.3"):
            ask(node, 1)


@pytest.mark.parametrize("round", [0, -1])
def test_rounds_count_from_one(round: int) -> None:
    topology = topologies.ring(4)
    for ask in (topology.matrix, topology.phase, lambda t: topology.weights(0, t)):
        with pytest.raises(PlanError, match=f"round is {round}; rounds count from 1"):
            ask(round)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ([[0.5, 0.5], [0.6, 0.5]], r"row 1 of the matrix sums to 1\.1, allowed is 1"),
        ([[0.5, 0.5], [0.6, 0.4]], r"column 0 of the matrix sums to 1\.1, allowed is 1"),
        ([[1.5, -0.5], [-0.5, 1.5]], r"an entry of -0\.5, allowed are finite values >= 0"),
        ([[np.nan, 1], [1, 0]], "an entry of nan"),
        ([[np.inf, 0], [0, 1]], "an entry of inf"),
        ([[1.0, 0.0]], r"shape \(1, 2\), allowed is \(n, n\) with n >= 1"),
        ([1.0], r"shape \(1,\)"),
        (np.zeros((0, 0)), r"shape \(0, 0\)"),
    ],
)
def test_matrices_that_are_not_doubly_stochastic_are_refused(matrix: list, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        topologies.from_matrix(matrix)


def test_graphs_without_symmetric_weights_are_refused() -> None:
    with pytest.raises(PlanError, match="directed; give its W to from_matrix"):
        topologies.from_networkx(nx.DiGraph([(0, 1)]))
    with pytest.raises(PlanError, match="num_nodes is 0, allowed is a whole number from 1"):
        topologies.from_networkx(nx.Graph())


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "not a topology"),
        (b"\xff", "not a topology"),
        (b"[]", "not a topology"),
        (b"{}", "not a topology"),
        (b'{"spec":"x","rows":[[0,1]]}', "not a topology"),
        (b'{"spec":"x","rows":[[[1e999,1]]]}', "not a topology"),
        (b'{"spec":"x","rows":[]}', "not a topology: it has no rows"),
        (b'{"spec":"x","rows":[[]]}', "row 0 of topology x sums to 0, allowed is 1"),
        (b'{"spec":"x","rows":[[[1,1.0]]]}', r"row 0 names sender 1, allowed is 0\.\.0"),
        (b'{"spec":"x","rows":[[[-1,1.0]]]}', r"row 0 names sender -1, allowed is 0\.\.0"),
        (b'{"spec":"x","rows":[[[0,0.9]]]}', r"row 0 of topology x sums to 0\.9"),
        (b'{"spec":"x","rows":[[[0,NaN]]]}', "entry of nan"),
        (b'{"spec":"x","rows":[[[0,1]],[[0,1]]]}', "column 0 of topology x sums to 2"),
    ],
)
def test_bytes_that_are_no_topology_are_refused(payload: bytes, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        topologies.from_bytes(payload)


@pytest.mark.parametrize("shifts", [{0: 0.5, 1: 0.6}, {0: 1.5, 1: -0.5}])
def test_shifts_that_do_not_sum_to_one_are_refused(shifts: dict[int, float]) -> None:
    with pytest.raises(PlanError, match="weights of phase 1 are not non-negative with sum 1"):
        circulant("mine", 4, [{0: 1.0}, shifts])


def test_a_topology_without_phases_is_refused() -> None:
    with pytest.raises(PlanError, match="mine: period is 0, allowed is 1 or more"):
        circulant("mine", 4, [])
