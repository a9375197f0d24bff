"""The plan: every node's part of a round agrees with every other's, and with the matrix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.mixing import mix, renormalized
from flwr_gossip.server_free.models import Model
from flwr_gossip.server_free.plans import VACANT, Plan
from flwr_gossip.server_free.schedules import AllActive, Schedule, Teleport
from reference import dense

NUM_ROUNDS = 5
SPECS = ["alone", "chain", "complete", "exponential", "one-peer-exponential", "ring", "star"]


@st.composite
def plans(draw: st.DrawFn, live: bool = True) -> Plan:
    """Draw a plan of five rounds, with nodes that come and go if ``live``."""
    n = draw(st.integers(1, 9))
    k, seed = draw(st.integers(1, n)), draw(st.integers(0, 99))
    schedule: Schedule = draw(st.sampled_from([AllActive(n), Teleport(n, k, seed=seed)]))
    spec = draw(st.sampled_from(SPECS))
    plan = Plan(topologies.from_spec(spec, schedule.num_slots), schedule, NUM_ROUNDS)
    changes = draw(st.dictionaries(st.integers(1, NUM_ROUNDS), st.sets(st.integers(0, n - 1))))
    for first, nodes in sorted(changes.items()) if live else ():
        plan = plan.with_live(first, nodes)
    return plan


def ring_of(n: int, num_rounds: int = NUM_ROUNDS) -> Plan:
    return Plan(topologies.ring(n), AllActive(n), num_rounds)


def teleporting(n: int, k: int, seed: int = 0, num_rounds: int = NUM_ROUNDS) -> Plan:
    return Plan(topologies.ring(k), Teleport(n, k, seed=seed), num_rounds)


def holders(plan: Plan, round: int) -> dict[int, int]:
    """Return node -> slot of those that are active in the round."""
    return {node: slot for slot, node in enumerate(plan.active(round)) if node != VACANT}


# --- who has which part -----------------------------------------------------------------------


@given(plan=plans())
def test_a_node_has_the_slot_that_the_active_set_gives_it(plan: Plan) -> None:
    for round in range(1, NUM_ROUNDS + 1):
        slots = {node: plan.slot(node, round) for node in range(plan.num_nodes)}
        assert {node: s for node, s in slots.items() if s is not None} == holders(plan, round)


@given(plan=plans())
def test_who_fetches_from_a_node_is_who_it_expects(plan: Plan) -> None:
    for round in range(1, NUM_ROUNDS):
        fetched = {
            (source.node, reader)
            for reader in holders(plan, round + 1)
            for source in plan.sources(reader, round + 1)
            if source.node != reader
        }
        expected = {
            (node, reader) for node in range(plan.num_nodes) for reader in plan.readers(node, round)
        }
        assert fetched == expected


@given(plan=plans())
def test_before_the_first_and_after_the_last_round_nothing_is_exchanged(plan: Plan) -> None:
    assert all(plan.sources(node, 1) == () for node in holders(plan, 1))
    for node in range(plan.num_nodes):
        assert plan.readers(node, NUM_ROUNDS) == plan.readers(node, NUM_ROUNDS + 1) == ()


@given(plan=plans())
def test_a_row_is_that_of_the_matrix_over_the_slots_that_are_held(plan: Plan) -> None:
    for round in range(1, NUM_ROUNDS + 1):
        active = np.array(plan.active(round))
        w = plan.topology.matrix(round) * (active != VACANT)
        for slot in range(plan.num_slots):
            row = plan.row(slot, round)
            assert [term.slot for term in row] == np.flatnonzero(w[slot]).tolist()
            assert [term.node for term in row] == active[[term.slot for term in row]].tolist()
            shares = w[slot][w[slot] > 0] / max(w[slot].sum(), 1e-300)
            np.testing.assert_allclose([term.weight for term in row], shares, atol=1e-15)


@pytest.mark.parametrize("spec", SPECS)
def test_without_losses_the_rows_of_gossip_are_the_matrix_to_the_bit(spec: str) -> None:
    topology = topologies.from_spec(spec, 7)
    plan = Plan(topology, AllActive(7), NUM_ROUNDS)
    for round in range(2, NUM_ROUNDS + 1):
        w = np.zeros((7, 7))
        for node in range(7):
            for source in plan.sources(node, round):
                assert source.slot == source.node
                w[node, source.node] = source.weight
        np.testing.assert_array_equal(w, topology.matrix(round - 1))


def test_a_slot_without_own_weight_is_still_read_by_its_next_holder() -> None:
    # Its bool and integer tensors stay with the slot.
    plan = Plan(topologies.from_matrix([[0, 1], [1, 0]]), Teleport(4, 2, seed=0), 2)
    before, after = plan.active(1), plan.active(2)
    for slot, node in enumerate(before):
        assert plan.readers(node, 1) == tuple(sorted({*after} - {node}))
        sources = {source.slot: source.weight for source in plan.sources(after[slot], 2)}
        assert sources == {slot: 0.0, 1 - slot: 1.0}


def test_with_all_nodes_active_teleportation_still_moves_the_slots() -> None:
    plan = teleporting(6, 6, num_rounds=10)
    orders = {plan.active(round) for round in range(1, 11)}
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(6))}
    assert len(orders) == 10
    assert all(len(plan.sources(node, round)) == 3 for node in range(6) for round in range(2, 11))


# --- the numbers ------------------------------------------------------------------------------


def train(z: np.ndarray, node: int, round: int) -> np.ndarray:
    """A step towards the node's own optimum, with a rate that depends on the round."""
    return z - (z - np.array([node, node**2])) / (2 + round)


