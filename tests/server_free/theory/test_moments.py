"""The exact errors are those of the algorithms: drawn, computed densely, and in their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Schedule, Teleport
from flwr_gossip.server_free.theory import moments
from flwr_gossip.server_free.theory.mode_responses import ModeResponse
from flwr_gossip.server_free.theory.moments import (
    gossip_errors,
    gossip_moments,
    teleportation_errors,
    teleportation_moments,
)
from flwr_gossip.server_free.topologies import Topology, from_spec
from reference import dense

Vector = NDArray[np.float64]

ROUNDS, RATE = 20, 0.15
SIGMA2, ZETA2, START = 0.5, 2.0, 3.0
SETTINGS = {"sigma2": SIGMA2, "zeta2": ZETA2, "start": START}
CLOSED = ["alone", "ring", "star", "one-peer-exponential", "directed-ring", "complete", "chain"]
PRODUCTS = ["base-graph:1", "simple-base-graph:2"]
SPECTRA = ["binary-tree", "erdos-renyi:0.5", "small-world:4,0.3"]


def shuffles(n: int = 7) -> Topology:
    """Return a static W that is neither symmetric nor normal: a mean of random permutations."""
    rng = np.random.default_rng(5)
    return topologies.from_matrix(sum(np.eye(n)[rng.permutation(n)] for _ in range(3)) / 3)


# --- against the algorithm itself ---------------------------------------------------------------


def drawn(topology: Topology, schedule: Schedule, seed: int, size: int) -> Vector:
    """Run the algorithm once; return the slots' mean squared error of each coordinate, (size,)."""
    rng, n = np.random.default_rng(seed), schedule.num_nodes
    b = rng.standard_normal((n, size))
    b -= b.mean(axis=0)
    b *= np.sqrt(ZETA2 * n / max(np.square(b).sum(), 1e-30))

    def train(x: Vector, node: int, _round: int) -> Vector:
        noise = rng.standard_normal(size) * np.sqrt(SIGMA2 / size)
        return np.asarray(x - RATE * (x - b[node] + noise))

    x0 = np.full(size, np.sqrt(START / size))
    z = dense(Plan(topology, schedule, ROUNDS), x0, train, ROUNDS)
    return np.asarray(np.square(z).mean(axis=0) * size)


def agrees(samples: Vector, expected: float) -> bool:
    """Return whether the mean is within 4 standard errors, which are small."""
    error = samples.std(ddof=1) / np.sqrt(samples.size)
    assert error < 0.05 * expected
    return bool(abs(samples.mean() - expected) < 4 * error)


@pytest.mark.parametrize(
    ("spec", "n"),
    [
        ("ring", 9),
        ("star", 6),
        ("one-peer-exponential", 7),
        ("directed-ring", 5),
        ("base-graph:1", 6),
        ("binary-tree", 7),
        ("alone", 3),
        ("ring", 1),
    ],
)
def test_gossip_errs_as_drawn(spec: str, n: int) -> None:
    topology = from_spec(spec, num_nodes=n)
    expected = gossip_errors(topology, RATE, ROUNDS, **SETTINGS)[-1]
    assert agrees(drawn(topology, AllActive(n), 1, 4000), float(expected))


def test_gossip_over_a_matrix_that_is_not_normal_errs_as_drawn() -> None:
    expected = gossip_errors(shuffles(), RATE, ROUNDS, **SETTINGS)[-1]
    assert agrees(drawn(shuffles(), AllActive(7), 1, 4000), float(expected))


@pytest.mark.parametrize(
    ("spec", "n", "k"),
    [
        ("ring", 8, 1),
        ("ring", 8, 3),
        ("ring", 8, 8),
        ("one-peer-exponential", 9, 5),
        ("base-graph:1", 9, 6),
        ("star", 6, 4),
    ],
)
def test_teleportation_errs_as_drawn(spec: str, n: int, k: int) -> None:
    topology = from_spec(spec, num_nodes=k)
    expected = teleportation_errors(topology, n, RATE, ROUNDS, **SETTINGS)[-1]
    runs = [drawn(topology, Teleport(n, k, seed), seed, 40).mean() for seed in range(120)]
    assert agrees(np.array(runs), float(expected))


@pytest.mark.parametrize("degree", [1, 3])
def test_gossip_over_fresh_random_graphs_errs_as_drawn(degree: int) -> None:
    n = 8
    runs = [
        drawn(from_spec(f"random-regular:{degree},seed={seed}", n), AllActive(n), seed, 40).mean()
        for seed in range(120)
    ]
    topology = from_spec(f"random-regular:{degree}", n)
    assert agrees(np.array(runs), float(gossip_errors(topology, RATE, ROUNDS, **SETTINGS)[-1]))


# --- against dense matrices, round by round -----------------------------------------------------


