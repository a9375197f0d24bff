"""Any run: the timeline against a plain slow version, and what must hold whatever the network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Schedule, Teleport
from flwr_gossip.server_free.simulation.distributions import LogNormal
from flwr_gossip.server_free.simulation.networks import Network
from flwr_gossip.server_free.simulation.steps import Step
from flwr_gossip.server_free.simulation.timeline import Timeline

RowId = tuple[int, int, int]
"""(reader's slot, round, slot), as in the dense reference."""


def played(network: Network, plan: Plan, size: int, timeout_s: float = 2.0) -> list[Step]:
    timeline = Timeline(network, plan, size, timeout_s=timeout_s)
    return [timeline.play(round) for round in range(1, plan.num_rounds + 1)]


# --- against a plain slow version ---------------------------------------------------------------


@dataclass
class Slow:
    """Everything is looked at at every event; no heap, no updates."""

    plan: Plan
    network: Network
    size: int
    timeout_s: float
    finish: dict[tuple[int, int], float] = field(default_factory=dict)
    verdicts: dict[RowId, float] = field(default_factory=dict)
    missing: set[RowId] = field(default_factory=set)
    flying: dict[RowId, list[float]] = field(default_factory=dict)  # [flow begins, bytes left]

    def play(self) -> Slow:
        now = 0.0
        while now < inf:
            while self.moves(now):
                pass
            rates = self.rates([row for row, (begin, _) in self.flying.items() if begin <= now])
            times = [*self.finish.values(), *self.verdicts.values()]
            times += [begin for begin, _ in self.flying.values()]
            times += [now + self.flying[row][1] / rate for row, rate in rates.items()]
            later = min((time for time in times if time > now), default=inf)
            if inf in rates.values():
                later = now
            for row, rate in rates.items():
                self.flying[row][1] -= self.flying[row][1] if rate == inf else rate * (later - now)
            now = later
        return self

    def moves(self, now: float) -> bool:
        """Do what can be done now; return whether that was anything."""
        before = len(self.finish), len(self.flying), len(self.verdicts)
        for t in range(1, self.plan.num_rounds + 1):
            for s in range(self.plan.num_slots):
                if (t, s) not in self.finish and (start := self.start(t, s)) <= now:
                    self.finish[t, s] = start + self.of_node(t, s)
                for row in self.rows(t, s):
                    done = self.finish.get((t - 1, row[2]), inf)
                    if row not in self.flying and row not in self.verdicts and done <= now:
                        self.send(row, done)
        for row, (begin, left) in list(self.flying.items()):
            if begin <= now and left <= 1e-9 * self.size:
                del self.flying[row]
                self.verdicts[row] = now
                if self.lost(row):
                    self.verdicts[row] += self.timeout_s
                    self.missing.add(row)
        return before != (len(self.finish), len(self.flying), len(self.verdicts))

    def send(self, row: RowId, done: float) -> None:
        sender, receiver = self.ends(row)
        if sender == receiver:
            self.verdicts[row] = done
        else:
            self.flying[row] = [done + self.latency(row), float(self.size)]

    def ends(self, row: RowId) -> tuple[int, int]:
        reader, t, slot = row
        return self.plan.active(t)[slot], self.plan.active(t + 1)[reader]

    def rows(self, t: int, s: int) -> list[RowId]:
        return [(s, t - 1, source.slot) for source in self.plan.row(s, t - 1)] if t > 1 else []

    def start(self, t: int, s: int) -> float:
        node = self.plan.active(t)[s]
        earlier = [
            self.finish.get((u, self.plan.active(u).index(node)), inf)
            for u in range(1, t)
            if node in self.plan.active(u)
        ]
        return max([0.0, *earlier, *(self.verdicts.get(row, inf) for row in self.rows(t, s))])

    def of_node(self, t: int, s: int) -> float:
        return float(self.network.compute(np.array([self.plan.active(t)[s]]), t)[0])

    def latency(self, row: RowId) -> float:
        sender, receiver = (np.array([node]) for node in self.ends(row))
        return float(self.network.latency(sender, receiver, row[1])[0])

    def lost(self, row: RowId) -> bool:
        sender, receiver = (np.array([node]) for node in self.ends(row))
        return bool(self.network.lost(sender, receiver, row[1])[0])

    def rates(self, rows: list[RowId]) -> dict[RowId, float]:
        pairs = [self.ends(row) for row in rows]
        up, down = self.network.rates(np.arange(self.plan.num_nodes))
        senders, receivers = [s for s, _ in pairs], [r for _, r in pairs]
        return {
            row: min(up[s] / senders.count(s), down[r] / receivers.count(r))
            for row, (s, r) in zip(rows, pairs, strict=True)
        }


@st.composite
def runs(draw: st.DrawFn) -> tuple[Plan, Network, int]:
    n = draw(st.integers(1, 6))
    k, seed = draw(st.integers(1, n)), draw(st.integers(0, 99))
    schedule: Schedule = draw(st.sampled_from([AllActive(n), Teleport(n, k, seed=seed)]))
    spec = draw(st.sampled_from(["alone", "chain", "complete", "one-peer-exponential", "star"]))
    plan = Plan(topologies.from_spec(spec, schedule.num_slots), schedule, draw(st.integers(1, 4)))

    def numbers(*values: float) -> list[float]:
        return draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))

    network = Network(
        compute_s=numbers(0.0, 1.0, 2.5, 7.0),
        latency_s=numbers(0.0, 0.5, 1.0),
        upload_bytes_per_s=numbers(10.0, 30.0, 100.0, inf),
        download_bytes_per_s=numbers(10.0, 30.0, 100.0, inf),
        compute_jitter=draw(st.sampled_from([None, LogNormal(1, 0.5)])),
        latency_jitter=draw(st.sampled_from([None, LogNormal(1, 0.5)])),
        loss_probability=draw(st.sampled_from([0.0, 0.3])),
        seed=seed,
    )
    return plan, network, draw(st.sampled_from([0, 1, 100]))


