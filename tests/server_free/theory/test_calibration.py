"""Fitting gamma: a gamma that made the losses is found again, and bad losses are named."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.theory import effective_neighbors, fit_gamma
from flwr_gossip.server_free.topologies import Topology, from_spec

COUNTS = (1, 2, 4, 8, 16, 32)
SPECS = ("star", "binary-tree", "two-cliques", "ring", "one-peer-exponential", "torus:4x8")
TOPOLOGIES = [from_spec(spec, num_nodes=32) for spec in SPECS]


def loss(neighbors: float) -> float:
    """Return a loss that falls with the number of neighbors, as in training."""
    return 0.3 + 1.2 / neighbors**0.6


COMPLETE = {n: loss(n) for n in COUNTS}


def losses(gamma: float, of: Callable[[float], float] = loss) -> dict[Topology, float]:
    return {topology: of(effective_neighbors(topology, gamma)) for topology in TOPOLOGIES}


@settings(max_examples=15, deadline=None)
@given(gamma=st.floats(0.3, 0.999))
def test_the_gamma_behind_the_losses_is_found_from_points_on_a_fine_curve(gamma: float) -> None:
    fine = {n: loss(n) for n in range(1, 33)}
    found = fit_gamma(fine, losses(gamma))
    assert 1 / (1 - found.gamma) == pytest.approx(1 / (1 - gamma), rel=0.02)
    assert found.residual < 2e-3


def test_powers_of_two_are_enough_points() -> None:
    found = fit_gamma(COMPLETE, losses(0.951))
    assert found.gamma == pytest.approx(0.951, abs=0.003)
    assert [one.topology for one in found.topologies] == TOPOLOGIES
    for one in found.topologies:
        assert one.loss == loss(effective_neighbors(one.topology, 0.951))
        assert one.neighbors == effective_neighbors(one.topology, found.gamma)
        assert one.predicted == pytest.approx(one.loss, abs=0.01)
    misses = [one.predicted - one.loss for one in found.topologies]
    assert found.residual == pytest.approx(np.sqrt(np.mean(np.square(misses))))


def test_noise_moves_gamma_little_and_shows_in_the_residual() -> None:
    rng = np.random.default_rng(0)
    noisy = {t: value + 0.01 * rng.standard_normal() for t, value in losses(0.951).items()}
    found = fit_gamma(COMPLETE, noisy)
    assert 0.92 < found.gamma < 0.97
    assert 0.003 < found.residual < 0.03


def test_gamma_predicts_topologies_that_were_not_trained() -> None:
    ring, torus = from_spec("ring", 32), from_spec("torus:4x8", 32)
    true = losses(0.97)
    gamma = fit_gamma(COMPLETE, [(ring, true[ring])]).gamma
    predicted = loss(effective_neighbors(torus, gamma))
    assert predicted == pytest.approx(true[torus], abs=0.01)


def test_one_topology_more_than_once_is_a_mean_of_its_runs() -> None:
    ring = from_spec("ring", 32)
    middle = losses(0.95)[ring]
    once = fit_gamma(COMPLETE, [(ring, middle)])
    twice = fit_gamma(COMPLETE, [(ring, middle - 0.01), (ring, middle + 0.01)])
    assert twice.gamma == pytest.approx(once.gamma, abs=1e-5)
    assert twice.residual == pytest.approx(0.01, rel=1e-3)


def test_the_worst_worker_can_be_fitted_too() -> None:
    by_worst = {t: loss(effective_neighbors(t, 0.951, "worst")) for t in TOPOLOGIES}
    assert fit_gamma(COMPLETE, by_worst, mode="worst").gamma == pytest.approx(0.951, abs=0.004)


def test_a_rising_measure_such_as_accuracy_can_be_fitted() -> None:
    complete = {n: -value for n, value in COMPLETE.items()}
    found = fit_gamma(complete, losses(0.951, lambda n: -loss(n)))
    assert found.gamma == pytest.approx(0.951, abs=0.003)


def test_a_curve_that_rises_and_falls_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_gamma(COMPLETE, losses(0.9))
    with pytest.warns(UserWarning, match="rise and fall"):
        fit_gamma({**COMPLETE, 8: 0.2}, losses(0.9))


def test_losses_that_no_gamma_explains_are_warned_of() -> None:
    ring = from_spec("ring", 32)
    with pytest.warns(UserWarning, match=r"gamma comes out at .* no gamma explains"):
        fit_gamma(COMPLETE, [(ring, loss(1.5))])  # a ring has three neighbors at least


@pytest.mark.parametrize(
    ("complete", "named"),
    [
        ({}, "complete_losses has 0 entries"),
        ({4: 1.0}, "complete_losses has 1 entries"),
        ({0: 2.0, 4: 1.0}, "loss 2.0 for 0 workers"),
        ({-1: 2.0, 4: 1.0}, "for -1 workers"),
        ({1: math.nan, 4: 1.0}, "loss nan for 1 workers"),
        ({1: 2.0, 4: math.inf}, "loss inf for 4 workers"),
    ],
)
def test_a_bad_curve_is_named(complete: dict[int, float], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        fit_gamma(complete, losses(0.9))


def test_bad_losses_are_named() -> None:
    ring, alone = from_spec("ring", 32), from_spec("alone", 32)
    with pytest.raises(PlanError, match="losses is empty"):
        fit_gamma(COMPLETE, {})
    with pytest.raises(PlanError, match="loss of 'ring' is nan"):
        fit_gamma(COMPLETE, {ring: math.nan})
    with pytest.raises(PlanError, match=r"do not determine gamma.*ring"):
        fit_gamma(COMPLETE, {alone: 1.0, from_spec("complete", 32): 0.5})
    with pytest.raises(PlanError, match="do not determine gamma"):
        fit_gamma(dict.fromkeys(COUNTS, 1.0), {ring: 1.0})


def test_a_curve_that_is_too_short_says_what_to_measure() -> None:
    ring = from_spec("ring", 32)
    short = {n: value for n, value in COMPLETE.items() if n <= 4}
    with pytest.raises(PlanError, match=r"'ring'.*covers 1 to 4 workers.*up to 32"):
        fit_gamma(short, {ring: losses(0.951)[ring]})
    # Points below what the topology needs may be missing.
    enough = {n: value for n, value in COMPLETE.items() if n >= 2}
    assert fit_gamma(enough, {ring: losses(0.9)[ring]}).gamma == pytest.approx(0.9, abs=0.02)