def dense_errors(topology: Topology, n: int | None, rate: float, num_rounds: int) -> Vector:
    """Return the errors of all rounds from (k, k) covariances; with n, of Teleportation."""
    k = topology.num_nodes
    mean, nodes = np.full((k, k), 1 / k), k if n is None else n
    spread = ZETA2 * nodes / max(1, nodes - 1) * (nodes > 1)
    drawn_mean = ZETA2 * (1 - (k - 1) / max(1, nodes - 1)) * (nodes > 1)
    fresh = SIGMA2 * np.eye(k)
    if n is not None:
        fresh = fresh + spread * (np.eye(k) - mean) + drawn_mean * mean
    covariance, fixed = START * np.ones((k, k)), np.zeros((k, k))
    errors = [START]
    for round in range(1, num_rounds + 1):
        w = topology.matrix(round)
        covariance = w @ ((1 - rate) ** 2 * covariance + rate**2 * fresh) @ w.T
        fixed = w @ ((1 - rate) * fixed + rate * np.eye(k))
        drift = np.square(fixed @ (np.eye(k) - mean)).sum() * spread * (n is None)
        errors.append((np.trace(covariance) + drift) / k)
    return np.array(errors)


specs = st.sampled_from([*CLOSED, *SPECTRA, *PRODUCTS])


@settings(max_examples=60, deadline=None)
@given(
    spec=specs,
    k=st.integers(5, 14),
    more=st.none() | st.integers(0, 5),
    rate=st.floats(1e-3, 1.9),
)
def test_all_rounds_are_those_of_dense_covariances(
    spec: str, k: int, more: int | None, rate: float
) -> None:
    topology = from_spec(spec, num_nodes=k)
    if more is None:
        found = gossip_errors(topology, rate, 30, **SETTINGS)
    else:
        found = teleportation_errors(topology, k + more, rate, 30, **SETTINGS)
    n = None if more is None else k + more
    np.testing.assert_allclose(found, dense_errors(topology, n, rate, 30), rtol=1e-9)


def test_one_or_two_nodes_are_ordinary() -> None:
    for n in (1, 2):
        found = gossip_errors(from_spec("ring", n), 0.3, 10, **SETTINGS)
        np.testing.assert_allclose(found, dense_errors(from_spec("ring", n), None, 0.3, 10))
    found = teleportation_errors(from_spec("one-peer-exponential", 1), 1, 0.3, 10, **SETTINGS)
    alone = gossip_errors(from_spec("ring", 1), 0.3, 10, sigma2=SIGMA2, zeta2=0, start=START)
    np.testing.assert_allclose(found, alone)


def test_many_rounds_and_few_agree() -> None:
    topology = from_spec("base-graph:1", 11)
    long = gossip_errors(topology, 0.05, 500)
    np.testing.assert_allclose(gossip_errors(topology, 0.05, 3), long[:4], rtol=1e-12)
    assert gossip_errors(topology, 0.05, 0).tolist() == [10.0]


def test_probes_come_within_their_stated_error() -> None:
    topology = from_spec("base-graph:1", 300)
    found = gossip_moments(topology, 0.05, 60)
    phases = [topology.sparse(round) for round in range(1, (topology.period or 1) + 1)]
    covariance, fixed = np.zeros((2, 300, 300))
    for round in range(60):
        w = phases[round % len(phases)]
        covariance = w @ (w @ (0.95**2 * covariance + 0.05**2 * np.eye(300))).T
        fixed = w @ (0.95 * fixed + 0.05 * np.eye(300))
    apart = np.trace(covariance) - covariance.sum() / 300  # the noise of what nodes disagree in
    apart += np.square(fixed - fixed.mean(axis=0)).sum() * 300 / 299
    assert found.consensus_distances[-1] == pytest.approx(apart / 300, rel=0.01)


def test_a_symmetric_matrix_and_its_closed_form_give_the_same() -> None:
    for spec in ("ring", "star", "complete", "chain"):
        closed = from_spec(spec, 12)
        given_ = topologies.from_matrix(closed.matrix(1))
        assert given_.modes(1) is None
        for errors in (gossip_errors, lambda *a, **s: teleportation_errors(a[0], 20, *a[1:], **s)):
            np.testing.assert_allclose(
                errors(given_, 0.1, 200), errors(closed, 0.1, 200), rtol=1e-10
            )


def test_random_modes_without_randomness_are_the_fixed_ones() -> None:
    fixed = ModeResponse.of([from_spec("ring", 9).modes(1)])  # type: ignore[list-item]
    random = ModeResponse(fixed.eigenvalues, fixed.energies, fixed.shares, True)
    rounds, rates = np.array([0, 1, 2, 7, 400]), np.array([1e-3, 0.1, 0.5, 1.0])
    np.testing.assert_allclose(random.drift(rounds, rates), fixed.drift(rounds, rates), rtol=1e-9)


