"""What single topologies are, number by number, and what is refused.

What holds for all of them is in ``tests/conformance/test_topologies.py``.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.topologies import Topology, from_spec
from flwr_gossip.server_free.topologies.base import circulant


def edges(topology: Topology, round: int = 1) -> set[tuple[int, int]]:
    """Return (receiver, sender) of all positive weights off the diagonal."""
    pairs = np.argwhere(topology.matrix(round) > 0)
    return {(int(s), int(r)) for s, r in pairs if s != r}


def both_ways(graph: nx.Graph) -> set[tuple[int, int]]:
    return {pair for a, b in graph.edges if a != b for pair in ((a, b), (b, a))}


def effective_neighbors(topology: Topology, gamma: float) -> float:
    """Return n_W(gamma) of z <- W (sqrt(gamma) z + noise), from 2,000 steps of its covariance."""
    ws = [topology.matrix(round) for round in range(1, topology.period + 1)]
    noise = np.eye(topology.num_nodes)
    covariance, variances = 0 * noise, []
    for step in range(2000):
        w = ws[step % len(ws)]
        covariance = w @ (gamma * covariance + noise) @ w.T
        variances.append(np.trace(covariance) / topology.num_nodes)
    return float(1 / (1 - gamma) / np.mean(variances[-len(ws) :]))


# --- the graph that it claims to be -----------------------------------------------------------


@given(n=st.integers(1, 20))
def test_the_extremes_are_no_mixing_and_the_average(n: int) -> None:
    np.testing.assert_array_equal(topologies.alone(n).matrix(1), np.eye(n))
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
    assert edges(topologies.torus(rows, columns)) == both_ways(graph)


@given(n=st.integers(1, 20))
def test_a_torus_of_one_row_is_the_ring(n: int) -> None:
    ring = topologies.ring(n).matrix(1)
    np.testing.assert_array_equal(topologies.torus(1, n).matrix(1), ring)
    np.testing.assert_array_equal(topologies.torus(n, 1).matrix(1), ring)


@given(n=st.integers(1, 20))
def test_a_grid_of_one_row_is_the_chain(n: int) -> None:
    chain = topologies.chain(n).matrix(1)
    np.testing.assert_array_equal(topologies.grid(1, n).matrix(1), chain)
    np.testing.assert_array_equal(topologies.grid(n, 1).matrix(1), chain)


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
        (topologies.grid(3, 3), {2, 3, 4}),
        (topologies.grid(2, 4), {2, 3}),
        (topologies.directed_ring(1), {0}),
        (topologies.directed_ring(2), {1}),
        (topologies.directed_ring(7), {1}),
        (topologies.hypercube(1), {0}),
        (topologies.hypercube(16), {4}),
        (topologies.one_peer_hypercube(1), {0}),
        (topologies.one_peer_hypercube(16), {1}),
        (topologies.binary_tree(2), {1}),
        (topologies.binary_tree(4), {1, 2}),
        (topologies.binary_tree(15), {1, 2, 3}),
        (topologies.two_cliques(2), {1}),
        (topologies.two_cliques(3), {1, 2}),
        (topologies.two_cliques(9), {3, 4, 5}),
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


def test_directed_ring_receives_from_the_next() -> None:
    topology = topologies.directed_ring(5)
    assert topology.weights(4, 3) == {0: 0.5, 4: 0.5}
    assert topology.readers(4, 3) == (3,)


def test_a_tree_is_in_heap_order() -> None:
    topology = topologies.binary_tree(12)
    assert topology.readers(0, 1) == (1, 2)
    assert topology.readers(4, 1) == (1, 9, 10)
    assert topology.readers(5, 1) == (2, 11)
    assert topology.weights(9, 1) == {4: 0.25, 9: 0.75}


def test_two_cliques_are_joined_by_one_edge() -> None:
    topology = topologies.two_cliques(7)
    assert [topology.readers(node, 1) for node in (0, 2, 3, 6)] == [
        (1, 2),
        (0, 1, 3),
        (2, 4, 5, 6),
        (3, 4, 5),
    ]
    assert topology.weights(2, 1)[3] == 1 / 5


def test_hypercube_neighbors_differ_in_a_bit_lowest_first() -> None:
    assert topologies.hypercube(8).weights(5, 1) == dict.fromkeys([1, 4, 5, 7], 0.25)
    topology = topologies.one_peer_hypercube(8)
    assert topology.period == 3
    partners = [[*topology.readers(5, round)] for round in (1, 2, 3, 4)]
    assert partners == [[4], [7], [1], [4]]


@pytest.mark.parametrize("form", ["one-peer-exponential", "one-peer-hypercube"])
@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 64])
@pytest.mark.parametrize("start", [1, 2, 7])
def test_one_peer_graphs_average_exactly_in_a_period(form: str, n: int, start: int) -> None:
    topology = from_spec(form, num_nodes=n)
    assert topology.period == max(1, int(np.log2(n)))
    product = np.eye(n)
    for round in range(start, start + topology.period):
        product = topology.matrix(round) @ product
    np.testing.assert_array_equal(product, np.full((n, n), 1 / n))


def test_exponential_receives_from_powers_of_two_ahead() -> None:
    assert topologies.exponential(9).weights(7, 1) == {6: 0.2, 7: 0.2, 8: 0.2, 0: 0.2, 2: 0.2}
    assert topologies.exponential(8).weights(0, 1) == dict.fromkeys([0, 1, 2, 4], 0.25)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("alone", [1, 1, 1]),
        ("star", [1.674, 2.313, 6.438]),
        ("ring", [6.632, 8.856, 17.076]),
        ("one-peer-exponential", [9.286, 14.309, 25.429]),
        ("two-cliques", [16.991, 17.907, 22.385]),
        ("hypercube", [19.636, 24.286, 30.009]),
        ("complete", [32, 32, 32]),
    ],
)
def test_as_many_effective_neighbors_as_published(spec: str, expected: list[float]) -> None:
    """The table of "Beyond spectral gap" (arXiv:2301.02151) at n = 32, exact to its digits."""
    topology = from_spec(spec, num_nodes=32)
    found = [effective_neighbors(topology, gamma) for gamma in (0.9, 0.951, 0.99)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=6e-4)


@pytest.mark.parametrize("gamma", [0.9, 0.951, 0.99])
def test_degree_and_effective_neighbors_order_topologies(gamma: float) -> None:
    order = ["star", "binary-tree", "ring", "one-peer-hypercube", "torus:4x8", "hypercube"]
    found = [effective_neighbors(from_spec(spec, num_nodes=32), gamma) for spec in order]
    assert found == sorted(found)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["", "rings", "ring:3", "ring:", "Ring", "hypercube:8", "circle", ":", "<matrix>"]
)
def test_an_unknown_spec_is_named_with_those_that_are_known(spec: str) -> None:
    with pytest.raises(
        ValueError, match="allowed are alone, base-graph:K, binary-tree, "
    ) as caught:
        from_spec(spec, num_nodes=4)
    assert isinstance(caught.value, PlanError)
    assert repr(spec) in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("rings", "ring"),
        ("Ring", "ring"),
        ("ring:3", "ring"),
        ("two_cliques", "two-cliques"),
        ("base_graph:2", "base-graph:K"),
        ("one-peer-exp", "one-peer-exponential"),
    ],
)
def test_an_unknown_spec_is_answered_with_the_nearest(spec: str, meant: str) -> None:
    with pytest.raises(PlanError, match=rf"{spec}' is unknown \(did you mean '{meant}'\?\); all"):
        from_spec(spec, num_nodes=4)


@pytest.mark.parametrize("name", ["torus", "grid"])
@pytest.mark.parametrize("argument", ["", "4", "2x", "2x2x1", "-2x-2", "2X2", "2 x 2", "\u0662x2"])
def test_rows_and_columns_are_needed(name: str, argument: str) -> None:
    says = f"^topology '{name}:{argument}': write {name}:RxC, for instance {name}:4x8.$"
    with pytest.raises(PlanError, match=says):
        from_spec(f"{name}:{argument}", num_nodes=4)
    with pytest.raises(PlanError, match=f"'{name}': write {name}:RxC"):
        from_spec(name, num_nodes=4)


@pytest.mark.parametrize("name", ["torus", "grid"])
def test_rows_and_columns_have_as_many_places_as_nodes(name: str) -> None:
    with pytest.raises(
        PlanError, match=rf"'{name}:2x3' has 6 nodes, but num_nodes is 7.*must be 7"
    ):
        from_spec(f"{name}:2x3", num_nodes=7)
    with pytest.raises(PlanError, match=f"{name}:0x3: rows is 0, allowed is a whole number from 1"):
        from_spec(f"{name}:0x3", num_nodes=0)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("base-graph:", "write base-graph:K, for instance base-graph:1"),
        ("base-graph:-1", "write base-graph:K, for instance base-graph:1"),
        ("base-graph:1.5", "write base-graph:K, for instance base-graph:1"),
        ("simple-base-graph:1,seed=2", "write simple-base-graph:K, for instance"),
        ("random-regular:", "write random-regular:D or with ,seed=S behind it, for instance"),
        ("random-regular:4,7", "write random-regular:D or with ,seed=S behind it"),
        ("random-regular:4,seed=", "write random-regular:D or with ,seed=S behind it"),
        ("random-regular:4,seed=-1", "write random-regular:D or with ,seed=S behind it"),
        ("erdos-renyi:p", "write erdos-renyi:P or with ,seed=S behind it"),
        ("erdos-renyi:nan", "write erdos-renyi:P or with ,seed=S behind it"),
        ("erdos-renyi:-0.5", "write erdos-renyi:P or with ,seed=S behind it"),
        ("small-world:4", "write small-world:K,P or with ,seed=S behind it, for instance small"),
    ],
)
def test_a_spec_with_other_arguments_is_answered_with_how_to_write_it(spec: str, says: str) -> None:
    with pytest.raises(PlanError, match=f"^topology '{spec}': {says}"):
        from_spec(spec, num_nodes=12)


def test_numbers_in_a_spec_can_be_written_in_many_ways() -> None:
    for spec in ("erdos-renyi:0.5", "erdos-renyi:.5", "erdos-renyi:5e-1,seed=0"):
        assert from_spec(spec, num_nodes=12).spec == "erdos-renyi:0.5"
    assert from_spec("torus:03x04", num_nodes=12).spec == "torus:3x4"
    assert from_spec("random-regular:4,seed=007", num_nodes=12).spec == "random-regular:4,seed=7"


@pytest.mark.parametrize("form", ["hypercube", "one-peer-hypercube"])
@pytest.mark.parametrize("n", [3, 6, 12, 33])
def test_a_hypercube_of_another_size_is_answered_with_what_takes_any(form: str, n: int) -> None:
    says = f"^{form}: num_nodes is {n}, allowed are powers of two; base-graph:1 and one-peer-exp"
    with pytest.raises(PlanError, match=says):
        from_spec(form, num_nodes=n)


@pytest.mark.parametrize("round", [0, -1])
def test_rounds_count_from_one(round: int) -> None:
    topology = topologies.ring(4)
    for ask in (topology.matrix, topology.phase, lambda t: topology.weights(0, t)):
        with pytest.raises(PlanError, match=f"round is {round}; rounds count from 1"):
            ask(round)


@pytest.mark.parametrize("shifts", [{0: 0.5, 1: 0.6}, {0: 1.5, 1: -0.5}])
def test_shifts_that_do_not_sum_to_one_are_refused(shifts: dict[int, float]) -> None:
    with pytest.raises(PlanError, match="weights of phase 1 are not non-negative with sum 1"):
        circulant("mine", 4, [{0: 1.0}, shifts])


def test_a_topology_without_phases_is_refused() -> None:
    with pytest.raises(PlanError, match="mine: period is 0, allowed is 1 or more"):
        circulant("mine", 4, [])