def played(plan: Plan, x0: np.ndarray) -> dict[int, dict[str, np.ndarray]]:
    """Play the plan node by node, from sources alone; return slot -> mixed model at the end."""
    models: dict[tuple[int, int], Model] = {}
    for round in range(1, plan.num_rounds + 1):
        for node, slot in holders(plan, round).items():
            sources = plan.sources(node, round)
            arrived = {source.slot: models[round - 1, source.node] for source in sources}
            weights = {source.slot: source.weight for source in sources}
            z = mix(arrived, weights, own=slot)["w"] if sources else x0
            models[round, node] = {"w": train(z, node, round)}
    last = plan.num_rounds
    rows = {slot: plan.row(slot, last) for slot in range(plan.num_slots)}
    return {
        slot: mix(
            {t.slot: models[last, t.node] for t in row}, {t.slot: t.weight for t in row}, slot
        )
        for slot, row in rows.items()
        if row
    }


@given(plan=plans(live=False))
def test_nodes_that_follow_the_plan_compute_the_dense_reference(plan: Plan) -> None:
    x0 = np.array([1.0, -1.0])
    expected = dense(plan, x0, train, NUM_ROUNDS)
    for slot, model in played(plan, x0).items():
        np.testing.assert_allclose(model["w"], expected[slot], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("plan", [ring_of(6), teleporting(9, 5, seed=4)])
def test_nodes_that_leave_and_return_compute_the_dense_reference(plan: Plan) -> None:
    # Node 3 is back in round 4 and starts from its neighbours' models.
    plan = plan.with_live(3, [0, 1, 2, 4, 5]).with_live(4, range(plan.num_nodes))
    x0 = np.array([1.0, -1.0])
    expected = dense(plan, x0, train, NUM_ROUNDS)
    for slot, model in played(plan, x0).items():
        np.testing.assert_allclose(model["w"], expected[slot], rtol=1e-12, atol=1e-12)


def test_the_dense_reference_by_hand() -> None:
    plan = Plan(topologies.ring(2), AllActive(2), 2)  # W = 1/2 everywhere
    add = dense(plan, [0.0], lambda z, node, round: z + 10**node * round, 2)
    # h_1 = 1, 10; z = 5.5; h_2 = 7.5, 25.5; z = 16.5
    np.testing.assert_array_equal(add, [[16.5], [16.5]])


def test_the_dense_reference_with_rows_that_did_not_arrive() -> None:
    plan = Plan(topologies.ring(2), AllActive(2), 2)

    def step(z: np.ndarray, node: int, round: int) -> np.ndarray:
        return z + 10**node

    # h_1 = 1, 10; slot 0 keeps its own 1: z = 1, 5.5; h_2 = 2, 15.5
    lost = dense(plan, [0.0], step, 2, missing={(0, 1, 1)})
    np.testing.assert_array_equal(lost, [[8.75], [8.75]])
    # All of round 2 lost at slot 1: its h of round 1.
    lost = dense(plan, [0.0], step, 2, missing={(1, 2, 0), (1, 2, 1)})
    np.testing.assert_array_equal(lost, [[(6.5 + 15.5) / 2], [10.0]])
    np.testing.assert_array_equal(
        dense(plan, [7.0], step, 1, missing={(1, 1, 0), (1, 1, 1)})[1], [7.0]
    )


# --- nodes that come and go -------------------------------------------------------------------


def test_absent_nodes_are_masked_and_the_rest_renormalised() -> None:
    plan = ring_of(5).with_live(2, [0, 2, 3, 4])
    assert plan.active(1) == (0, 1, 2, 3, 4)
    assert plan.active(2) == plan.active(5) == (0, VACANT, 2, 3, 4)
    # Round 2 still mixes what all did in round 1; from round 3 on node 1 is left out.
    assert {s.node: s.weight for s in plan.sources(0, 2)} == topologies.ring(5).weights(0, 1)
    assert {s.node: s.weight for s in plan.sources(0, 3)} == pytest.approx({0: 0.5, 4: 0.5})
    assert [s.weight for s in plan.sources(3, 3)] == pytest.approx([1 / 3] * 3)
    assert plan.readers(1, 1) == (0, 2)
    assert plan.readers(1, 2) == ()
    assert plan.readers(0, 2) == (4,)
    assert plan.slot(1, 2) is None


def test_a_node_that_returns_starts_from_its_neighbours() -> None:
    plan = ring_of(5).with_live(2, [0, 2, 3, 4]).with_live(4, range(5))
    assert {s.node: s.weight for s in plan.sources(1, 4)} == pytest.approx({0: 0.5, 2: 0.5})
    assert 1 in plan.readers(0, 3)


def test_teleport_draws_from_the_live_nodes_and_leaves_slots_vacant() -> None:
    plan = teleporting(9, 3).with_live(2, [2, 5])
    assert VACANT not in plan.active(1)
    assert {*plan.active(2)} == {2, 5, VACANT}
    assert plan.active(2)[2] == VACANT
    assert plan.row(2, 2) == plan.row(2, 2)[:2]  # what a later holder of slot 2 mixes
    assert sum(source.weight for source in plan.row(2, 2)) == pytest.approx(1)


def test_a_row_is_empty_when_nobody_holds_any_of_it() -> None:
    plan = ring_of(4).with_live(2, [0])
    assert plan.row(2, 2) == ()
    assert [(s.node, s.weight) for s in plan.row(1, 2)] == [(0, 1.0)]


@given(plan=plans(live=False), first=st.integers(1, NUM_ROUNDS), data=st.data())
def test_a_live_list_holds_from_its_round_on(plan: Plan, first: int, data: st.DataObject) -> None:
    live = tuple(sorted(data.draw(st.sets(st.integers(0, plan.num_nodes - 1)))))
    changed = plan.with_live(first, reversed(live))
    everyone = tuple(range(plan.num_nodes))
    for round in range(1, NUM_ROUNDS + 1):
        listed = changed.live_in(round)
        assert (everyone if listed is None else listed) == (live if round >= first else everyone)
        assert changed.active(round) == plan.schedule.active(
            round, live if round >= first else None
        )


@given(plan=plans(), first=st.integers(1, NUM_ROUNDS), data=st.data())
def test_a_live_list_replaces_all_from_its_round_on(
    plan: Plan, first: int, data: st.DataObject
) -> None:
    live = tuple(sorted(data.draw(st.sets(st.integers(0, plan.num_nodes - 1)))))
    changed = plan.with_live(first, live)
    assert changed.with_live(first, live) == changed
    for round in range(1, NUM_ROUNDS + 1):
        before = plan.schedule.active(round, plan.live_in(round))
        after = plan.schedule.active(round, live)
        assert changed.active(round) == (after if round >= first else before)


def test_a_live_list_that_changes_nothing_is_not_noted() -> None:
    plan = ring_of(4)
    assert plan.with_live(3, [3, 2, 1, 0]) == plan
    less = plan.with_live(3, [1, 2])
    assert less.live == ((1, (0, 1, 2, 3)), (3, (1, 2)))
    assert less.with_live(5, [1, 2]) == less
    assert less.with_live(3, range(4)).active(4) == plan.active(4)


def test_all_nodes_can_come_back_when_none_was_left() -> None:
    plan = ring_of(3).with_live(2, []).with_live(4, range(3))
    assert plan.active(3) == (VACANT,) * 3
    assert plan.active(4) == (0, 1, 2)


@given(plan=plans(), reach=st.integers(0, 7))
def test_earlier_holders_of_a_slot_come_latest_first(plan: Plan, reach: int) -> None:
    for round in range(1, NUM_ROUNDS + 2):
        for slot in range(plan.num_slots):
            found = plan.holders_before(slot, round, reach)
            rounds = [earlier for earlier, _ in found]
            assert rounds == sorted(set(rounds), reverse=True)
            assert all(plan.active(earlier)[slot] == node != VACANT for earlier, node in found)
            window = range(max(1, round - reach), round)
            assert set(rounds) == {t for t in window if plan.active(t)[slot] != VACANT}


# --- on the way -------------------------------------------------------------------------------


def parts(plan: Plan) -> list[Any]:
    """Return all that anybody does."""
    return [
        (plan.active(round), [plan.sources(node, round) for node in holders(plan, round)])
        for round in range(1, NUM_ROUNDS + 1)
    ]


@given(seed=st.integers(0, 99), rounds=st.lists(st.integers(1, 400), max_size=20))
def test_what_was_asked_before_changes_nothing(seed: int, rounds: list[int]) -> None:
    asked = teleporting(9, 4, num_rounds=400, seed=seed).with_live(200, range(5))
    for round in (*range(1, 300), *rounds):
        fresh = teleporting(9, 4, num_rounds=400, seed=seed).with_live(200, range(5))
        assert asked.active(round) == fresh.active(round)
    for round in rounds:
        fresh = teleporting(9, 4, num_rounds=400, seed=seed).with_live(200, range(5))
        for node in holders(asked, round):
            assert asked.sources(node, round) == fresh.sources(node, round)
            assert asked.readers(node, round) == fresh.readers(node, round)
            assert asked.slot(node, round) == fresh.slot(node, round)


@pytest.mark.parametrize("spec", ["ring", "one-peer-exponential", "random-regular:2"])
def test_rounds_that_recur_keep_apart_what_their_live_lists_change(spec: str) -> None:
    def plan() -> Plan:
        topology = topologies.from_spec(spec, num_nodes=8)
        return (
            Plan(topology, AllActive(8), 14).with_live(5, [0, 1, 2, 4, 6, 7]).with_live(9, [1, 3])
        )

    asked = plan()
    for round in range(1, 15):
        for node in holders(asked, round):
            assert asked.sources(node, round) == plan().sources(node, round)
            assert asked.readers(node, round) == plan().readers(node, round)


def test_who_is_lost_takes_little_text_among_many_nodes() -> None:
    plan = ring_of(2000).with_live(2, [node for node in range(2000) if node != 7])
    assert len(plan.to_json()) < 200
    assert Plan.from_json(plan.to_json()) == plan


@settings(max_examples=50)
@given(plan=plans())
def test_a_plan_comes_back_from_json(plan: Plan) -> None:
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert parts(again) == parts(plan)
    assert again.to_json() == plan.to_json()


@pytest.mark.parametrize(
    "topology",
    [
        topologies.from_networkx(nx.petersen_graph()),
        topologies.from_matrix(np.roll(np.eye(10), 1, axis=1)),
    ],
)
def test_graphs_that_are_no_formula_travel_with_the_plan(topology: topologies.Topology) -> None:
    plan = Plan(topology, Teleport(20, 10, seed=2**62), NUM_ROUNDS)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert parts(again) == parts(plan)


def digests(plan: Plan, first: int = 2, last: int = 3) -> list[str]:
    return [plan.digest(node, first, last) for node in range(plan.num_nodes)]


CHANGED = {
    "seed": teleporting(8, 4, seed=1),
    "num_active": teleporting(8, 3),
    "num_nodes": teleporting(9, 4),
    "topology": Plan(topologies.complete(4), Teleport(8, 4), NUM_ROUNDS),
    "weights": Plan(
        topologies.from_matrix((1 - 1e-9) * topologies.ring(4).matrix(1) + 1e-9 * np.eye(4)),
        Teleport(8, 4),
        NUM_ROUNDS,
    ),
    "live, from the segment on": teleporting(8, 4).with_live(2, range(4)),
    "live, from its last round on": teleporting(8, 4).with_live(3, range(4)),
    "readers, since the training ends": teleporting(8, 4, num_rounds=3),
    "readers, since nodes leave after it": teleporting(8, 4).with_live(4, range(4)),
    "sources, since nodes were absent before it": teleporting(8, 4)
    .with_live(1, range(4))
    .with_live(2, range(8)),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_digest_changes_with_whatever_a_segment_depends_on(change: str) -> None:
    plan = teleporting(8, 4)
    assert digests(plan) != digests(CHANGED[change])[:8]


def test_every_part_of_a_plan_has_its_own_digest() -> None:
    plan = ring_of(6)
    found = {
        plan.digest(node, first, last)
        for node in range(6)
        for first, last in [(1, 1), (1, 2), (2, 2), (3, 3), (2, 3), (4, 5)]
    }
    assert len(found) == 36


def test_a_digest_tells_the_slot_even_where_nothing_is_exchanged() -> None:
    alone = [teleporting(4, 4, seed=seed, num_rounds=1) for seed in range(20)]
    found = {(plan.slot(0, 1), plan.digest(0, 1, 1)) for plan in alone}
    assert len(found) == len({digest for _, digest in found}) == 4


SAME = {
    "a longer training": teleporting(8, 4, num_rounds=99),
    "later losses": teleporting(8, 4).with_live(5, [0, 1]),
    "earlier losses": replace(teleporting(8, 4, num_rounds=9), live=((1, (0, 1)), (3, range(8)))),
    "JSON": Plan.from_json(teleporting(8, 4).to_json()),
    "a matrix instead of a formula": Plan(
        topologies.from_matrix(topologies.ring(4).matrix(1)), Teleport(8, 4), NUM_ROUNDS
    ),
    "rounding": Plan(
        topologies.from_matrix(topologies.ring(4).matrix(1) * (1 + 1e-15)),
        Teleport(8, 4),
        NUM_ROUNDS,
    ),
}


@pytest.mark.parametrize("change", SAME)
def test_a_digest_does_not_change_with_anything_else(change: str) -> None:
    first = 4 if change == "earlier losses" else 2
    last = 4 if change == "earlier losses" else 3
    assert digests(teleporting(8, 4), first, last) == digests(SAME[change], first, last)


# --- what is refused --------------------------------------------------------------------------


def test_topology_and_schedule_must_be_of_the_same_size() -> None:
    with pytest.raises(PlanError, match="'ring' is over 4 slots, but the schedule has 3"):
        Plan(topologies.ring(4), Teleport(9, 3), 1)


def test_the_number_of_rounds_is_not_negative() -> None:
    assert ring_of(3, num_rounds=0).readers(0, 1) == ()
    with pytest.raises(PlanError, match="num_rounds is -1, allowed is a whole number from 0"):
        ring_of(3, num_rounds=-1)


@pytest.mark.parametrize(
    ("live", "says"),
    [
        (((2, (0,)),), r"start at rounds \[2\], allowed is rising from 1"),
        (((1, (0,)), (1, (1,))), r"start at rounds \[1, 1\]"),
        (((1, (0,)), (3, (1,)), (2, (1,))), r"start at rounds \[1, 3, 2\]"),
        (((1, (0, 3)),), r"live nodes from round 1 on are \(0, 3\), allowed .* 0\.\.2"),
        (((1, (-1, 2)),), r"are \(-1, 2\), allowed"),
        (((1, (0, 1, 1)),), r"are \(0, 1, 1\), allowed"),
        (((1, (2, 0)),), r"are \(2, 0\), allowed"),
    ],
)
def test_live_lists_rise_and_hold_nodes_of_the_roster(live: tuple, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Plan(topologies.ring(3), AllActive(3), 5, live)


def test_a_live_list_starts_with_a_round() -> None:
    with pytest.raises(PlanError, match=r"start at rounds \[0\], allowed is rising from 1"):
        ring_of(3).with_live(0, [1])


def test_only_active_nodes_have_sources() -> None:
    plan = teleporting(9, 2)
    idle = next(node for node in range(9) if node not in plan.active(2))
    with pytest.raises(PlanError, match=f"node {idle} is not active in round 2"):
        plan.sources(idle, 2)


GOOD = json.loads(teleporting(9, 2).to_json())


@pytest.mark.parametrize(
    "change",
    [
        {"topology": "rings"},
        {"topology": "{}"},
        {"schedule": {}},
        {"schedule": {"num_nodes": "9"}},
        {"schedule": {"num_nodes": 9, "num_active": 2}},
        {"schedule": {"num_nodes": 9, "num_active": 10, "seed": 0}},
        {"num_rounds": None},
        {"num_rounds": -1},
        {"lost": [[1]]},
        {"lost": [[1, [99]]]},
        {"lost": [[2, [0]]]},
        {"lost": None},
    ],
    ids=str,
)
def test_text_with_something_wrong_is_no_plan(change: dict[str, Any]) -> None:
    assert Plan.from_json(json.dumps(GOOD)) == teleporting(9, 2)
    with pytest.raises(PlanError):
        Plan.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{}", "{"])
def test_other_text_is_no_plan(text: str) -> None:
    with pytest.raises(PlanError, match="this is not a plan: "):
        Plan.from_json(text)


def test_shares_of_a_masked_row_are_those_of_the_mixing_module() -> None:
    plan = Plan(topologies.chain(4), AllActive(4), 3).with_live(1, [0, 1, 3])
    weights = {r: w for r, w in topologies.chain(4).weights(1, 1).items() if r != 2}
    assert {s.slot: s.weight for s in plan.row(1, 1)} == renormalized(weights)


@pytest.mark.parametrize("spec", ["edges:/etc/passwd", "side-by-side:2+2,edges:/etc/passwd"])
def test_a_plan_from_elsewhere_reads_no_file_here(spec: str) -> None:
    text = Plan(topologies.ring(4), AllActive(4), 3).to_json().replace('"ring"', json.dumps(spec))
    with pytest.raises(PlanError, match="without its rows"):
        Plan.from_json(text)


def test_the_graph_of_an_edge_file_travels_with_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "graph.txt"
    file.write_text("0 1\n1 2\n2 3\n")
    plan = Plan(topologies.from_spec(f"edges:{file}", num_nodes=4), AllActive(4), 3)
    text = plan.to_json()
    file.unlink()
    again = Plan.from_json(text)
    assert again == plan
    np.testing.assert_array_equal(again.topology.matrix(1), topologies.chain(4).matrix(1))
