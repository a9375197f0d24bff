"""The timeline of nodes that stay: by hand, in closed form, and against a plain slow version."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from itertools import pairwise
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import VACANT, Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.simulation.distributions import LogNormal, uniforms
from flwr_gossip.server_free.simulation.networks import Network
from flwr_gossip.server_free.simulation.steps import Step
from flwr_gossip.server_free.simulation.timeline import Timeline
from flwr_gossip.server_free.topologies import Topology

SIZE = 100


def gossip(topology: Topology, num_rounds: int) -> Plan:
    return Plan(topology, AllActive(topology.num_nodes), num_rounds)


def teleporting(spec: str, n: int, k: int, num_rounds: int, seed: int = 0) -> Plan:
    return Plan(topologies.from_spec(spec, k), Teleport(n, k, seed=seed), num_rounds)


def played(network: Network, plan: Plan, size: int = SIZE, **settings: Any) -> list[Step]:
    timeline = Timeline(network, plan, size, **settings)
    return [timeline.play(round) for round in range(1, plan.num_rounds + 1)]


def finishes(steps: list[Step]) -> list[list[float]]:
    return [step.finish.tolist() for step in steps]


# --- by hand ----------------------------------------------------------------------------------


def test_a_chain_of_three() -> None:
    # h_1 is there at 1, 2 and 4 s. Each transfer: 2 s latency, and 100 bytes at 100 B/s.
    network = Network(
        compute_s=[1, 2, 4], latency_s=1.0, upload_bytes_per_s=100, download_bytes_per_s=100
    )
    first, second = played(network, gossip(topologies.chain(3), 2))
    assert (first.start.tolist(), first.finish.tolist()) == ([0, 0, 0], [1, 2, 4])
    assert (first.seconds, first.median_s, first.arrivals, first.bytes) == (4, 2, {}, 0)
    # Node 1 sends to both at once from 4 s on, with 50 B/s each.
    assert second.arrivals == {
        (0, 0): 1, (0, 1): 6, (1, 0): 4, (1, 1): 2, (1, 2): 7, (2, 1): 6, (2, 2): 4,
    }  # fmt: skip
    assert second.start.tolist() == [6, 7, 6] and second.finish.tolist() == [7, 9, 10]
    assert (second.seconds, second.median_s) == (10, 9)
    assert second.sent == {0: 100, 1: 200, 2: 100} == second.received
    assert (second.bytes, second.missing, second.offline) == (400, {}, frozenset())


def test_two_transfers_share_an_uplink_even_if_one_cannot_use_its_half() -> None:
    network = Network(
        compute_s=1.0, upload_bytes_per_s=[100, inf, inf], download_bytes_per_s=[inf, 25, inf]
    )
    _, second = played(network, gossip(topologies.star(3), 2))
    assert (second.arrivals[1, 0], second.arrivals[2, 0]) == (5.0, 3.0)


def test_two_transfers_share_an_uplink_until_one_is_done() -> None:
    # To node 1 from 1 s on alone, to node 2 (1 s further away) from 2 s on: 50 B/s each until 3 s,
    # when node 1 has its 150 bytes; node 2's last 100 take 1 s more.
    network = Network(compute_s=1.0, latency_s=[0, 0, 1], upload_bytes_per_s=[100, inf, inf])
    _, second = played(network, gossip(topologies.star(3), 2), size=150)
    assert (second.arrivals[1, 0], second.arrivals[2, 0]) == (3.0, 4.0)


def test_a_hubs_downlink_is_shared_by_those_who_send_to_it() -> None:
    # Node 1 is done at 1 s, node 2 at 2 s; 100 B/s into the hub: alone, then half each.
    network = Network(compute_s=[1, 1, 2], download_bytes_per_s=[100, inf, inf])
    _, second = played(network, gossip(topologies.star(3), 2), size=200)
    assert (second.arrivals[0, 1], second.arrivals[0, 2]) == (4.0, 5.0)
    assert second.start[0] == 5.0


def test_both_transfers_of_a_node_to_itself_cost_nothing() -> None:
    steps = played(Network(compute_s=3.0, upload_bytes_per_s=1), gossip(topologies.alone(2), 4))
    assert [step.seconds for step in steps] == [3, 6, 9, 12]
    assert all(step.bytes == 0 and step.sent == {} for step in steps)


# --- no barrier -------------------------------------------------------------------------------


def test_a_slow_node_delays_others_one_hop_a_round() -> None:
    n, slow, num_rounds = 9, 10.0, 7
    network = Network(compute_s=[slow] + [1.0] * (n - 1))
    for step in played(network, gossip(topologies.ring(n), num_rounds)):
        t = step.round
        hops = np.minimum(np.arange(n), n - np.arange(n))
        # d hops away the longest chain of t trainings has t - d at node 0, if it reaches there.
        expected = np.where(hops < t, hops + slow * (t - hops), t)
        np.testing.assert_allclose(step.finish, expected)
        assert step.seconds == slow * t and step.median_s == np.median(expected)


def test_one_late_training_makes_a_wave() -> None:
    @dataclass(frozen=True)
    class Once:
        """Node 0 is slow in round 2."""

        late: float

        def draw(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
            return np.where(u == self.late, 6.0, 1.0)

    late = float(uniforms(0, "compute-jitter", 0, 2)[0])
    network = Network(compute_s=1.0, compute_jitter=Once(late))
    for step in played(network, gossip(topologies.ring(8), 6)):
        hops = np.minimum(np.arange(8), 8 - np.arange(8))
        assert step.finish.tolist() == (step.round + 5.0 * (hops <= step.round - 2)).tolist()


def test_a_node_that_nobody_waits_for_runs_ahead_on_the_clock_but_not_in_the_record() -> None:
    steps = played(Network(compute_s=[1, 100]), gossip(topologies.alone(2), 3))
    assert finishes(steps) == [[1, 100], [2, 200], [3, 300]]


def test_a_node_trains_one_slot_at_a_time() -> None:
    plan = teleporting("one-peer-exponential", 3, 2, 40, seed=1)
    steps = played(Network(compute_s=[1, 5, 25]), plan)
    times: dict[int, list[tuple[float, float]]] = {}
    for step in steps:
        for slot, node in enumerate(step.active):
            times.setdefault(node, []).append((step.start[slot], step.finish[slot]))
    assert len(times) == 3
    for spans in times.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


# --- closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 16])
def test_a_ring_of_equal_nodes(n: int) -> None:
    network = Network(compute_s=2.0, latency_s=0.25, upload_bytes_per_s=40, download_bytes_per_s=50)
    steps = played(network, gossip(topologies.ring(n), 5))
    exchange = 2 * 0.25 + SIZE / (40 / 2)
    for step in steps:
        expected = 2.0 * step.round + exchange * (step.round - 1)
        np.testing.assert_allclose(step.finish, expected)
        assert step.bytes == (2 * n * SIZE if step.round > 1 else 0)


@pytest.mark.parametrize("n", [5, 8, 16])
def test_one_peer_exponential_has_the_links_for_itself(n: int) -> None:
    network = Network(compute_s=2.0, latency_s=0.25, upload_bytes_per_s=40, download_bytes_per_s=50)
    steps = played(network, gossip(topologies.one_peer_exponential(n), 6))
    for step in steps:
        expected = 2.0 * step.round + (0.5 + SIZE / 40) * (step.round - 1)
        np.testing.assert_allclose(step.finish, expected)


def test_the_walking_token() -> None:
    plan = teleporting("ring", 4, 1, 30)
    network = Network(compute_s=1.5, latency_s=0.1, upload_bytes_per_s=200)
    seconds, hops = 0.0, 0
    for step in played(network, plan):
        moved = step.round > 1 and plan.active(step.round) != plan.active(step.round - 1)
        seconds += 1.5 + moved * (0.2 + SIZE / 200)
        hops += moved
        assert step.seconds == pytest.approx(seconds)
        assert step.bytes == moved * SIZE
    assert 10 < hops < 29  # some visits of the same node twice running cost no transfer


def test_one_node_only_computes() -> None:
    steps = played(Network(compute_s=2.0, latency_s=9.0), gossip(topologies.ring(1), 3))
    assert [step.seconds for step in steps] == [2, 4, 6]
    assert all(step.active == (0,) and not step.sent for step in steps)


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (Network(compute_s=1.0, latency_s=0.5), SIZE),
        (Network(compute_s=1.0, latency_s=0.5, upload_bytes_per_s=1e-3), 0),
    ],
    ids=["no limit", "no bytes"],
)
def test_without_bytes_or_limits_only_latency_is_left(network: Network, size: int) -> None:
    steps = played(network, gossip(topologies.complete(5), 4), size)
    assert [step.seconds for step in steps] == [1, 3, 5, 7]
    assert steps[1].bytes == 20 * size


def test_nothing_costs_anything() -> None:
    steps = played(Network(compute_s=0.0), teleporting("ring", 9, 5, 4))
    assert [step.seconds for step in steps] == [0.0] * 4


def test_a_plan_without_rounds_has_nothing_to_play() -> None:
    with pytest.raises(PlanError, match="round is 1, but the plan has 0 rounds"):
        Timeline(Network(), gossip(topologies.ring(2), 0), SIZE).play(1)


# --- whatever the number of nodes ---------------------------------------------------------------


def test_a_nodes_numbers_do_not_depend_on_how_many_there_are() -> None:
    network = Network.home(compute_s=LogNormal(1, 1))
    small = played(network, gossip(topologies.alone(5), 3))
    large = played(network, gossip(topologies.alone(50), 3))
    for few, many in zip(small, large, strict=True):
        assert few.finish.tolist() == many.finish[:5].tolist()


def test_of_a_hundred_thousand_nodes_only_those_that_work_are_kept() -> None:
    plan = teleporting("one-peer-exponential", 100_000, 16, 200)
    timeline = Timeline(Network.home(compute_s=LogNormal(1, 0.5)), plan, SIZE)
    tracemalloc.start()
    for round in range(1, 201):
        step = timeline.play(round)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(step.arrivals) == 32 and current < 2_000_000


# --- the way it is asked ------------------------------------------------------------------------


def test_rounds_are_played_once_and_in_order() -> None:
    timeline = Timeline(Network(), gossip(topologies.ring(3), 2), SIZE)
    with pytest.raises(PlanError, match="round is 2, the next one to play is 1"):
        timeline.play(2)
    timeline.play(1)
    with pytest.raises(PlanError, match="round is 1, the next one to play is 2"):
        timeline.play(1)
    timeline.play(2)
    with pytest.raises(PlanError, match="round is 3, but the plan has 2 rounds"):
        timeline.play(3)


def test_without_churn_the_plan_is_the_one_given() -> None:
    plan = teleporting("ring", 7, 3, 3)
    timeline = Timeline(Network.lan(), plan, SIZE, replan_every=1)
    steps = [timeline.play(round) for round in (1, 2, 3)]
    assert timeline.plan == plan and all(step.plan == plan for step in steps)
    assert [step.active for step in steps] == [plan.active(round) for round in (1, 2, 3)]


def test_segments_are_barriers_and_cost_their_time() -> None:
    network = Network(compute_s=[1, 4, 1, 1], latency_s=0.5)
    plan = gossip(topologies.ring(4), 4)
    steps = played(network, plan, replan_every=2, segment_s=10.0)
    assert steps[0].start.tolist() == [10] * 4  # the first message
    assert steps[1].finish.tolist() == [16, 18, 16, 13]
    assert steps[2].start.tolist() == [29] * 4  # 18 + 10, and the exchange begins only then
    assert steps[2].arrivals[0, 3] == 29 and steps[2].arrivals[0, 0] == 28


def test_live_lists_that_the_plan_brings_are_kept() -> None:
    plan = gossip(topologies.ring(4), 3).with_live(2, [0, 1, 2])
    steps = played(Network(compute_s=1.0), plan)
    assert steps[1].active == (0, 1, 2, VACANT)
    assert np.isnan(steps[1].finish[3]) and steps[1].seconds == 2.0
    # Only sources that have a holder are waited for; who leaves is still read once.
    assert {(0, 3), (2, 3)} <= steps[1].arrivals.keys()
    assert {slot for _, slot in steps[2].arrivals} == {0, 1, 2}


def test_rounds_without_any_holder_take_no_time() -> None:
    plan = gossip(topologies.ring(2), 4).with_live(2, []).with_live(3, [0, 1])
    steps = played(Network(compute_s=1.0), plan)
    assert [step.active for step in steps] == [(0, 1), (VACANT, VACANT), (0, 1), (0, 1)]
    assert [step.seconds for step in steps] == [1.0, 1.0, 2.0, 3.0]
    assert steps[1].median_s == 1.0


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"model_bytes": -1}, "model_bytes is -1, allowed is a whole number from 0"),
        ({"model_bytes": 1.5}, "model_bytes is 1.5"),
        ({"timeout_s": -1}, "timeout_s is -1, allowed are finite seconds from 0"),
        ({"timeout_s": inf}, "timeout_s is inf"),
        ({"segment_s": nan}, "segment_s is nan"),
        ({"replan_every": 0}, "replan_every is 0, allowed is a whole number from 1"),
        ({"network": Network(compute_s=[1, 2])}, "compute_s has values for 2 nodes"),
        (
            {"replan_every": 2, "plan": gossip(topologies.ring(3), 2).with_live(1, [0])},
            "the plan has live lists of its own",
        ),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(settings_: dict[str, Any], named: str) -> None:
    ordinary = {"network": Network(), "plan": gossip(topologies.ring(3), 2), "model_bytes": 1}
    with pytest.raises(PlanError, match=named):
        Timeline(**(ordinary | settings_))
