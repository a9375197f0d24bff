"""The rates have the limits that their papers state, and k balances their terms."""

from __future__ import annotations

from itertools import pairwise
from math import inf, sqrt

import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.theory import spectra
from flwr_gossip.server_free.theory.rates import (
    balancing_num_active,
    dsgd_rate,
    teleportation_rate,
)
from flwr_gossip.server_free.topologies import from_spec

ZERO = {"sigma2": 0.0, "zeta2": 0.0}


def test_the_terms_are_those_of_the_formulas() -> None:
    settings = {"sigma2": 3.0, "zeta2": 5.0, "smoothness": 2.0, "start_gap": 7.0}
    gossip = sqrt(14 * 3 / (10 * 400)) + (14**2 * 0.75 * (3 + 5 / 0.25) / (0.25 * 400**2)) ** (
        1 / 3
    )
    assert dsgd_rate(400, 10, 0.25, **settings) == pytest.approx(gossip + 14 / (0.25 * 400))
    mean = sqrt(14 * (3 + (1 - 3 / 9) * 5) / (4 * 400))
    rest = (14**2 * 0.75 * (3 + 5) / (0.25 * 400**2)) ** (1 / 3) + 14 / (0.25 * 400)
    assert teleportation_rate(400, 10, 4, 0.25, **settings) == pytest.approx(mean + rest)


def test_with_exact_averaging_both_are_parallel_sgd() -> None:
    both = dsgd_rate(100, 8, 1.0), teleportation_rate(100, 8, 8, 1.0)
    assert both == pytest.approx([sqrt(1 / 800) + 1 / 100] * 2)


def test_one_token_sees_all_heterogeneity_and_a_single_node_none() -> None:
    assert teleportation_rate(100, 5, 1, 1.0, zeta2=3.0) == pytest.approx(sqrt(4 / 100) + 0.01)
    assert teleportation_rate(100, 1, 1, 1.0, zeta2=3.0) == pytest.approx(sqrt(1 / 100) + 0.01)


def test_more_rounds_and_faster_consensus_never_hurt() -> None:
    for rate in (
        [dsgd_rate(t, 16, 0.1) for t in (1, 10, 1000)],
        [dsgd_rate(100, 16, p) for p in (0.0, 0.01, 0.5, 1.0)],
        [teleportation_rate(t, 16, 4, 0.1) for t in (1, 10, 1000)],
        [teleportation_rate(100, 16, 4, p) for p in (0.0, 0.01, 0.5, 1.0)],
        [teleportation_rate(100, 16, k, 0.3) for k in (1, 2, 7, 16)],
    ):
        assert all(before > after for before, after in pairwise(rate))


def test_nodes_that_never_agree_have_no_bound() -> None:
    assert dsgd_rate(100, 4, 0.0, **ZERO) == inf
    assert teleportation_rate(100, 4, 2, 0.0, **ZERO) == inf


def test_heterogeneity_hurts_gossip_by_the_square_of_the_consensus_rate() -> None:
    only = {"sigma2": 0.0, "smoothness": 1.0, "start_gap": 1.0}
    gossip = [dsgd_rate(10**15, 4, p, zeta2=1.0, **only) for p in (1e-2, 1e-3)]
    teleported = [teleportation_rate(10**15, 4, 4, p, zeta2=1.0, **only) for p in (1e-2, 1e-3)]
    assert gossip[1] / gossip[0] == pytest.approx(100 ** (1 / 3), rel=0.05)
    assert teleported[1] / teleported[0] == pytest.approx(10 ** (1 / 3), rel=0.05)


# --- the number of active nodes that balances the terms -----------------------------------------


def best_of_all(spec: str, n: int, rounds: int) -> int:
    def rate(k: int) -> float:
        return teleportation_rate(rounds, n, k, spectra.consensus_rate(from_spec(spec, k)))

    return min(range(1, n + 1), key=rate)


@pytest.mark.parametrize("spec", ["ring", "exponential", "star"])
@pytest.mark.parametrize("rounds", [10, 1000, 10**7])
def test_the_balancing_number_is_the_best_of_all(spec: str, rounds: int) -> None:
    assert balancing_num_active(spec, 40, rounds) == best_of_all(spec, 40, rounds)


@pytest.mark.parametrize("rounds", [10**3, 10**6, 10**9])
def test_for_many_nodes_the_search_finds_the_best_of_all_rings(rounds: int) -> None:
    assert balancing_num_active("ring", 500, rounds) == best_of_all("ring", 500, rounds)


def test_more_rounds_call_for_more_active_nodes() -> None:
    found = [balancing_num_active("ring", 1000, 10**power) for power in (2, 4, 6, 8, 10)]
    assert found == sorted(found)
    assert found[0] < 10 < found[-1]


def test_the_number_does_not_depend_on_how_many_nodes_there_are_beyond_some() -> None:
    assert balancing_num_active("ring", 1000, 10**4) == balancing_num_active("ring", 10**5, 10**4)


def test_candidates_and_callables_are_taken_as_given() -> None:
    assert balancing_num_active("complete", 64, 100) == 64
    assert balancing_num_active("complete", 64, 100, candidates=[4, 16]) == 16
    assert balancing_num_active(lambda k: from_spec("complete", k), 64, 100) == 64
    assert balancing_num_active("ring", 1, 100) == 1
    assert balancing_num_active("torus:2x4", 20, 100) == 8  # the only size it can have


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_rounds": 0}, "num_rounds is 0, allowed is a whole number from 1"),
        ({"num_nodes": 0}, "num_nodes is 0, allowed is a whole number from 1"),
        ({"num_active": 9}, r"num_active is 9, allowed is 1\.\.8"),
        ({"num_active": 0}, r"num_active is 0, allowed is 1\.\.8"),
        ({"consensus_rate": 1.5}, r"consensus_rate is 1.5, allowed is 0\.\.1"),
        ({"consensus_rate": float("nan")}, "consensus_rate is nan"),
        ({"sigma2": -1.0}, "sigma2 is -1.0, allowed is a finite number, 0 or more"),
        ({"zeta2": inf}, "zeta2 is inf, allowed"),
        ({"smoothness": -1.0}, "smoothness is -1.0, allowed"),
        ({"start_gap": float("nan")}, "start_gap is nan, allowed"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(change: dict[str, float], named: str) -> None:
    values = {"num_rounds": 100, "num_nodes": 8, "num_active": 4, "consensus_rate": 0.5} | change
    with pytest.raises(PlanError, match=named):
        teleportation_rate(**values)  # type: ignore[arg-type]


def test_a_spec_that_fits_no_size_says_why() -> None:
    with pytest.raises(PlanError, match="unknown"):
        balancing_num_active("rinf", 8, 100)
    with pytest.raises(PlanError, match=r"num_active is 9, allowed is 1\.\.8"):
        balancing_num_active("ring", 8, 100, candidates=[9])
