"""Nodes that come and go, and transfers that break: what others wait for, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import NoNodesLeft
from flwr_gossip.server_free.plans import VACANT, Plan
from flwr_gossip.server_free.schedules import AllActive, Schedule, Teleport
from flwr_gossip.server_free.simulation.availability import OnlineTrace, OnOff
from flwr_gossip.server_free.simulation.distributions import LogNormal
from flwr_gossip.server_free.simulation.networks import Network
from flwr_gossip.server_free.simulation.steps import Step
from flwr_gossip.server_free.simulation.timeline import Timeline
from flwr_gossip.server_free.topologies import Topology
from reference import dense

SIZE = 100
TIMEOUT_S = 10.0
ALWAYS = [(0, inf)]
GONE_SOON = [(0, 0.5)]
Intervals = Iterable[tuple[float, float]]


def gossip(topology: Topology, num_rounds: int) -> Plan:
    return Plan(topology, AllActive(topology.num_nodes), num_rounds)


def timeline(
    plan: Plan, *online: Intervals, replan_every: int | None = None, **network: Any
) -> Timeline:
    """Return a timeline on which node i is online in the i-th intervals; it trains for 1 s."""
    trace = OnlineTrace(dict(enumerate(online)))
    given_ = Network(**({"compute_s": 1.0, "availability": trace} | network))
    return Timeline(given_, plan, SIZE, timeout_s=TIMEOUT_S, replan_every=replan_every)


def played(clock: Timeline, num_rounds: int) -> list[Step]:
    return [clock.play(round) for round in range(1, num_rounds + 1)]


def same(found: np.ndarray, expected: list[float | None]) -> bool:
    wanted = [np.nan if value is None else value for value in expected]
    return np.array_equal(found, wanted, equal_nan=True)


# --- training ---------------------------------------------------------------------------------


def test_a_node_that_is_soon_back_goes_on_with_its_training() -> None:
    first, second = played(timeline(gossip(topologies.ring(2), 2), ALWAYS, [(0, 0.5), (3, inf)]), 2)
    assert same(first.start, [0, 0]) and same(first.finish, [1, 3.5])
    assert same(second.start, [3.5, 3.5]) and not second.missing and not first.offline


def test_what_ends_in_the_moment_in_which_a_node_leaves_has_ended() -> None:
    network = {"upload_bytes_per_s": 50.0, "latency_s": 0.0}
    clock = timeline(gossip(topologies.ring(2), 3), [(0, 4)], [(0, 3)], **network)
    first, second, _ = played(clock, 3)
    assert same(first.finish, [1, 1]) and second.arrivals[0, 1] == 3.0
    assert same(second.finish, [4, None])


def test_a_node_that_is_gone_costs_one_timeout_and_then_nothing() -> None:
    first, second, third = played(timeline(gossip(topologies.ring(2), 3), ALWAYS, GONE_SOON), 3)
    assert first.active == (0, VACANT) and same(first.finish, [1, None])
    assert (first.seconds, first.offline) == (10.5, {1})
    assert second.missing == {(0, 1, 1): "untrained"}
    assert same(second.start, [10.5, None]) and (second.seconds, third.seconds) == (11.5, 12.5)
    assert third.active == (0, VACANT) and third.missing == {(0, 2, 1): "untrained"}
    assert (second.bytes, second.received) == (0, {})  # nobody sends to who is known to be gone


def test_a_node_that_is_offline_when_its_turn_comes_waits_to_begin() -> None:
    clock = timeline(gossip(topologies.ring(2), 2), ALWAYS, [(7, inf)])
    first, second = played(clock, 2)
    assert same(first.start, [0, 7]) and same(second.start, [8, 8])


def test_to_be_offline_while_nobody_needs_it_costs_nothing() -> None:
    clock = timeline(
        gossip(topologies.ring(2), 3), ALWAYS, [(0, 2), (90, inf)], compute_s=[100.0, 1.0]
    )
    steps = played(clock, 3)
    assert same(steps[1].start, [100, 100]) and not steps[1].missing and not steps[1].offline


def test_three_neighbours_that_are_gone_cost_the_others_one_timeout() -> None:
    clock = timeline(
        gossip(topologies.ring(6), 6), *[ALWAYS] * 3, [(0, 0.5)], [(0, 0.5)], [(0, 0.5)]
    )
    for step in played(clock, 6):
        assert step.active == (0, 1, 2, *[VACANT] * 3)
        # Node 1 is told by its neighbours, which wait for the dead, one round later.
        late = 0 if step.round == 1 else 9.5
        expected = [
            step.round + late,
            step.round + (late if step.round > 2 else 0),
            step.round + late,
        ]
        assert same(step.finish[:3], expected)


def test_a_node_that_returns_takes_part_in_the_round_where_the_others_are() -> None:
    clock = timeline(gossip(topologies.chain(3), 23), ALWAYS, ALWAYS, [(0, 0.5), (30, inf)])
    steps = played(clock, 23)
    assert [step.active[2] for step in steps[:20]] == [VACANT] * 20
    back = steps[20]  # the others have been in round 21 since 29.5 s
    assert same(back.start, [29.5, 29.5, 30]) and same(back.finish, [30.5, 30.5, 31])
    assert back.missing == {
        (1, 20, 2): "untrained", (2, 20, 1): "receiver offline", (2, 20, 2): "untrained",
    }  # fmt: skip
    assert same(steps[21].start, [30.5, 31, 31]) and not steps[21].missing


def test_a_node_alone_is_waited_for() -> None:
    first, second = played(timeline(gossip(topologies.ring(1), 2), [(0, 0.5), (99, inf)]), 2)
    assert (first.seconds, second.seconds) == (99.5, 100.5)
    assert first.active == second.active == (0,) and not second.missing


def test_when_all_are_offline_a_round_goes_by_every_timeout() -> None:
    away = [(0, 0.5), (96, inf)]
    steps = played(timeline(gossip(topologies.ring(2), 11), away, away), 11)
    assert [step.seconds for step in steps[:9]] == [10.5 + 10 * t for t in range(9)]
    assert same(steps[9].start, [96, 96]) and steps[9].active == (0, 1)


def test_the_token_of_a_node_that_is_gone_is_taken_on_by_the_next() -> None:
    plan = Plan(topologies.ring(1), Teleport(3, 1, seed=95), 4)
    holders = [plan.active(round)[0] for round in (1, 2, 3, 4)]
    assert holders == [2, 1, 0, 2]
    steps = played(timeline(plan, ALWAYS, [], ALWAYS), 4)
    assert [step.active for step in steps] == [(2,), (VACANT,), (0,), (2,)]
    assert steps[2].missing == {(0, 2, 0): "untrained"} and steps[1].absent_rows == {(0, 2, 0)}
    assert [step.seconds for step in steps] == [1, 11, 12, 13]


def test_a_node_is_left_behind_in_all_rounds_up_to_the_one_that_others_are_in() -> None:
    # Slot 0 is node 0's in every round, which never comes; slot 1 is that of nodes 1, 2, 1, 2.
    plan = Plan(topologies.alone(2), Teleport(3, 2, seed=6), 4)
    assert [plan.active(t) for t in (1, 2, 3, 4)] == [(0, 1), (0, 2), (0, 1), (0, 2)]
    clock = timeline(plan, [], [(1, inf)], [])
    steps = played(clock, 4)
    assert [step.active[1] for step in steps] == [1, VACANT, 1, VACANT]
    # 10 s for node 0; until 12 s for node 2; 13 s: node 1 is done, nobody waits for node 0 in
    # rounds 2 and 3; round 4 has nobody who goes on, and takes a timeout of its own.
    assert [step.seconds for step in steps] == [10, 13, 13, 23]


def test_a_node_alone_that_never_comes_back_ends_the_run() -> None:
    with pytest.raises(NoNodesLeft, match="the only node is offline for good"):
        timeline(gossip(topologies.ring(1), 2), GONE_SOON).play(1)


# --- transfers --------------------------------------------------------------------------------

SLOW = {"upload_bytes_per_s": 10.0, "download_bytes_per_s": inf}


def test_a_transfer_stalls_while_an_end_is_offline() -> None:
    clock = timeline(gossip(topologies.ring(2), 2), ALWAYS, [(0, 6), (8, inf)], **SLOW)
    _, second = played(clock, 2)
    assert second.arrivals == {(0, 0): 1, (0, 1): 13, (1, 0): 13, (1, 1): 1}
    assert second.sent == second.received == {0: SIZE, 1: SIZE}


def test_a_transfer_that_stalls_for_too_long_is_given_up_and_its_bytes_are_counted() -> None:
    clock = timeline(gossip(topologies.ring(2), 3), ALWAYS, [(0, 6)], **SLOW)
    _, second, third = played(clock, 3)
    assert second.missing == {(0, 1, 1): "sender offline"}
    assert same(second.start, [16, None]) and second.seconds == 17
    assert second.sent == {0: 50, 1: 50} and second.received == {} and second.offline == {1}
    assert same(third.start, [17, None]) and third.bytes == 0


def test_a_stalled_transfer_leaves_its_share_of_the_link_to_others() -> None:
    # The hub sends 5 B/s to each until 5 s, then 10 B/s to node 2 alone.
    clock = timeline(gossip(topologies.star(3), 2), ALWAYS, [(0, 5), (14, inf)], ALWAYS, **SLOW)
    _, second = played(clock, 2)
    assert (second.arrivals[2, 0], second.arrivals[1, 0]) == (13.0, 22.0)


def test_a_transfer_that_breaks_has_cost_its_bytes_and_a_timeout() -> None:
    network = {"availability": None, "loss_probability": 1.0, "latency_s": 0.25}
    clock = timeline(gossip(topologies.ring(2), 3), **network, **SLOW)
    _, second, third = played(clock, 3)
    assert second.missing == {(0, 1, 1): "lost", (1, 1, 0): "lost"}
    assert second.sent == {0: SIZE, 1: SIZE} and second.received == {}
    assert same(second.start, [21.5, 21.5]) and same(third.start, [43, 43])
    assert second.arrivals == {(0, 0): 1, (1, 1): 1} and second.offline == frozenset()


# --- a server that replans --------------------------------------------------------------------


def test_the_server_leaves_out_who_is_offline_and_takes_back_who_returns() -> None:
    plan = gossip(topologies.chain(3), 23)
    clock = timeline(plan, ALWAYS, ALWAYS, [(0, 0.5), (30, inf)], replan_every=1)
    steps = played(clock, 23)
    assert clock.plan.live == ((1, (0, 1, 2)), (2, (0, 1)), (22, (0, 1, 2)))
    assert [step.seconds for step in steps] == [10.5 + t for t in range(23)]
    assert steps[1].missing == {(1, 1, 2): "untrained"}  # it was live, but did not train
    assert all(not step.missing for step in steps[2:])
    assert steps[21].arrivals == {
        (0, 0): 30.5,
        (0, 1): 30.5,
        (1, 0): 30.5,
        (1, 1): 30.5,
        (2, 1): 30.5,
    }
    for step in steps:
        for round in {max(1, step.round - 1), step.round}:
            assert step.plan.active(round) == clock.plan.active(round)


def test_within_a_segment_nobody_knows_who_left() -> None:
    plan = gossip(topologies.ring(3), 4)
    clock = timeline(plan, ALWAYS, ALWAYS, [(0, 1.5)], replan_every=3)
    steps = played(clock, 4)
    assert clock.plan.live == ((1, (0, 1, 2)), (4, (0, 1)))
    assert [step.active[2] for step in steps] == [2, VACANT, VACANT, VACANT]
    assert steps[2].missing.keys() == {(0, 2, 2), (1, 2, 2)} and steps[3].missing.keys() == {
        (0, 3, 2), (1, 3, 2),
    }  # fmt: skip


def test_the_server_waits_for_the_first_to_come() -> None:
    clock = timeline(gossip(topologies.ring(2), 2), [(7, inf)], [(9, inf)], replan_every=1)
    first, second = played(clock, 2)
    assert first.active == (0, VACANT) and same(first.start, [7, None])
    assert same(second.start, [8, None]) and clock.plan.live == ((1, (0,)),)


def test_when_every_node_is_gone_for_good_the_run_is_over() -> None:
    clock = timeline(gossip(topologies.ring(2), 9), [(0, 3)], [(0, 2)], replan_every=1)
    with pytest.raises(NoNodesLeft, match="from round 4 on every node is offline for good"):
        played(clock, 9)


# --- what holds for every run -----------------------------------------------------------------


@st.composite
def runs(draw: st.DrawFn) -> Timeline:
    n = draw(st.integers(1, 8))
    k, seed = draw(st.integers(1, n)), draw(st.integers(0, 999))
    schedule: Schedule = draw(st.sampled_from([AllActive(n), Teleport(n, k, seed=seed)]))
    specs = ["alone", "chain", "complete", "one-peer-exponential", "ring", "star"]
    topology = topologies.from_spec(draw(st.sampled_from(specs)), schedule.num_slots)
    mean_s = st.sampled_from([1.0, 5.0, 30.0])
    network = Network(
        compute_s=LogNormal(1, 0.5),
        latency_s=draw(st.sampled_from([0.0, 0.1])),
        upload_bytes_per_s=draw(st.sampled_from([50.0, 1000.0, inf])),
        compute_jitter=LogNormal(1, 0.2),
        availability=OnOff(draw(mean_s), draw(mean_s)),
        loss_probability=draw(st.sampled_from([0.0, 0.1])),
        seed=seed,
    )
    every = draw(st.sampled_from([None, None, 1, 3]))
    plan = Plan(topology, schedule, draw(st.integers(1, 12)))
    return Timeline(
        network, plan, SIZE, timeout_s=draw(st.sampled_from([0.0, 4.0])), replan_every=every
    )


@settings(max_examples=60, deadline=None)
@given(clock=runs())
def test_every_row_is_there_or_missing_and_every_byte_is_accounted_for(clock: Timeline) -> None:
    num_rounds = clock.plan.num_rounds
    steps = played(clock, num_rounds)
    plan = clock.plan
    assert [step.seconds for step in steps] == sorted(step.seconds for step in steps)
    before = frozenset[tuple[int, int, int]]()
    for step in steps:
        t = step.round
        trained = {slot: node for slot, node in enumerate(step.active) if node != VACANT}
        assert trained.items() <= dict(enumerate(plan.active(t))).items()
        rows = {
            (slot, t - 1, source.slot): (source.node, node)
            for slot, node in trained.items()
            for source in plan.sources(node, t)
        }
        arrived = {(slot, t - 1, source) for slot, source in step.arrivals}
        assert arrived | step.missing.keys() == rows.keys() and not arrived & step.missing.keys()
        assert {
            row for row, why in step.missing.items() if why == "untrained"
        } == before & rows.keys()
        for slot in range(plan.num_slots):
            there = [time for (s, _), time in step.arrivals.items() if s == slot]
            if slot in trained:
                assert max(there, default=0) <= step.start[slot] < step.finish[slot] <= step.seconds
            else:
                assert np.isnan(step.start[slot]) and np.isnan(step.finish[slot])
        between = [row for row in arrived if rows[row][0] != rows[row][1]]
        received = sum(step.received.values())
        assert SIZE * len(between) <= received <= step.bytes
        gone = {plan.active(t)[slot] for slot in range(plan.num_slots) if slot not in trained}
        assert gone - {VACANT} <= step.offline
        before = step.absent_rows


@settings(max_examples=60, deadline=None)
@given(clock=runs())
def test_a_simulation_that_follows_the_steps_computes_the_dense_reference(clock: Timeline) -> None:
    num_rounds, num_slots = clock.plan.num_rounds, clock.plan.num_slots

    def train(z: np.ndarray, node: int, round: int) -> np.ndarray:
        return 0.9 * z + np.sin([node + 1, round])

    h = np.zeros((num_slots, 2))
    z = h.copy()
    missing: set[tuple[int, int, int]] = set()
    absent: set[tuple[int, int]] = set()

    def mixed(plan: Plan, round: int, rows: Iterable[tuple[int, int, int]]) -> np.ndarray:
        w = plan.topology.matrix(round) * (np.array(plan.active(round)) != VACANT)
        for reader, _, slot in rows:
            w[reader, slot] = 0.0
        total = w.sum(axis=1, keepdims=True)
        return np.where(total > 0, w @ h / np.where(total > 0, total, 1.0), earlier)

    earlier = h.copy()
    for round in range(1, num_rounds + 1):
        step = clock.play(round)
        if round > 1:
            z = mixed(step.plan, round - 1, step.missing)
            missing |= step.missing.keys()
        earlier = h.copy()
        for slot, node in enumerate(step.active):
            if node != VACANT:
                h[slot] = train(z[slot], node, round)
            else:
                absent.add((round, slot))
    missing |= step.absent_rows
    z = mixed(step.plan, num_rounds, step.absent_rows)

    latest = np.zeros((num_slots, 2))

    def train_or_keep(z: np.ndarray, node: int, round: int) -> np.ndarray:
        slot = clock.plan.active(round).index(node)
        if (round, slot) not in absent:
            latest[slot] = train(z, node, round)
        return latest[slot]

    np.testing.assert_allclose(
        z, dense(clock.plan, np.zeros(2), train_or_keep, num_rounds, missing), rtol=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(clock=runs())
def test_the_same_run_twice_is_the_same(clock: Timeline) -> None:
    given_plan = clock.plan
    again = Timeline(clock.network, given_plan, SIZE, timeout_s=4.0)
    other = Timeline(clock.network, given_plan, SIZE, timeout_s=4.0)
    for round in range(1, given_plan.num_rounds + 1):
        first, second = again.play(round), other.play(round)
        assert np.array_equal(first.finish, second.finish, equal_nan=True)
        assert (first.arrivals, first.missing) == (second.arrivals, second.missing)
        assert (first.sent, first.received) == (second.sent, second.received)


def test_the_live_are_those_that_are_online_when_the_server_asks() -> None:
    network = Network(compute_s=1.0, availability=OnOff(20, 10), seed=2)
    plan = Plan(topologies.ring(4), Teleport(50, 4, seed=1), 30)
    clock = Timeline(network, plan, SIZE, replan_every=5, segment_s=0.5)
    seconds = 0.0
    for round in range(1, 31):
        step = clock.play(round)
        if round % 5 == 1:
            online, _ = network.online(np.arange(50), seconds + 0.5)
            assert step.plan.live_in(round) == tuple(np.flatnonzero(online))
        seconds = step.seconds
    assert len(clock.plan.live) == 6
