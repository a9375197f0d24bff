"""The effective number of neighbors: the published numbers, and independent ways to each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.theory import (
    effective_neighbors,
    effective_neighbors_estimate,
    effective_neighbors_limit,
    noise_variance,
    spectral_gap,
)
from flwr_gossip.server_free.theory.products import ProductVariance
from flwr_gossip.server_free.theory.walks import ProbedVariance, WalkVariance
from flwr_gossip.server_free.topologies import Topology, from_matrix, from_spec
from flwr_gossip.server_free.topologies.base import undirected

GAMMAS = (0.9, 0.951, 0.99)
# n_W at n = 32, to the four digits of the reference.
TABLE = {
    "star": (1.674, 2.313, 6.438),
    "ring": (6.632, 8.856, 17.076),
    "one-peer-exponential": (9.286, 14.309, 25.429),
    "two-cliques": (16.991, 17.907, 22.385),
    "hypercube": (19.636, 24.286, 30.009),
    "complete": (32.0, 32.0, 32.0),
    "alone": (1.0, 1.0, 1.0),
}
SYMMETRIC = ["binary-tree", "chain", "erdos-renyi:0.4", "ring", "star", "two-cliques"]
DIRECTED = ["directed-ring", "exponential"]
CHANGING = ["base-graph:1", "base-graph:2", "one-peer-exponential", "simple-base-graph:1"]
gammas = st.floats(0.0, 0.99)


def without_formula(topology: Topology) -> Topology:
    return replace(topology, modes_of=None)


def directed(n: int) -> Topology:
    """Return a directed W without any symmetry: the mean of three permutations."""
    rng = np.random.default_rng(n)
    return from_matrix(np.mean([np.eye(n)[rng.permutation(n)] for _ in range(3)], axis=0))


def node_variances(topology: Topology, gamma: float) -> np.ndarray:
    """Return Var z of each node by its definition: the sum over the products, term by term."""
    p, total = topology.period, np.zeros(topology.num_nodes)
    for t in range(1, p + 1):
        product, k = np.eye(topology.num_nodes), 0
        while gamma**k > 1e-13:
            product = product @ topology.matrix((t - k - 1) % p + 1)
            total += gamma**k * np.square(product).sum(axis=1) / p
            k += 1
    return total


@pytest.mark.parametrize("spec", TABLE)
def test_the_published_numbers(spec: str) -> None:
    topology = from_spec(spec, num_nodes=32)
    found = [effective_neighbors(topology, gamma) for gamma in GAMMAS]
    assert [round(n, 3) for n in found] == list(TABLE[spec])


@pytest.mark.parametrize("spec", TABLE)
def test_the_published_numbers_from_the_rows_alone(spec: str) -> None:
    variance = noise_variance(without_formula(from_spec(spec, num_nodes=32)))
    found = [effective_neighbors(variance, gamma) for gamma in GAMMAS]
    assert [round(n, 3) for n in found] == list(TABLE[spec])


def test_a_ring_saturates() -> None:
    sizes = (32, 64, 4_096)
    found = [effective_neighbors(from_spec("ring", n), 0.951) for n in sizes]
    assert [round(n, 3) for n in found] == [8.856, 8.859, 8.859]


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(SYMMETRIC + DIRECTED + CHANGING),
    n=st.integers(3, 14),
    gamma=st.floats(0, 0.9),
)
def test_every_exact_way_is_the_definition(spec: str, n: int, gamma: float) -> None:
    topology = from_spec(spec, num_nodes=n)
    nodes = node_variances(topology, gamma)
    for given_as in (topology, without_formula(topology)):
        mean, worst = noise_variance(given_as), noise_variance(given_as, "worst")
        assert mean(gamma).value == pytest.approx(nodes.mean(), rel=1e-9)
        assert worst(gamma).value == pytest.approx(nodes.max(), rel=1e-9)
    lyapunov = noise_variance(topology, "mean", "lyapunov")
    assert lyapunov(gamma).value == pytest.approx(nodes.mean(), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 0.95, 0.9999])
def test_a_directed_graph_solves_the_lyapunov_equation(gamma: float) -> None:
    topology = directed(40)
    w = topology.matrix(1)
    nodes = solve_discrete_lyapunov(np.sqrt(gamma) * w, w @ w.T).diagonal()
    assert noise_variance(topology)(gamma).value == pytest.approx(nodes.mean(), rel=1e-8)
    worst = noise_variance(topology, "worst")(gamma)
    assert worst.value == pytest.approx(nodes.max(), rel=1e-8)
    assert (worst.method, worst.relative_error) == ("lyapunov", 0.0)


@pytest.mark.parametrize("gamma", [0.9, 0.999])
def test_products_and_the_equation_that_replaces_them_agree(gamma: float) -> None:
    for topology in (directed(30), without_formula(from_spec("one-peer-exponential", 21))):
        many = ProductVariance.of(topology, "worst", num_products=60_000)
        few = ProductVariance.of(topology, "worst", num_products=1)
        assert few(gamma).value == pytest.approx(many(gamma).value, rel=1e-9)


@pytest.mark.parametrize(
    "topology",
    [
        *(from_spec(spec, 24) for spec in ("ring", "star", "exponential", "base-graph:1")),
        directed(24),
    ],
    ids=lambda topology: topology.spec,
)
def test_drawn_numbers_lie_within_their_stated_error(topology: Topology) -> None:
    exact = noise_variance(topology)(0.9).value
    for drawn in (WalkVariance(topology, num_steps=400), ProbedVariance.of(topology, 400)):
        found = drawn(0.9)
        assert 0.0 < found.relative_error < 0.05
        assert abs(found.value / exact - 1) < 4 * found.relative_error


def test_simulated_walks_find_the_worst_node() -> None:
    topology = from_spec("star", num_nodes=16)
    walks = WalkVariance(topology, "worst", num_walks=200, num_steps=1_000)
    exact = noise_variance(topology, "worst")(0.9).value
    assert walks(0.9).value == pytest.approx(exact, rel=0.02)
    assert exact > 1.02 * noise_variance(topology)(0.9).value


def test_a_fresh_graph_each_round_is_what_simulated_walks_over_its_rounds_give() -> None:
    topology = from_spec("random-regular:3", num_nodes=64)
    exact = effective_neighbors(topology, 0.9)
    for method in ("monte-carlo", "probes"):
        found = effective_neighbors_estimate(topology, 0.9, method=method)
        assert found.method == method
        assert found.value == pytest.approx(exact, rel=0.05)
    # Fresh graphs average better than any one of them kept.
    kept = effective_neighbors(from_matrix(topology.matrix(1)), 0.9)
    assert exact > 1.2 * kept


def test_the_seed_decides_what_is_drawn() -> None:
    topology = from_spec("small-world:4,0.2", num_nodes=50)
    for method in ("probes", "monte-carlo"):
        first, again, other = (
            effective_neighbors(topology, 0.8, method=method, seed=seed) for seed in (1, 1, 2)
        )
        assert first == again != other


def test_large_graphs_without_a_formula_are_probed_to_a_stated_error() -> None:
    topology = without_formula(from_spec("torus:50x50", num_nodes=2_500))
    found = effective_neighbors_estimate(topology, 0.95)
    exact = effective_neighbors(from_spec("torus:50x50", num_nodes=2_500), 0.95)
    assert found.method == "probes"
    assert 0.0 < found.relative_error < 0.01
    assert abs(found.value / exact - 1) < 4 * found.relative_error


def test_probes_cut_short_count_what_they_left_off() -> None:
    topology = from_spec("chain", num_nodes=200)
    exact = noise_variance(topology)(0.99).value
    full = ProbedVariance.of(topology, 200)(0.99)
    short = ProbedVariance.of(topology, 200, max_rounds=40)(0.99)
    assert short.relative_error > 5 * full.relative_error
    for found in (full, short):
        assert abs(found.value / exact - 1) < 4 * found.relative_error


@settings(max_examples=30, deadline=None)
@given(spec=st.sampled_from(SYMMETRIC + DIRECTED + CHANGING), n=st.integers(3, 40), gamma=gammas)
def test_it_lies_between_one_and_n_and_rises_with_gamma(spec: str, n: int, gamma: float) -> None:
    variance = noise_variance(from_spec(spec, num_nodes=n))
    low, high = (effective_neighbors(variance, g) for g in (gamma, gamma + 0.009))
    assert 1 - 1e-9 <= low <= high + 1e-9 <= n + 1e-6


@pytest.mark.parametrize("spec", SYMMETRIC + DIRECTED + CHANGING)
def test_the_limits_of_gamma(spec: str) -> None:
    topology = from_spec(spec, num_nodes=16)
    norms = [np.square(topology.matrix(r)).sum() for r in range(1, topology.period + 1)]
    assert effective_neighbors(topology, 0.0) == pytest.approx(16 / np.mean(norms))
    assert effective_neighbors(topology, 1 - 1e-9) == pytest.approx(16, rel=1e-4)


@pytest.mark.parametrize("mode", ["mean", "worst"])
def test_rounding_of_eigenvalues_does_not_count_for_gamma_near_one(mode: str) -> None:
    graph = from_spec("erdos-renyi:0.2", num_nodes=40)
    assert effective_neighbors(graph, 1 - 1e-12, mode) == pytest.approx(40, rel=1e-6)


@pytest.mark.parametrize("gamma", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_gamma_that_cannot_be_is_named(gamma: float) -> None:
    topology = from_spec("ring", num_nodes=8)
    for ask in (
        lambda: effective_neighbors(topology, gamma),
        lambda: noise_variance(topology, method="lyapunov")(gamma),
        lambda: effective_neighbors_limit("ring", gamma),
    ):
        with pytest.raises(PlanError, match=rf"gamma is {gamma}.*0 <= gamma < 1"):
            ask()


@pytest.mark.parametrize("spec", ["alone", "ring", "star", "one-peer-exponential", "base-graph:1"])
def test_one_and_two_nodes(spec: str) -> None:
    one, two = from_spec(spec, num_nodes=1), from_spec(spec, num_nodes=2)
    for topology, n in ((one, 1.0), (two, 1.0 if spec == "alone" else 2.0)):
        for mode in ("mean", "worst"):
            for given_as in (topology, without_formula(topology)):
                assert effective_neighbors(given_as, 0.9, mode) == pytest.approx(n)
        assert effective_neighbors(topology, 0.9, method="lyapunov") == pytest.approx(n)


@pytest.mark.parametrize("spec", ["binary-tree", "star", "base-graph:1"])
def test_names_of_the_nodes_do_not_matter(spec: str) -> None:
    topology = from_spec(spec, num_nodes=19)
    order = np.random.default_rng(3).permutation(19).tolist()
    place = {node: i for i, node in enumerate(order)}
    renamed = replace(
        topology,
        row_of=lambda node, phase: {
            place[sender]: w for sender, w in topology.row_of(order[node], phase).items()
        },
        modes_of=None,
    )
    for mode in ("mean", "worst"):
        expected = effective_neighbors(topology, 0.9, mode)
        assert effective_neighbors(renamed, 0.9, mode) == pytest.approx(expected)


def test_nodes_that_never_meet_count_for_their_own_group() -> None:
    pairs = undirected("<pairs>", 6, lambda node: [node ^ 1], 1)
    for mode in ("mean", "worst"):
        assert effective_neighbors(pairs, 0.999, mode) == pytest.approx(2.0)


def test_the_number_ranks_topologies_as_training_does_and_the_gap_does_not() -> None:
    star, ring = from_spec("star", 32), from_spec("ring", 32)
    assert spectral_gap(star) > spectral_gap(ring)
    assert effective_neighbors(star, 0.951) < effective_neighbors(ring, 0.951) / 3
    tree, torus = from_spec("binary-tree", 32), from_spec("torus:4x8", 32)
    one_peer = from_spec("one-peer-exponential", 32)
    names = [star, tree, ring, one_peer, torus]
    ranked = [effective_neighbors(topology, 0.951) for topology in names]
    assert ranked == sorted(ranked)
    # More nodes make a star worse and leave a torus, a one-peer graph and a ring as they were.
    assert effective_neighbors(from_spec("star", 512), 0.951) < ranked[0] / 2


@pytest.mark.parametrize(
    ("kind", "specs"), [("ring", ["ring", "ring"]), ("torus", ["torus:12x12", "torus:120x120"])]
)
def test_finite_graphs_converge_to_the_infinite_one(kind: str, specs: list[str]) -> None:
    sizes = (30, 600) if kind == "ring" else (144, 14_400)
    limit = effective_neighbors_limit(kind, 0.97)
    errors = [
        abs(effective_neighbors(from_spec(spec, n), 0.97) / limit - 1)
        for spec, n in zip(specs, sizes, strict=True)
    ]
    assert errors[1] < 1e-9 < 1e-4 < errors[0]


@pytest.mark.parametrize("gamma", [0.0, 1e-7, 2e-6, 0.3, 0.999])
def test_the_infinite_graphs_at_any_gamma(gamma: float) -> None:
    ring, torus = from_spec("ring", 4_001), from_spec("torus:401x401", 401**2)
    assert effective_neighbors_limit("ring", gamma) == pytest.approx(
        effective_neighbors(ring, gamma), rel=1e-8
    )
    assert effective_neighbors_limit("torus", gamma) == pytest.approx(
        effective_neighbors(torus, gamma), rel=1e-5
    )


def test_a_closed_form_takes_a_hundred_thousand_nodes() -> None:
    for spec, n in (("one-peer-exponential", 100_000), ("hypercube", 131_072)):
        found = effective_neighbors_estimate(from_spec(spec, n), 0.95)
        assert (found.method, found.relative_error) == ("closed form", 0.0)
        assert 20 < found.value < 400


def test_what_is_too_large_says_what_to_do() -> None:
    tree = from_spec("binary-tree", num_nodes=5_000)
    with pytest.raises(PlanError, match=r"worst.*5000 nodes of 'binary-tree'.*mode='mean'"):
        effective_neighbors(tree, 0.9, "worst")
    with pytest.raises(PlanError, match="worst"):
        effective_neighbors(from_spec("star", num_nodes=8), 0.9, "worst", "probes")
    with pytest.raises(PlanError, match=r"at most 4000 nodes.*'probes'"):
        effective_neighbors(tree, 0.9, method="lyapunov")
    with pytest.raises(PlanError, match=r"closed form.*'probes'"):
        effective_neighbors(tree, 0.9, method="spectrum")


def test_a_dense_graph_that_is_too_large_is_refused_before_it_fills_the_memory() -> None:
    for n in (6_500, 100_000):
        cliques = from_spec("two-cliques", num_nodes=n)
        with pytest.raises(PlanError, match=r"'two-cliques' has about .* weights.*fewer nodes"):
            effective_neighbors(cliques, 0.9)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"mode": "best"}, "mode is 'best'"), ({"method": "magic"}, "method is 'magic'")],
)
def test_a_wrong_option_is_named(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        effective_neighbors(from_spec("ring", 8), 0.9, **wrong)
    with pytest.raises(PlanError, match="'ring' and 'torus'"):
        effective_neighbors_limit("star", 0.9)


def test_too_few_draws_are_refused() -> None:
    topology = from_spec("ring", 8)
    with pytest.raises(PlanError, match="num_walks is 1"):
        WalkVariance(topology, num_walks=1)
    with pytest.raises(PlanError, match="num_probes is 1"):
        ProbedVariance.of(topology, num_probes=1)
