"""Which candidates train together, for how long, and that each trains as it would alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.searches import Search
from flwr_gossip.server_free.topologies import from_spec


@pytest.mark.parametrize(
    ("n", "groups"),
    [
        (1, ((1,),)),
        (2, ((1,), (2,))),
        (3, ((1, 2),)),
        (4, ((1, 2), (4,))),
        (7, ((1, 2, 4),)),
        (25, ((1, 2, 4, 8), (16,))),
        (100, ((1, 2, 4, 8, 16, 32), (64,))),
        (400, ((1, 2, 4, 8, 16, 32, 64, 128), (256,))),
    ],
)
def test_groups(n: int, groups: tuple[tuple[int, ...], ...]) -> None:
    assert Search(n).groups == groups
    everyone = () if n in {1, 2, 4} else ((n,),)
    assert Search(n, try_all=True).groups == (*groups, *everyone)


@given(n=st.integers(1, 3000))
def test_all_powers_of_two_are_tried_in_at_most_two_passes(n: int) -> None:
    groups = Search(n).groups
    assert sorted(k for group in groups for k in group) == [2**j for j in range(n.bit_length())]
    assert len(groups) <= 2
    assert all(sum(group) <= n for group in groups)
    assert sum(groups[0]) + 2 ** len(groups[0]) > n  # no further one fits into the first pass


def test_candidates_hold_disjoint_slots_and_never_mix() -> None:
    (first, second) = Search(12, "ring", seed=3).passes(20)
    assert [list(c.slots) for c in first.candidates] == [[0], [1, 2], [3, 4, 5, 6]]
    assert [list(c.slots) for c in second.candidates] == [list(range(8))]
    w = first.plan.topology.matrix(1)
    for candidate in first.candidates:
        own = slice(candidate.slots.start, candidate.slots.stop)
        alone = from_spec("ring", num_nodes=candidate.num_active).matrix(1)
        np.testing.assert_array_equal(w[own, own], alone)
        assert w[own].sum() == pytest.approx(candidate.num_active)
    assert first.candidates[1].slot_of(5) == 2
    assert [len(set(first.plan.active(t))) for t in range(1, 21)] == [7] * 20


def test_each_candidate_goes_through_the_phases_of_its_own_topology() -> None:
    (one, _) = Search(16, "one-peer-exponential").passes(9)
    for candidate in one.candidates:
        own = slice(candidate.slots.start, candidate.slots.stop)
        alone = from_spec("one-peer-exponential", num_nodes=candidate.num_active)
        for round in range(1, 10):
            both = one.plan.topology.matrix(round)[own, own], alone.matrix(round)
            np.testing.assert_array_equal(*both)


def test_a_candidate_has_the_active_sets_of_a_run_of_its_own() -> None:
    """Uniform over ordered k-subsets and independent between rounds, as ``Teleport`` alone."""
    rounds = 24_000
    (one,) = Search(3, seed=5).passes(rounds)
    candidate = one.candidates[1]
    drawn = [one.plan.active(t)[candidate.slots.start : 3] for t in range(1, rounds + 1)]
    pairs = Counter(drawn)
    assert set(pairs) == set(permutations(range(3), 2))
    expected, spread = rounds / 6, np.sqrt(rounds / 6)
    assert max(abs(count - expected) for count in pairs.values()) < 4 * spread
    running = Counter(pairwise(drawn))
    assert len(running) == 36
    assert max(abs(c - rounds / 36) for c in running.values()) < 4.5 * np.sqrt(rounds / 36)


def test_the_plan_of_a_pass_travels_as_text() -> None:
    plan = Search(25, "base-graph:1", seed=9).passes(6)[0].plan
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert not again.topology.payload
    assert again.digest(3, 1, 6) == plan.digest(3, 1, 6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"num_nodes": 0}, "num_nodes is 0, allowed is a whole number from 1"),
        ({"num_nodes": 2.5}, r"num_nodes is 2\.5"),
        ({"num_nodes": 4, "topology": from_spec("ring", 4)}, "needs the spec of a topology"),
        ({"num_nodes": 4, "seed": -1}, "seed is -1"),
    ],
)
def test_bad_input(arguments: dict, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Search(**arguments)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("side-by-side:1+2", "write side-by-side:SIZE"),
        ("side-by-side:1+,ring", "write side-by-side:SIZE"),
        ("side-by-side:,ring", "write side-by-side:SIZE"),
        ("side-by-side:1+2+4,ring", "has 7 nodes, but num_nodes is 5"),
        ("side-by-side:2+3,rings", "'rings' is unknown"),
    ],
)
def test_specs_that_do_not_fit(spec: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        from_spec(spec, num_nodes=5)
