"""Rounds to reach a target: the reference table, and the tuning against a plain search."""

from __future__ import annotations

import numpy as np
import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.theory.moments import gossip_errors, teleportation_errors
from flwr_gossip.server_free.theory.tuning import best_num_active, rounds_to_reach
from flwr_gossip.server_free.topologies import Topology, from_spec

TARGET = 1e-2
ONE_PEER = "one-peer-exponential"


# --- the reference table: sigma2 = zeta2 = 1, squared start distance 10, error below 1e-2 --------


@pytest.mark.parametrize(
    ("spec", "n", "rate", "rounds", "tuned"),
    [
        ("ring", 25, 0.00875, 490, 488),
        ("ring", 100, 0.001853, 2458, 2456),
        ("ring", 400, 0.0007283, 6440, 6412),
        ("ring", 1600, 0.0005406, 8973, 8966),
        (ONE_PEER, 25, 0.0537, 79, 79),
        (ONE_PEER, 100, 0.048, 85, 83),
        (ONE_PEER, 400, 0.047, 87, 86),
        (ONE_PEER, 1600, 0.0486, 87, 87),
    ],
)
def test_gossip_needs_the_rounds_of_the_table(
    spec: str, n: int, rate: float, rounds: int, tuned: int
) -> None:
    # The table's rates come from a grid; a rate tuned continuously saves up to 3 % of the rounds.
    topology = from_spec(spec, n)
    assert rounds_to_reach(TARGET, topology, learning_rates=[rate]).rounds == rounds
    assert rounds_to_reach(TARGET, topology).rounds == tuned


@pytest.mark.parametrize(
    ("spec", "n", "k", "rounds", "tuned"),
    [
        ("ring", 25, 16, 74, 73),
        ("ring", 100, 32, 78, 78),
        ("ring", 400, 16, 80, 80),
        ("ring", 1600, 16, 80, 80),
        (ONE_PEER, 25, 25, 63, 63),
        (ONE_PEER, 100, 64, 62, 61),
        (ONE_PEER, 400, 128, 62, 61),
        (ONE_PEER, 1600, 128, 62, 62),
    ],
)
def test_teleportation_needs_the_rounds_of_the_table(
    spec: str, n: int, k: int, rounds: int, tuned: int
) -> None:
    # The table's k; where the last is lower by one, it is k = n that saves it.
    assert rounds_to_reach(TARGET, from_spec(spec, k), num_nodes=n).rounds == rounds
    assert best_num_active(TARGET, spec, n).rounds == tuned


def test_teleportation_does_not_degrade_with_the_number_of_nodes_but_gossip_does() -> None:
    few, many = (best_num_active(TARGET, "ring", n).rounds or 0 for n in (25, 1600))
    assert many / few < 1.1
    few, many = (rounds_to_reach(TARGET, from_spec("ring", n)).rounds or 0 for n in (25, 1600))
    assert many / few > 18


# --- the search ---------------------------------------------------------------------------------


def plain_search(topology: Topology, n: int | None, target: float) -> int:
    """Return the first round in which one of many rates is below the target."""
    rates = np.geomspace(0.03, 0.5, 300)
    curves = [
        gossip_errors(topology, rate, 130)
        if n is None
        else teleportation_errors(topology, n, rate, 130)
        for rate in rates
    ]
    return int((np.min(curves, axis=0) < target).argmax())


@pytest.mark.parametrize(
    ("spec", "k", "n", "target"),
    [
        ("ring", 5, None, 0.05),
        (ONE_PEER, 9, None, 0.02),
        (ONE_PEER, 11, 30, 0.02),
        ("base-graph:1", 11, None, 0.05),
        ("base-graph:1", 7, 9, 0.02),
        ("random-regular:3", 8, None, 0.05),
    ],
)
def test_the_search_misses_no_earlier_round(
    spec: str, k: int, n: int | None, target: float
) -> None:
    topology = from_spec(spec, k)
    found = rounds_to_reach(target, topology, num_nodes=n)
    assert found.rounds == plain_search(topology, n, target)
    assert found.num_active == k