# --- what they show -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["ring", "one-peer-exponential", "base-graph:1", "alone"])
def test_the_mean_model_does_not_see_the_topology(spec: str) -> None:
    found = gossip_moments(from_spec(spec, 12), 0.1, 50)
    complete = gossip_moments(from_spec("complete", 12), 0.1, 50)
    np.testing.assert_allclose(found.mean_errors, complete.mean_errors, rtol=1e-12)
    np.testing.assert_allclose(complete.consensus_distances, 0.0, atol=1e-12)
    assert (found.consensus_distances[1:] >= -1e-12).all()


def test_with_homogeneous_data_teleporting_everyone_is_gossip() -> None:
    ring = from_spec("ring", 12)
    teleported = teleportation_errors(ring, 12, 0.1, 80, zeta2=0.0)
    np.testing.assert_allclose(teleported, gossip_errors(ring, 0.1, 80, zeta2=0.0), rtol=1e-12)


def test_with_heterogeneous_data_teleporting_everyone_beats_a_fixed_assignment() -> None:
    ring = from_spec("ring", 40)
    teleported = teleportation_moments(ring, 40, 0.05, 200)
    gossip = gossip_moments(ring, 0.05, 200)
    assert teleported.errors[-1] < 0.5 * gossip.errors[-1]
    np.testing.assert_allclose(teleported.mean_errors, gossip.mean_errors, rtol=1e-12)


def test_the_drift_of_a_mode_is_of_order_eta_zeta_over_the_gap() -> None:
    # Two nodes that average a little: one mode mu, both noise and drift in closed form.
    mu, eta = 0.9, 1e-3
    pair = topologies.from_matrix([[(1 + mu) / 2, (1 - mu) / 2], [(1 - mu) / 2, (1 + mu) / 2]])
    drift = gossip_moments(pair, eta, 5000, sigma2=0.0).consensus_distances[-1]
    noise = teleportation_moments(pair, 2, eta, 5000, sigma2=0.0).consensus_distances[-1]
    assert drift == pytest.approx(eta**2 * mu**2 / (1 - mu) ** 2, rel=0.03)
    assert noise == pytest.approx(eta**2 * mu**2 / (1 - mu**2), rel=0.03)


def test_one_token_sees_all_heterogeneity_and_all_nodes_none() -> None:
    errors = [
        teleportation_moments(from_spec("complete", k), 10, 0.1, 300, sigma2=0.0).errors[-1]
        for k in (1, 4, 10)
    ]
    assert errors[0] == pytest.approx(0.1 / 1.9)  # eta^2 zeta2 / (1 - (1 - eta)^2)
    assert errors[1] == pytest.approx(0.1 / 1.9 * (1 - 3 / 9) / 4)
    assert errors[2] == pytest.approx(0.0, abs=1e-12)


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sigma2": -1.0}, "sigma2 is -1.0, allowed is a finite number, 0 or more"),
        ({"zeta2": float("nan")}, "zeta2 is nan, allowed"),
        ({"start": float("inf")}, "start is inf, allowed"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, allowed is 0 < learning_rate < 2"),
        ({"learning_rate": 2.0}, "learning_rate is 2.0, allowed"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, allowed"),
        ({"num_rounds": -1}, "num_rounds is -1, allowed is a whole number from 0"),
        ({"num_nodes": 3}, r"4 slots, allowed are 1\.\.3"),
        ({"num_nodes": 0}, "num_nodes is 0, allowed is a whole number from 1"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(change: dict[str, float], named: str) -> None:
    values = {"num_nodes": 8, "learning_rate": 0.1, "num_rounds": 5} | change
    with pytest.raises(PlanError, match=named):
        teleportation_errors(from_spec("ring", 4), **values)  # type: ignore[arg-type]


def test_what_mixes_too_slowly_for_products_is_known_for_fewer_rounds() -> None:
    def row(node: int, phase: int) -> dict[int, float]:
        return {node: 0.5, node ^ 1: 0.5} if phase == 0 else {node: 1.0}  # pairs, for ever

    pairs = Topology("<pairs>", 6, 2, row, lambda i, p: [i ^ 1] if p == 0 else [], 1, True)
    assert moments.gossip_errors(pairs, 0.1, 100).shape == (101,)
    with pytest.raises(PlanError, match=r"<pairs>.*mixes slowly.*known for up to 2048 rounds"):
        moments.gossip_errors(pairs, 0.1, 5000)


def test_fresh_matrices_without_modes_are_refused() -> None:
    fresh = Topology("<fresh>", 2, None, lambda i, p: {i: 1.0}, lambda i, p: [], 0, True)
    with pytest.raises(PlanError, match=r"<fresh>.*states no modes.*simulate"):
        moments.gossip_errors(fresh, 0.1, 5)