@settings(max_examples=60, deadline=None)
@given(run=runs())
def test_the_plain_version_gives_the_same_times_and_losses(
    run: tuple[Plan, Network, int],
) -> None:
    plan, network, size = run
    steps = played(network, plan, size)
    slow = Slow(plan, network, size, timeout_s=2.0).play()
    for step in steps:
        expected = [slow.finish[step.round, slot] for slot in range(plan.num_slots)]
        assert step.finish.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        arrived = {
            (s, t, r): time for (s, t, r), time in slow.verdicts.items() if t + 1 == step.round
        }
        assert step.missing.keys() == {row for row in slow.missing if row in arrived}
        assert {(s, step.round - 1, r): time for (s, r), time in step.arrivals.items()} == (
            pytest.approx(
                {row: t for row, t in arrived.items() if row not in slow.missing}, rel=1e-9
            )
        )


# --- what holds for every run -------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(run=runs())
def test_every_byte_sent_is_received_or_lost(run: tuple[Plan, Network, int]) -> None:
    plan, network, size = run
    for step in played(network, plan, size):
        between = [
            (s, source.slot, source.node, node)
            for s, node in enumerate(plan.active(step.round))
            for source in plan.sources(node, step.round)
            if source.node != node
        ]
        lost = [row for row in between if (row[0], step.round - 1, row[1]) in step.missing]
        assert step.bytes == size * len(between)
        assert step.bytes == sum(step.received.values()) + size * len(lost)
        for node, sent in step.sent.items():
            assert sent == size * sum(row[2] == node for row in between) > 0
        assert set(step.missing.values()) <= {"lost"}


@settings(max_examples=40, deadline=None)
@given(run=runs())
def test_nobody_begins_before_its_sources_are_there_and_nothing_waits_for_nothing(
    run: tuple[Plan, Network, int],
) -> None:
    plan, network, size = run
    steps = played(network, plan, size)
    for step in steps:
        for slot in range(plan.num_slots):
            there = [time for (s, _), time in step.arrivals.items() if s == slot]
            assert step.start[slot] >= max(there, default=0.0)
        assert step.seconds == max(step.finish)
    assert [step.seconds for step in steps] == sorted(step.seconds for step in steps)


@settings(max_examples=30, deadline=None)
@given(run=runs())
def test_the_same_run_twice_is_the_same(run: tuple[Plan, Network, int]) -> None:
    plan, network, size = run
    first, second = played(network, plan, size), played(network, plan, size)
    assert [step.finish.tolist() for step in first] == [step.finish.tolist() for step in second]
    assert [step.arrivals for step in first] == [step.arrivals for step in second]


@settings(max_examples=30, deadline=None)
@given(run=runs(), faster=st.integers(0, 5))
def test_more_bandwidth_never_delays_the_first_exchange(
    run: tuple[Plan, Network, int], faster: int
) -> None:
    # With a second exchange it may: who is early now sends on while others still receive.
    plan, network, size = run
    plan = replace(plan, num_rounds=2)
    gain = np.where(np.arange(plan.num_nodes) == faster, 4.0, 1.0)
    up, down = network.rates(np.arange(plan.num_nodes))
    better = replace(network, upload_bytes_per_s=up * gain, download_bytes_per_s=down * gain)
    before, after = (played(net, plan, size) for net in (network, better))
    assert (after[-1].finish <= before[-1].finish + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(run=runs())
def test_no_limit_of_bandwidth_is_never_slower(run: tuple[Plan, Network, int]) -> None:
    plan, network, size = run
    free = replace(network, upload_bytes_per_s=inf, download_bytes_per_s=inf)
    for slow, fast in zip(played(network, plan, size), played(free, plan, size), strict=True):
        assert (fast.finish <= slow.finish + 1e-9).all()