def test_the_learning_rate_returned_reaches_the_target_in_that_round() -> None:
    ring = from_spec("ring", 25)
    found = rounds_to_reach(TARGET, ring)
    assert found.learning_rate is not None and found.rounds is not None
    assert gossip_errors(ring, found.learning_rate, found.rounds)[-1] < TARGET
    assert gossip_errors(ring, found.learning_rate, found.rounds)[-2] >= TARGET


def test_what_is_never_reached_is_none() -> None:
    alone = from_spec("alone", 8)  # each node ends at its own optimum, at distance zeta2
    found = rounds_to_reach(0.5, alone)
    assert (found.rounds, found.learning_rate) == (None, None)
    assert rounds_to_reach(0.5, alone, zeta2=0.0).rounds is not None
    assert rounds_to_reach(TARGET, from_spec("ring", 25), max_rounds=487).rounds is None
    assert rounds_to_reach(TARGET, from_spec("ring", 25), max_rounds=488).rounds == 488
    assert best_num_active(TARGET, "ring", 25, max_rounds=10).rounds is None


def test_a_start_below_the_target_takes_no_round() -> None:
    assert rounds_to_reach(0.5, from_spec("ring", 8), start=0.1).rounds == 0


def test_slowly_mixing_products_serve_as_long_as_the_target_comes_soon() -> None:
    def row(node: int, phase: int) -> dict[int, float]:
        partner = node + (1 if node % 2 == phase else -1)
        return {node: 0.5, partner: 0.5} if 0 <= partner < 24 else {node: 1.0}

    def readers(node: int, phase: int) -> set[int]:
        return set(row(node, phase)) - {node}

    line = Topology("<line>", 24, 2, row, readers, 1, True)
    assert rounds_to_reach(0.3, line).rounds == rounds_to_reach(0.3, line, max_rounds=500).rounds
    with pytest.raises(PlanError, match=r"<line>.*known for up to"):
        rounds_to_reach(1e-6, line)


def test_the_number_of_active_nodes_is_chosen_among_the_candidates() -> None:
    among = best_num_active(TARGET, "ring", 25, candidates=[2, 4, 8])
    assert (among.num_active, among.rounds) == (8, 80)
    every = best_num_active(TARGET, "ring", 25, candidates=range(1, 26))
    assert (every.num_active, every.rounds) == (20, 73)  # 20..25 need as many; the fewest win


def test_sizes_that_the_topology_cannot_have_are_left_out() -> None:
    assert best_num_active(TARGET, "random-regular:3", 16).num_active in (4, 8, 16)
    with pytest.raises(PlanError, match="num_nodes"):
        best_num_active(TARGET, "random-regular:3", 16, candidates=[1, 8])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"target": 0.0}, "target is 0.0, allowed is a finite number above 0"),
        ({"target": float("nan")}, "target is nan"),
        ({"max_rounds": -1}, "max_rounds is -1, allowed is a whole number from 0"),
        ({"num_nodes": 3}, r"allowed are 1\.\.3"),
        ({"learning_rates": [0.1, 2.5]}, "learning_rate is 2.5, allowed"),
        ({"learning_rates": []}, "learning_rates is empty, allowed is one or more"),
        ({"sigma2": -2.0}, "sigma2 is -2.0, allowed"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(change: dict[str, float], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        rounds_to_reach(**{"target": TARGET, "topology": from_spec("ring", 4)} | change)


def test_candidates_beyond_the_nodes_are_named() -> None:
    with pytest.raises(PlanError, match=r"num_active is 9, allowed is 1\.\.8"):
        best_num_active(TARGET, "ring", 8, candidates=[4, 9])
    with pytest.raises(PlanError, match="no candidate"):
        best_num_active(TARGET, "ring", 8, candidates=[])
