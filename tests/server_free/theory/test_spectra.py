"""Spectral gap and consensus rate: the closed forms, the dense and the sparse ways agree."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_gossip.server_free import theory, topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.topologies import Topology, from_matrix, from_spec
from flwr_gossip.server_free.topologies.base import undirected

PLAIN = [
    "alone",
    "chain",
    "complete",
    "directed-ring",
    "exponential",
    "one-peer-exponential",
    "ring",
    "star",
]
IRREGULAR = ["binary-tree", "two-cliques", "base-graph:1", "simple-base-graph:2"]
sizes = st.integers(2, 20)


def without_formula(topology: Topology) -> Topology:
    """Return the topology with its rows only, as a graph that is not a formula has."""
    return replace(topology, modes_of=None)


def deviation(topology: Topology) -> np.ndarray:
    """Return W_p ... W_1 - 11^T / n."""
    phases = [topology.matrix(round) for round in range(1, (topology.period or 1) + 1)]
    product = reduce(lambda done, w: w @ done, phases)
    return product - 1 / topology.num_nodes


def matrix_power_zero() -> Topology:
    """Return the de Bruijn graph of 512 nodes: directed, and W^9 is the exact average."""
    n = 512
    w = np.zeros((n, n))
    for node in range(n):
        w[node, [node // 2, node // 2 + n // 2]] = 0.5
    return from_matrix(w)


@settings(max_examples=60, deadline=None)
@given(spec=st.sampled_from(PLAIN + IRREGULAR), n=sizes)
def test_the_formulas_are_the_numbers_of_the_matrix(spec: str, n: int) -> None:
    topology = from_spec(spec, num_nodes=n)
    a, per_round = deviation(topology), 1 / topology.period
    largest = np.abs(np.linalg.eigvals(a)).max()
    norm = np.linalg.norm(a, 2)
    # Where the product is 0 up to rounding, so are its eigenvalues; a root would show the rest.
    gap = 1.0 if norm < 1e-12 else 1 - largest**per_round
    rate = 1.0 if norm < 1e-12 else 1 - norm ** (2 * per_round)
    assert theory.spectral_gap(topology) == pytest.approx(gap, abs=1e-6)
    assert theory.consensus_rate(topology) == pytest.approx(rate, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(spec=st.sampled_from(PLAIN), n=sizes)
def test_a_graph_has_the_same_spectrum_without_its_formula(spec: str, n: int) -> None:
    topology = from_spec(spec, num_nodes=n)
    bare = without_formula(topology)
    assert theory.spectral_gap(bare) == pytest.approx(theory.spectral_gap(topology), abs=1e-6)
    assert theory.consensus_rate(bare) == pytest.approx(theory.consensus_rate(topology), abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "n"),
    [("ring", 2_101), ("exponential", 2_100), ("one-peer-exponential", 2_100), ("chain", 2_050)],
)
def test_iteration_on_a_large_sparse_matrix_finds_the_closed_form(spec: str, n: int) -> None:
    topology = from_spec(spec, num_nodes=n)
    bare = without_formula(topology)
    assert theory.spectral_gap(bare) == pytest.approx(theory.spectral_gap(topology), rel=1e-4)
    assert theory.consensus_rate(bare) == pytest.approx(theory.consensus_rate(topology), rel=1e-4)


@pytest.mark.parametrize(
    ("spec", "n"),
    [
        ("complete", 7),
        ("one-peer-exponential", 32),
        ("one-peer-hypercube", 32),
        ("base-graph:1", 25),
        ("base-graph:2", 600),
        ("simple-base-graph:1", 21),
    ],
)
def test_exact_averaging_has_gap_and_rate_one(spec: str, n: int) -> None:
    topology = from_spec(spec, num_nodes=n)
    assert theory.spectral_gap(topology) == 1.0
    assert theory.consensus_rate(topology) == 1.0


def test_a_power_that_averages_exactly_has_gap_one_although_one_round_does_not() -> None:
    topology = matrix_power_zero()
    assert theory.spectral_gap(topology) == 1.0
    assert theory.consensus_rate(topology) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("spec", ["alone", "ring", "star", "chain", "complete", "base-graph:1"])
def test_one_node_agrees_with_itself(spec: str) -> None:
    topology = from_spec(spec, num_nodes=1)
    assert theory.spectral_gap(topology) == theory.consensus_rate(topology) == 1.0
    assert theory.spectral_gap(without_formula(topology)) == 1.0


def test_groups_that_never_meet_have_gap_and_rate_zero() -> None:
    pairs = undirected("<pairs>", 6, lambda node: [node ^ 1], 1)
    for topology in (topologies.alone(6), pairs):
        assert theory.spectral_gap(topology) == theory.consensus_rate(topology) == 0.0


def test_a_negative_eigenvalue_counts_as_much_as_a_positive_one() -> None:
    swapping = from_matrix([[0.1, 0.9], [0.9, 0.1]])  # eigenvalues 1 and -0.8
    assert theory.spectral_gap(swapping) == pytest.approx(0.2)
    assert theory.consensus_rate(swapping) == pytest.approx(1 - 0.64)
    assert theory.spectral_gap(from_matrix([[0.0, 1.0], [1.0, 0.0]])) == 0.0


def test_no_vector_disagrees_for_longer_than_the_consensus_rate_says() -> None:
    rng = np.random.default_rng(0)
    for spec in ("star", "exponential", "one-peer-exponential", "binary-tree"):
        topology = from_spec(spec, num_nodes=12)
        x = rng.standard_normal((12, 500))
        x -= x.mean(axis=0)
        mixed = reduce(
            lambda y, round: topology.matrix(round) @ y, range(1, topology.period + 1), x
        )
        left = (np.square(mixed).sum(axis=0) / np.square(x).sum(axis=0)).max()
        assert left <= (1 - theory.consensus_rate(topology)) ** topology.period + 1e-12


def test_a_fresh_graph_each_round_contracts_on_average_by_the_consensus_rate() -> None:
    topology = from_spec("random-regular:3", num_nodes=12)
    x = np.random.default_rng(1).standard_normal(12)
    x -= x.mean()
    rounds = range(1, 2_001)
    left = np.mean([np.square(topology.sparse(round) @ x).sum() for round in rounds])
    rate = theory.consensus_rate(topology)
    assert left / np.square(x).sum() == pytest.approx(1 - rate, rel=0.03)
    assert theory.spectral_gap(topology) == pytest.approx(1 - np.sqrt(1 - rate))


def test_names_of_the_nodes_do_not_matter() -> None:
    w = from_spec("binary-tree", num_nodes=23).matrix(1)
    order = np.random.default_rng(2).permutation(23)
    renamed = from_matrix(w[np.ix_(order, order)])
    assert theory.spectral_gap(renamed) == pytest.approx(theory.spectral_gap(from_matrix(w)))


def test_the_gap_ranks_topologies_otherwise_than_training_does() -> None:
    gap = {spec: theory.spectral_gap(from_spec(spec, 32)) for spec in ("star", "ring")}
    cliques = theory.spectral_gap(from_spec("two-cliques", 32))
    assert gap["star"] > 2 * gap["ring"] > 2 * cliques


def test_a_fresh_graph_without_a_formula_is_refused_by_name() -> None:
    unknown = without_formula(from_spec("random-regular:3", num_nodes=12))
    with pytest.raises(PlanError, match=r"random-regular:3.*effective_neighbors"):
        theory.spectral_gap(unknown)
