"""Random graphs: those they claim to be, drawn alike everywhere, and the same for ever."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2_contingency, chisquare, ks_2samp

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.draws import words
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive
from flwr_gossip.server_free.topologies import Topology, edge_draws, random_graphs
from flwr_gossip.server_free.topologies.random_graphs import (
    erdos_renyi,
    random_regular,
    small_world,
)

RARE = 1e-3
"""Seeds are fixed, so a p-value below this is a defect and not bad luck."""

VALID = [(n, d) for n in range(2, 15) for d in range(1, n) if n * d % 2 == 0]
regulars = st.sampled_from([*VALID, (33, 16), (33, 18), (40, 3), (64, 5)])


def graph_of(topology: Topology, round: int = 1) -> nx.Graph[int]:
    """Return the graph of a round, as the weights tell it."""
    graph: nx.Graph[int] = nx.empty_graph(topology.num_nodes)
    for node in graph:
        graph.add_edges_from(
            (node, other) for other in topology.weights(node, round) if other != node
        )
    return graph


def fingerprint(topology: Topology, round: int = 1) -> str:
    edges = sorted(tuple(sorted(edge)) for edge in graph_of(topology, round).edges)
    return hashlib.sha256(repr(edges).encode()).hexdigest()[:16]


def forget_all_graphs() -> None:
    for kept in (random_graphs._rounds, random_graphs._erdos_renyi, random_graphs._small_world):
        kept.cache_clear()


# --- D-regular, fresh each round ----------------------------------------------------------------


def check_regular(topology: Topology, degree: int, round: int) -> None:
    w = topology.matrix(round)
    n = topology.num_nodes
    assert set(np.unique(w)) <= {0.0, 1 / (degree + 1)}
    assert (np.diag(w) == 1 / (degree + 1)).all()
    assert (np.count_nonzero(w, axis=1) == degree + 1).all()
    assert (w == w.T).all()
    for node in range(n):
        others = tuple(other for other in np.flatnonzero(w[node]).tolist() if other != node)
        assert topology.readers(node, round) == others
        assert topology.degree(node, round) == degree == topology.max_degree


@pytest.mark.parametrize(("n", "degree"), VALID)
def test_every_size_and_degree_that_can_be_is_drawn(n: int, degree: int) -> None:
    topology = random_regular(n, degree)
    assert topology.period is None
    assert topology.symmetric
    for round in (1, 2, 3):
        check_regular(topology, degree, round)


@settings(max_examples=30)
@given(size=regulars, seed=st.integers(0, 2**63 - 1), round=st.integers(1, 10**9))
def test_any_seed_and_round_draws_a_regular_graph(
    size: tuple[int, int], seed: int, round: int
) -> None:
    n, degree = size
    topology = random_regular(n, degree, seed=seed)
    check_regular(topology, degree, round)
    forget_all_graphs()
    again = topologies.from_spec(topology.spec, num_nodes=n)
    assert again == topology
    np.testing.assert_array_equal(again.matrix(round), topology.matrix(round))


def test_a_neighbour_in_every_place_is_the_complete_graph() -> None:
    for n in (2, 5, 8):
        expected = topologies.complete(n).matrix(1)
        for round in (1, 2):
            np.testing.assert_array_equal(random_regular(n, n - 1).matrix(round), expected)


def test_all_perfect_matchings_are_equally_likely() -> None:
    topology = random_regular(6, 1, seed=3)
    counts = Counter(fingerprint(topology, round) for round in range(1, 1501))
    assert len(counts) == 15
    assert chisquare(list(counts.values())).pvalue > RARE


def test_what_is_left_of_the_complete_graph_is_uniform_too() -> None:
    topology = random_regular(6, 4, seed=3)  # all but a matching
    counts = Counter(fingerprint(topology, round) for round in range(1, 1001))
    assert len(counts) == 15
    assert chisquare(list(counts.values())).pvalue > RARE


def test_graphs_are_as_likely_as_those_of_networkx() -> None:
    # Of the 70 graphs, 60 are a hexagon and 10 are two triangles.
    draws = 1500
    topology = random_regular(6, 2, seed=1)
    ours = [graph_of(topology, round) for round in range(1, draws + 1)]
    theirs = [nx.random_regular_graph(2, 6, seed=seed) for seed in range(draws)]
    hexagons, others = (sum(map(nx.is_connected, graphs)) for graphs in (ours, theirs))
    table = [[hexagons, draws - hexagons], [others, draws - others]]
    assert chi2_contingency(table).pvalue > RARE
    for connected, number in ((True, 60), (False, 10)):
        alike = [graph for graph in ours if nx.is_connected(graph) == connected]
        counts = Counter(tuple(sorted(graph.edges)) for graph in alike)
        assert len(counts) == number
        assert chisquare(list(counts.values())).pvalue > RARE


@pytest.mark.parametrize("degree", [3, 16, 24])
def test_larger_graphs_look_like_those_of_networkx(degree: int) -> None:
    n, draws = 40, 80
    topology = random_regular(n, degree, seed=2)
    ours = [graph_of(topology, round) for round in range(1, draws + 1)]
    theirs = [nx.random_regular_graph(degree, n, seed=seed) for seed in range(draws)]

    def triangles(graph: nx.Graph[Any]) -> float:
        return sum(nx.triangles(graph).values()) / 3

    assert ks_2samp([*map(triangles, ours)], [*map(triangles, theirs)]).pvalue > RARE


@pytest.mark.parametrize(("n", "degree"), [(2, 1), (6, 1), (9, 2), (10, 3), (8, 6), (5, 4)])
def test_modes_are_the_averages_over_the_rounds(n: int, degree: int) -> None:
    rounds = 1000
    topology = random_regular(n, degree, seed=9)
    drawn = np.array([topology.matrix(round) for round in range(1, rounds + 1)])
    modes = topology.modes(1)
    assert modes is not None
    assert modes.alike
    assert modes.eigenvalues.shape == modes.energies.shape == (n,)
    constant = np.full((n, n), 1 / n)
    for averages, values in (
        (drawn.mean(axis=0), modes.eigenvalues),
        ((drawn.transpose(0, 2, 1) @ drawn).mean(axis=0), modes.energies),
    ):
        assert values[0] == 1
        assert len(set(values[1:].tolist())) <= 1
        expected = constant + values[-1].real * (np.eye(n) - constant) * (n > 1)
        # An entry lies in 0..1/2, so its average is off by less than 1/4 / sqrt(rounds) typically.
        np.testing.assert_allclose(averages, expected, rtol=0, atol=4 * 0.25 / np.sqrt(rounds))
        np.testing.assert_allclose(np.diag(averages), 1 / (degree + 1), rtol=0, atol=1e-12)


def test_rounds_are_independent() -> None:
    n, degree, rounds = 10, 3, 800
    topology = random_regular(n, degree, seed=4)
    edges = [set(graph_of(topology, round).edges) for round in range(1, rounds + 1)]
    for lag in (1, 2, 7):
        shared = sum(len(a & b) for a, b in zip(edges, edges[lag:], strict=False))
        pairs = (rounds - lag) * n * degree // 2
        assert binomtest(shared, pairs, degree / (n - 1)).pvalue > RARE


def test_seeds_and_rounds_draw_different_graphs() -> None:
    prints = {
        fingerprint(random_regular(16, 4, seed=seed), round)
        for seed in range(6)
        for round in (1, 2)
    }
    assert len(prints) == 12


def test_a_round_is_drawn_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counting(*args: Any) -> Any:
        asked.append(args)
        return edge_draws.regular(*args)

    forget_all_graphs()
    monkeypatch.setattr(random_graphs, "regular", counting)
    for _client in range(3):
        topology = random_regular(20, 4, seed=77)
        for round in (1, 2, 1):
            for node in range(20):
                topology.weights(node, round)
                topology.readers(node, round)
    assert len(asked) == 2


def test_old_rounds_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_all_graphs()
    monkeypatch.setattr(random_graphs, "_KEPT_NEIGHBORS", 0)
    topology = random_regular(2000, 4, seed=5)
    tracemalloc.start()
    try:
        for round in range(1, 41):
            topology.weights(0, round)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    forget_all_graphs()
    assert kept < 8 * 2000 * 4 * 8  # bytes: fewer than eight rounds


def test_a_hundred_thousand_nodes_take_no_square_memory() -> None:
    n = 100_000
    tracemalloc.start()
    try:
        row = random_regular(n, 4, seed=1).weights(n // 2, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    forget_all_graphs()
    assert len(row) == 5
    assert peak < 1000 * n  # bytes; a matrix has n * n


# --- G(n, p) ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(n=st.integers(1, 30), p=st.floats(0.3, 1), seed=st.integers(0, 2**63 - 1))
def test_a_random_graph_is_connected_and_comes_back_from_its_spec(
    n: int, p: float, seed: int
) -> None:
    topology = erdos_renyi(n, p, seed=seed)
    graph = graph_of(topology)
    assert nx.is_connected(graph)
    assert topology.max_degree == max(degree for _, degree in graph.degree)
    assert topology.payload == b""
    w = topology.matrix(1)
    topologies.check_doubly_stochastic(w, "w")
    for a, b in graph.edges:
        assert w[a, b] == w[b, a] == 1 / (1 + max(graph.degree[a], graph.degree[b]))
    forget_all_graphs()
    again = topologies.from_spec(topology.spec, num_nodes=n)
    assert again == topology
    np.testing.assert_array_equal(again.matrix(1), w)


@pytest.mark.parametrize("p", [0.1, 1 / 3, 1e-5, 1.0, 5e-324, np.float32(0.1), np.float64(0.7)])
def test_the_spec_holds_the_probability_exactly(p: float) -> None:
    spec = erdos_renyi(1, p).spec
    assert float(spec.removeprefix("erdos-renyi:")) == p
    assert erdos_renyi(1, p, seed=8).spec == f"{spec},seed=8"


def test_with_probability_one_the_graph_is_complete() -> None:
    for n in (1, 2, 9):
        np.testing.assert_allclose(
            erdos_renyi(n, 1).matrix(1), topologies.complete(n).matrix(1), rtol=0, atol=1e-15
        )


def slow_pairs(num_nodes: int, probability: float, stream: Any) -> Iterator[tuple[int, int]]:
    """Yield the edges of G(n, p): one word a gap, which is longer than k with (1-p)^k."""
    pairs = [(low, high) for high in range(num_nodes) for low in range(high)]
    place = -1
    while True:
        u = (int(stream(1)[0]) >> 11) / 2**53
        gap, longer = 1, 1.0 - probability
        while 1.0 - longer <= u:
            gap, longer = gap + 1, longer * (1.0 - probability)
        place += gap
        if place >= len(pairs):
            return
        yield pairs[place]


@settings(max_examples=40)
@given(n=st.integers(0, 40), p=st.floats(0.05, 1), seed=st.integers(0, 1000))
def test_skipping_is_that_of_the_plain_slow_version(n: int, p: float, seed: int) -> None:
    low, high = edge_draws.independent(n, p, words(seed, 1, "slow"))
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    assert pairs == list(slow_pairs(n, p, words(seed, 1, "slow")))


@pytest.mark.parametrize("longest", [1, 2, 1 << 16])
def test_every_edge_is_equally_likely_however_long_the_gaps(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_draws, "_LONGEST_GAP", longest)
    n, p, draws = 6, 0.15, 2500
    counts: Counter[tuple[int, int]] = Counter()
    numbers: Counter[int] = Counter()
    for seed in range(draws):
        low, high = edge_draws.independent(n, p, words(seed, 1, "gaps"))
        edges = list(zip(low.tolist(), high.tolist(), strict=True))
        counts.update(edges)
        numbers[len(edges)] += 1
    assert len(counts) == 15
    assert chisquare(list(counts.values())).pvalue > RARE
    assert binomtest(sum(counts.values()), 15 * draws, p).pvalue > RARE
    # Edges are independent: as often none at all as (1 - p)^15.
    assert binomtest(numbers[0], draws, (1 - p) ** 15).pvalue > RARE


def test_the_number_of_edges_of_a_large_graph_is_binomial() -> None:
    n, p = 3000, 0.002
    sizes = [len(edge_draws.independent(n, p, words(seed, 1, "many"))[0]) for seed in range(30)]
    pairs = n * (n - 1) // 2
    assert binomtest(sum(sizes), 30 * pairs, p).pvalue > RARE
    assert 0.4 < np.var(sizes, ddof=1) / (pairs * p * (1 - p)) < 2


def statistics(graphs: list[nx.Graph[Any]]) -> list[list[float]]:
    """Return the number of edges, the spread of degrees and the clustering of each graph."""
    degrees = [[degree for _, degree in graph.degree] for graph in graphs]
    return [
        [graph.number_of_edges() for graph in graphs],
        [float(np.var(each)) for each in degrees],
        [nx.average_clustering(graph) for graph in graphs],
    ]


def test_random_graphs_look_like_the_connected_ones_of_networkx() -> None:
    n, p, draws = 24, 0.15, 200
    ours = [graph_of(erdos_renyi(n, p, seed=seed)) for seed in range(draws)]
    drawn = (nx.gnp_random_graph(n, p, seed=seed) for seed in range(5 * draws))
    theirs = [graph for graph in drawn if nx.is_connected(graph)][:draws]
    assert len(theirs) == draws
    for mine, other in zip(statistics(ours), statistics(theirs), strict=True):
        assert ks_2samp(mine, other).pvalue > RARE


def test_graphs_that_never_hang_together_are_refused() -> None:
    with pytest.raises(PlanError) as caught:
        erdos_renyi(50, 0.01)
    assert str(caught.value) == (
        "erdos-renyi:0.01: none of 100 graphs drawn is connected: for n = 50 nodes that is likely "
        "only for p above ln(n) / n = 0.0782, but p is 0.01; give a larger p."
    )
    with pytest.raises(PlanError, match=r"none of 100 graphs .* n = 2 .* p is 5e-324"):
        erdos_renyi(2, 5e-324)


def test_small_worlds_that_fall_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_graphs, "ATTEMPTS", 1)
    with pytest.raises(PlanError) as caught:
        small_world(400, 2, 1.0, seed=2)
    assert str(caught.value) == (
        "small-world:2,1.0,seed=2: none of 1 graphs drawn is connected: n = 400 nodes with 2 "
        "neighbours each often fall apart if edges are rewired with p = 1.0; give more neighbours "
        "or a smaller p."
    )


# --- small worlds -------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    n=st.integers(5, 30),
    half=st.integers(2, 8),
    p=st.floats(0, 0.9),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_small_world_is_connected_and_comes_back_from_its_spec(
    n: int, half: int, p: float, seed: int
) -> None:
    neighbors = min(2 * half, (n - 1) // 2 * 2)
    topology = small_world(n, neighbors, p, seed=seed)
    graph = graph_of(topology)
    assert nx.is_connected(graph)
    assert graph.number_of_edges() == n * neighbors // 2
    assert topology.max_degree == max(degree for _, degree in graph.degree)
    forget_all_graphs()
    again = topologies.from_spec(topology.spec, num_nodes=n)
    assert again == topology
    np.testing.assert_array_equal(again.matrix(1), topology.matrix(1))


@pytest.mark.parametrize(("n", "neighbors"), [(3, 2), (4, 2), (9, 4), (10, 8), (9, 8)])
def test_without_rewiring_it_is_the_ring_lattice(n: int, neighbors: int) -> None:
    lattice = nx.watts_strogatz_graph(n, neighbors, 0)
    for p in (0, 0.0, -0.0):
        topology = small_world(n, neighbors, p)
        assert topology.spec == f"small-world:{neighbors},0.0"
        assert nx.utils.graphs_equal(graph_of(topology), lattice)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_a_complete_ring_has_nothing_to_rewire(p: float) -> None:
    assert graph_of(small_world(7, 6, p)).number_of_edges() == 21


@pytest.mark.parametrize(("n", "neighbors", "p"), [(24, 4, 0.3), (20, 6, 1.0), (7, 4, 0.6)])
def test_small_worlds_look_like_the_connected_ones_of_networkx(
    n: int, neighbors: int, p: float
) -> None:
    draws = 200
    ours = [graph_of(small_world(n, neighbors, p, seed=seed)) for seed in range(draws)]
    theirs = [
        nx.connected_watts_strogatz_graph(n, neighbors, p, seed=seed) for seed in range(draws)
    ]
    for mine, other in zip(statistics(ours), statistics(theirs), strict=True):
        assert ks_2samp(mine, other).pvalue > RARE

    def lattice_edges(graph: nx.Graph[Any]) -> int:
        return sum(min((a - b) % n, (b - a) % n) <= neighbors // 2 for a, b in graph.edges)

    assert ks_2samp([*map(lattice_edges, ours)], [*map(lattice_edges, theirs)]).pvalue > RARE


# --- the same for ever --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "n", "round", "expected"),
    [
        ("random-regular:3", 12, 1, "0e8cbc3b3d967ef5"),
        ("random-regular:3", 12, 2, "7e4fcdff5c648991"),
        ("random-regular:3,seed=7", 12, 1, "392e2b256f4d3136"),
        ("random-regular:8", 12, 1, "04d4bfe8cbe0d1e9"),
        ("random-regular:4", 2000, 5, "5d647ee9d4505c46"),
        ("erdos-renyi:0.2", 40, 1, "45a59b39fde857eb"),
        ("erdos-renyi:0.1,seed=3", 40, 1, "45997e2259141127"),
        ("erdos-renyi:0.006", 2000, 1, "7b7dd180ca092143"),
        ("small-world:4,0.2", 40, 1, "95e2f6748f599905"),
        ("small-world:2,0.1,seed=1", 60, 1, "e042c33589af95bb"),
        ("small-world:6,1.0", 200, 1, "fff10498b5597d83"),
    ],
)
def test_the_graphs_never_change(spec: str, n: int, round: int, expected: str) -> None:
    # These values pin spec -> graph for all versions; another graph is another PROTOCOL.
    assert fingerprint(topologies.from_spec(spec, num_nodes=n), round) == expected


@pytest.mark.parametrize(
    "topology", [random_regular(8, 3, seed=2), erdos_renyi(8, 0.5), small_world(8, 4, 0.5, seed=1)]
)
def test_only_the_spec_travels(topology: Topology) -> None:
    text = Plan(topology, AllActive(8), 20).to_json()
    forget_all_graphs()
    arrived = Plan.from_json(text).topology
    assert topology.payload == arrived.payload == b""
    assert len(text) < 200
    for round in (1, 2, 19):
        np.testing.assert_array_equal(arrived.matrix(round), topology.matrix(round))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, -3, True, 2.0, "4", None])
def test_numbers_of_nodes_are_whole(n: Any) -> None:
    for make in (
        lambda: random_regular(n, 2),
        lambda: erdos_renyi(n, 0.5),
        lambda: small_world(n, 2, 0.5),
    ):
        with pytest.raises(
            ValueError, match=rf"num_nodes is {n!r}, allowed is a whole number from"
        ):
            make()


@pytest.mark.parametrize("degree", [0, 8, 100, -1, 3.0, True, "3", None, float("nan")])
def test_degrees_lie_below_the_number_of_nodes(degree: Any) -> None:
    with pytest.raises(
        PlanError, match=rf"degree is {degree!r}, allowed is a whole number from 1 to 7 for 8 nodes"
    ):
        random_regular(8, degree)


def test_what_cannot_be_regular_says_what_to_do() -> None:
    with pytest.raises(
        PlanError, match=r"random-regular:0: degree is 0.*; for no edges use 'alone'"
    ):
        random_regular(8, 0)
    with pytest.raises(PlanError, match="degree is 3 for 7 nodes, allowed are even degrees"):
        random_regular(7, 3)
    with pytest.raises(PlanError, match=r"num_nodes is 1, .* from 2: .* no neighbour; use 'alone'"):
        random_regular(1, 4)


@pytest.mark.parametrize("p", [-0.1, 1.0001, float("nan"), float("inf"), True, "0.5", None, 0.5j])
def test_probabilities_lie_between_zero_and_one(p: Any) -> None:
    says = "probability is .*, allowed is a number"
    with pytest.raises(PlanError, match=rf"{says} above 0 and up to 1; for no edges use 'alone'"):
        erdos_renyi(8, p)
    with pytest.raises(PlanError, match=rf"{says} from 0 to 1"):
        small_world(8, 4, p)
    with pytest.raises(
        PlanError, match=r"erdos-renyi:0\.0: probability is 0.0, allowed is a number"
    ):
        erdos_renyi(8, 0.0)


@pytest.mark.parametrize("neighbors", [0, 1, 3, 8, 9, -2, 4.0, True, "4", None])
def test_rings_have_as_many_neighbours_on_either_side(neighbors: Any) -> None:
    with pytest.raises(
        PlanError, match=rf"neighbors is {neighbors!r}, allowed is an even number from 2 to 7"
    ):
        small_world(8, neighbors, 0.1)


@pytest.mark.parametrize("n", [1, 2])
def test_a_small_world_takes_three_nodes(n: int) -> None:
    with pytest.raises(PlanError, match=rf"num_nodes is {n}, .* from 3: the smallest ring"):
        small_world(n, 2, 0.1)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, None])
def test_seeds_fit_into_a_message(seed: Any) -> None:
    for make in (
        lambda: random_regular(8, 3, seed=seed),
        lambda: erdos_renyi(8, 0.5, seed=seed),
        lambda: small_world(8, 2, 0.5, seed=seed),
    ):
        with pytest.raises(PlanError, match=rf"seed is {seed!r}, allowed is a whole number from 0"):
            make()
