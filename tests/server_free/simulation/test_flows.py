"""Flows: shares of the links, against a plain version that computes everything anew each time."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.server_free.simulation.flows import Flow, Flows, Port

UP, DOWN = 10.0, 10.0
Transfer = tuple[float, int, int, float]
"""When it starts, from where, to where, how many bytes."""


def ports(count: int, up: float = UP, down: float = DOWN) -> list[Port[Flow]]:
    return [Port(node, up, down) for node in range(count)]


def ends(nodes: list[Port[Flow]], transfers: list[Transfer]) -> list[float]:
    """Return when each transfer ends, in the order given."""
    flows: Flows[Flow] = Flows()
    made = [Flow(nodes[s], nodes[r], size) for _, s, r, size in transfers]
    waiting = sorted(range(len(made)), key=lambda i: transfers[i][0])
    done: dict[Flow, float] = {}
    now = 0.0
    while len(done) < len(made):
        start = transfers[waiting[0]][0] if waiting else inf
        now = min(start, flows.next_end(now))
        while waiting and transfers[waiting[0]][0] <= now:
            flows.start(made[waiting.pop(0)], now)
        done |= dict.fromkeys(flows.ended(now), now)
    return [done[flow] for flow in made]


@dataclass
class Slow:
    """The model as it is stated: at each event all rates are computed anew."""

    up: list[float]
    down: list[float]
    transfers: list[Transfer]

    def ends(self) -> list[float]:
        starts, senders, receivers, sizes = (np.array(c) for c in zip(*self.transfers, strict=True))
        left, end, now = sizes.astype(float), np.full(len(starts), np.nan), 0.0
        while np.isnan(end).any():
            runs = (starts <= now) & np.isnan(end)
            share_up = [self.up[s] / max(1, (senders[runs] == s).sum()) for s in senders]
            share_down = [self.down[r] / max(1, (receivers[runs] == r).sum()) for r in receivers]
            rate = np.where(runs, np.minimum(share_up, share_down), 0.0)
            wait = np.where(runs, left / np.where(runs, rate, 1.0), inf).min()
            later = starts[starts > now]
            step = min(wait, later.min() - now) if later.size else wait
            left, now = left - rate * step, now + step
            end[runs & (left <= 1e-9 * sizes)] = now
        return end.tolist()


# --- by hand ----------------------------------------------------------------------------------


def test_a_transfer_takes_its_bytes_over_the_slower_link() -> None:
    assert ends([Port(0, 4.0, 99.0), Port(1, 99.0, 8.0)], [(1.0, 0, 1, 20.0)]) == [6.0]
    assert ends([Port(0, 8.0, 99.0), Port(1, 99.0, 4.0)], [(1.0, 0, 1, 20.0)]) == [6.0]


def test_two_share_an_uplink_until_one_is_done() -> None:
    # 5 B/s each until 2 s; then node 1's 20 bytes go on alone with 10 B/s.
    found = ends(ports(3, down=inf), [(0.0, 0, 1, 30.0), (0.0, 0, 2, 10.0)])
    assert found == [4.0, 2.0]


def test_two_share_a_downlink() -> None:
    # Alone until 1 s (20 left), then 5 B/s each: 10 bytes take until 3 s, the last 10 until 4 s.
    found = ends(ports(3, up=inf), [(0.0, 0, 2, 30.0), (1.0, 1, 2, 10.0)])
    assert found == [4.0, 3.0]


def test_what_one_end_leaves_unused_is_not_given_to_others() -> None:
    # Node 0 sends 5 B/s to each, though node 1 can take only 1 B/s. Max-min would give 9 to 2.
    nodes = [Port(0, 10.0, inf), Port(1, inf, 1.0), Port(2, inf, inf)]
    assert ends(nodes, [(0.0, 0, 1, 10.0), (0.0, 0, 2, 20.0)]) == [10.0, 4.0]


def test_both_directions_are_independent() -> None:
    assert ends(ports(2), [(0.0, 0, 1, 20.0), (0.0, 1, 0, 20.0)]) == [2.0, 2.0]


@pytest.mark.parametrize(("rate", "size"), [(inf, 5.0), (inf, 0.0), (1.0, 0.0)])
def test_nothing_to_wait_for(rate: float, size: float) -> None:
    assert ends(ports(3, rate, rate), [(3.0, 0, 1, size), (3.0, 0, 2, size)]) == [3.0, 3.0]


# --- at any time, against the plain version -----------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> Slow:
    count = draw(st.integers(2, 5))
    rates = st.lists(st.sampled_from([0.5, 1.0, 3.0, 10.0]), min_size=count, max_size=count)
    node = st.integers(0, count - 1)
    one = st.tuples(
        st.sampled_from([0.0, 1.0, 1.5, 4.0]), node, node, st.sampled_from([1.0, 5.0, 8.0])
    )
    transfers = st.lists(one.filter(lambda t: t[1] != t[2]), min_size=1, max_size=12)
    return Slow(draw(rates), draw(rates), draw(transfers))


@given(case=cases())
def test_every_transfer_ends_when_the_model_says(case: Slow) -> None:
    nodes = [Port(i, u, d) for i, (u, d) in enumerate(zip(case.up, case.down, strict=True))]
    assert ends(nodes, case.transfers) == pytest.approx(case.ends(), rel=1e-9)


@given(case=cases(), faster=st.integers(0, 4), factor=st.sampled_from([1.5, 10.0, inf]))
def test_more_bandwidth_at_one_node_makes_no_transfer_later(
    case: Slow, faster: int, factor: float
) -> None:
    # True for given starts: less is left of every transfer at any time, so fewer share a link.
    def nodes(gain: float) -> list[Port[Flow]]:
        gains = [gain if node == faster else 1.0 for node in range(len(case.up))]
        rates = zip(case.up, case.down, gains, strict=True)
        return [Port(i, up * g, down * g) for i, (up, down, g) in enumerate(rates)]

    before, after = ends(nodes(1.0), case.transfers), ends(nodes(factor), case.transfers)
    assert (np.array(after) <= np.array(before) * (1 + 1e-9)).all()


# --- stalling ---------------------------------------------------------------------------------


def test_a_stalled_transfer_goes_on_where_it_was_and_leaves_the_link_to_others() -> None:
    flows: Flows[Flow] = Flows()
    nodes = ports(3, down=inf)
    first, second = Flow(nodes[0], nodes[1], 30.0), Flow(nodes[0], nodes[2], 30.0)
    flows.start(first, 0.0)
    flows.start(second, 0.0)
    assert flows.next_end(0.0) == 6.0
    flows.pause(nodes[1], 2.0)  # 20 bytes left of both
    assert flows.next_end(2.0) == 4.0 and flows.ended(4.0) == [second]
    assert first.left == 20.0 and first.is_stalled and flows.next_end(4.0) == inf
    flows.resume(nodes[1], 10.0)
    assert flows.next_end(10.0) == 12.0 and flows.ended(12.0) == [first]
    assert not any(node.busy for node in nodes)


def test_a_transfer_waits_for_both_ends() -> None:
    flows: Flows[Flow] = Flows()
    nodes = ports(2)
    for node in nodes:
        flows.pause(node, 0.0)
    flow = Flow(nodes[0], nodes[1], 10.0)
    flows.start(flow, 1.0)
    flows.resume(nodes[0], 2.0)
    assert flows.next_end(2.0) == inf and nodes[0].busy
    flows.resume(nodes[1], 3.0)
    assert flows.next_end(3.0) == 4.0


@pytest.mark.parametrize("stalled", [False, True])
def test_a_stopped_transfer_frees_the_link_and_knows_what_was_left(stalled: bool) -> None:
    flows: Flows[Flow] = Flows()
    nodes = ports(3, down=inf)
    first, second = Flow(nodes[0], nodes[1], 30.0), Flow(nodes[0], nodes[2], 30.0)
    flows.start(first, 0.0)
    flows.start(second, 0.0)
    flows.next_end(0.0)
    if stalled:
        flows.pause(nodes[1], 2.0)
    flows.stop(first, 2.0)
    assert first.left == 20.0
    assert flows.next_end(2.0) == 4.0 and flows.ended(4.0) == [second]
    assert not any(node.busy for node in nodes)
