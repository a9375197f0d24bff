"""Rates on random quadratics: the fixed point, the exact covariance, and training itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.theory import (
    best_learning_rate,
    best_rate,
    effective_neighbors,
    noise_ratio,
    noise_variance,
    quadratic_rate,
)
from flwr_gossip.server_free.topologies import Topology, from_spec

ALIKE = ["complete", "exponential", "hypercube", "ring", "torus:4x4"]
UNLIKE = ["binary-tree", "chain", "star", "two-cliques"]
CHANGING = ["base-graph:1", "one-peer-exponential"]
rates = st.floats(0.01, 1.5)


def without_formula(topology: Topology) -> Topology:
    return replace(topology, modes_of=None)


def transition(topology: Topology, z: float, lr: float) -> np.ndarray:
    """Return the (n^2, n^2) matrix of a period on flattened covariances, by its definition."""
    n, phases = topology.num_nodes, range(1, topology.period + 1)

    def period(c: np.ndarray) -> np.ndarray:
        for round in phases:
            w = topology.matrix(round)
            c = w @ ((1 - lr) ** 2 * c + (z - 1) * lr**2 * np.diag(c.diagonal())) @ w.T
        return c.ravel()

    return np.stack([period(unit.reshape(n, n)) for unit in np.eye(n * n)], axis=1)


def exact_rate(topology: Topology, z: float, lr: float) -> float:
    radius = np.abs(np.linalg.eigvals(transition(topology, z, lr))).max()
    return float(1 - radius ** (1 / topology.period))


def trained(topology: Topology, lr: float, rounds: int, dimension: int, batch: int) -> np.ndarray:
    """Return E |x_i|^2 after each round of training on f(x) = (a . x)^2 / 2, averaged over runs."""
    rng, n, runs = np.random.default_rng(0), topology.num_nodes, 4_000
    x = np.ones((runs, n, dimension)) / np.sqrt(dimension)
    errors = []
    for round in range(1, rounds + 1):
        a = rng.standard_normal((batch, runs, n, dimension))
        gradient = (a * (a * x).sum(axis=-1, keepdims=True)).mean(axis=0)
        x = np.einsum("ij,rjd->rid", topology.matrix(round), x - lr * gradient)
        errors.append(np.square(x).sum(axis=(0, 2)).mean() / runs)
    return np.array(errors)


@settings(max_examples=30, deadline=None)
@given(spec=st.sampled_from(ALIKE), z=st.floats(1.5, 100), lr=rates)
def test_the_fixed_point_solves_the_equation_of_the_paper(spec: str, z: float, lr: float) -> None:
    topology = from_spec(spec, num_nodes=16)
    factor = 1 - quadratic_rate(topology, z, lr)
    neighbors = effective_neighbors(topology, (1 - lr) ** 2 / factor)
    assert factor == pytest.approx((1 - lr) ** 2 + (z - 1) * lr**2 / neighbors, rel=1e-7)


@pytest.mark.parametrize("lr", [0.05, 0.3, 1.0, 1.2])
@pytest.mark.parametrize("spec", ALIKE)
def test_where_nodes_look_alike_the_fixed_point_is_exact(spec: str, lr: float) -> None:
    topology = from_spec(spec, num_nodes=16)
    exact = exact_rate(topology, 7.0, lr)
    assert quadratic_rate(topology, 7.0, lr) == pytest.approx(exact, abs=1e-9)
    for given_as in (topology, without_formula(topology)):
        found = quadratic_rate(given_as, 7.0, lr, method="covariance")
        assert found == pytest.approx(exact, abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(spec=st.sampled_from(UNLIKE + CHANGING), n=st.integers(2, 10), z=st.floats(1, 50), lr=rates)
def test_the_covariance_method_is_exact_for_any_graph(
    spec: str, n: int, z: float, lr: float
) -> None:
    topology = from_spec(spec, num_nodes=n)
    found = quadratic_rate(topology, z, lr, method="covariance")
    assert found == pytest.approx(exact_rate(topology, z, lr), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(spec=st.sampled_from(UNLIKE), n=st.integers(3, 40), z=st.floats(1.1, 50), lr=rates)
def test_the_worst_and_the_mean_worker_enclose_the_exact_rate(
    spec: str, n: int, z: float, lr: float
) -> None:
    topology = from_spec(spec, num_nodes=n)
    exact = quadratic_rate(topology, z, lr, method="covariance")
    assert quadratic_rate(topology, z, lr, mode="worst") <= exact + 1e-7
    assert exact <= quadratic_rate(topology, z, lr, mode="mean") + 1e-7


@pytest.mark.parametrize("spec", [*UNLIKE, *CHANGING, "base-graph:3"])
def test_the_default_is_near_the_exact_rate_at_the_best_learning_rate(spec: str) -> None:
    topology = from_spec(spec, num_nodes=25)
    lr = best_learning_rate(topology, 20.0)
    exact = quadratic_rate(topology, 20.0, lr, method="covariance")
    assert best_rate(topology, 20.0) == pytest.approx(exact, rel=0.15)


@pytest.mark.parametrize("spec", ["star", "ring", "one-peer-exponential", "base-graph:1"])
def test_training_on_normal_data_goes_as_fast_as_computed(spec: str) -> None:
    topology, dimension, batch, lr, rounds = from_spec(spec, num_nodes=6), 6, 4, 0.25, 9
    errors = trained(topology, lr, rounds, dimension, batch)
    z, covariance, expected = noise_ratio(dimension, batch), np.ones((6, 6)), []
    assert z == 11 / 4
    for round in range(1, rounds + 1):
        w = topology.matrix(round)
        stepped = (1 - lr) ** 2 * covariance
        covariance = w @ (stepped + (z - 1) * lr**2 * np.diag(covariance.diagonal())) @ w.T
        expected.append(covariance.diagonal().mean())
    assert errors == pytest.approx(np.array(expected), rel=0.03)
    rate = quadratic_rate(topology, z, lr, method="covariance")
    p = topology.period
    assert 1 - (errors[-1] / errors[-1 - p]) ** (1 / p) == pytest.approx(rate, rel=0.03)


@pytest.mark.parametrize("n", [1, 4, 32])
def test_complete_graph_and_training_alone_have_closed_forms(n: int) -> None:
    z = 17.0
    complete, alone = from_spec("complete", n), from_spec("alone", n)
    best = 1 / (1 + (z - 1) / n)
    assert best_learning_rate(complete, z) == pytest.approx(best, rel=1e-6)
    assert best_rate(complete, z) == pytest.approx(best, rel=1e-9)
    assert best_learning_rate(alone, z) == pytest.approx(1 / z, rel=1e-6)
    assert best_rate(alone, z) == pytest.approx(1 / z, rel=1e-9)
    assert quadratic_rate(complete, z, 0.3) == pytest.approx(1 - 0.49 - 16 * 0.09 / n)


@pytest.mark.parametrize("spec", [*ALIKE, *UNLIKE, *CHANGING, "random-regular:4"])
def test_the_best_learning_rate_is_the_best_of_all(spec: str) -> None:
    variance = noise_variance(from_spec(spec, num_nodes=16))
    for z in (1.5, 20.0, 500.0):
        found = minimize_scalar(
            lambda log_lr, z=z: -quadratic_rate(variance, z, np.exp(log_lr)),
            bounds=(-np.log(z) - 2, 0.0),
            method="bounded",
            options={"xatol": 1e-8},
        )
        assert best_rate(variance, z) == pytest.approx(-found.fun, rel=1e-7)
        assert best_learning_rate(variance, z) == pytest.approx(np.exp(found.x), rel=1e-3)


def test_more_effective_neighbors_allow_larger_learning_rates_and_train_faster() -> None:
    specs = [
        "alone",
        "star",
        "binary-tree",
        "ring",
        "one-peer-exponential",
        "hypercube",
        "complete",
    ]
    topologies = [from_spec(spec, num_nodes=32) for spec in specs]
    for found in (best_learning_rate, best_rate):
        values = [found(topology, 50.0) for topology in topologies]
        assert values == sorted(set(values))
    neighbors = [effective_neighbors(topology, 0.951, "worst") for topology in topologies]
    assert neighbors == sorted(neighbors)


def test_a_learning_rate_that_is_too_large_alone_is_not_with_neighbors() -> None:
    alone, torus = from_spec("alone", 32), from_spec("torus:4x8", 32)
    assert quadratic_rate(alone, 17.0, 0.15) < 0 < quadratic_rate(torus, 17.0, 0.15)


def test_without_noise_the_topology_does_not_matter() -> None:
    for spec in ("ring", "complete", "star"):
        topology = from_spec(spec, num_nodes=8)
        for method in ("fixed-point", "covariance"):
            assert quadratic_rate(topology, 1.0, 0.3, method) == pytest.approx(1 - 0.49)
            assert quadratic_rate(topology, 1.0, 1.0, method) == pytest.approx(1.0)
        assert best_learning_rate(topology, 1.0) == best_rate(topology, 1.0) == 1.0
        assert quadratic_rate(topology, 1 + 1e-12, 0.3) == pytest.approx(1 - 0.49)


def test_tiny_learning_rates_gain_twice_themselves_as_one_worker_without_noise() -> None:
    for spec in ("ring", "star"):
        rate = quadratic_rate(from_spec(spec, num_nodes=64), 3.0, 1e-6)
        assert rate == pytest.approx(2e-6, rel=1e-4)


def test_a_table_for_thousands_of_nodes_needs_no_matrix_where_there_are_formulas() -> None:
    for spec in ("ring", "one-peer-exponential", "torus:100x100", "random-regular:4"):
        topology = from_spec(spec, num_nodes=10_000)
        lr = best_learning_rate(topology, 100.0)
        exact = quadratic_rate(topology, 100.0, lr, method="covariance")
        assert best_rate(topology, 100.0) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("z", [0.99, -1.0, float("nan"), float("inf")])
def test_a_noise_ratio_that_cannot_be_is_named(z: float) -> None:
    topology = from_spec("ring", num_nodes=4)
    for ask in (
        lambda: quadratic_rate(topology, z, 0.1),
        lambda: best_learning_rate(topology, z),
        lambda: best_rate(topology, z),
    ):
        with pytest.raises(PlanError, match=rf"noise_ratio is {z}"):
            ask()


@pytest.mark.parametrize("lr", [0.0, -0.1, float("nan"), float("inf")])
def test_a_learning_rate_that_cannot_be_is_named(lr: float) -> None:
    with pytest.raises(PlanError, match=rf"learning_rate is {lr}"):
        quadratic_rate(from_spec("ring", num_nodes=4), 2.0, lr)


def test_what_the_covariance_method_cannot_do_is_said() -> None:
    tree = from_spec("binary-tree", num_nodes=1_001)
    with pytest.raises(PlanError, match=r"at most 1000 nodes.*'fixed-point'"):
        quadratic_rate(tree, 2.0, 0.1, method="covariance")
    with pytest.raises(PlanError, match="method is 'magic'"):
        quadratic_rate(from_spec("ring", 4), 2.0, 0.1, method="magic")
    with pytest.raises(PlanError, match="given a topology, 'covariance'"):
        quadratic_rate(noise_variance(from_spec("ring", 4)), 2.0, 0.1, method="covariance")
    with pytest.raises(PlanError, match="dimension is 0"):
        noise_ratio(0, 1)
