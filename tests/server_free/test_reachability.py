"""Who probes whom, who stands in, and the table that people read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.reachability import (
    KINDS,
    MAX_TARGETS,
    Probed,
    Relayed,
    Unreachable,
    choose_relays,
    pairs_table,
    targets,
)
from flwr_gossip.server_free.schedules import AllActive, Schedule, Teleport


def plan(spec: str, schedule: Schedule) -> Plan:
    topology = topologies.from_spec(spec, num_nodes=schedule.num_slots)
    return Plan(topology, schedule, num_rounds=50)


@pytest.mark.parametrize(
    "spec", ["ring", "directed-ring", "star", "one-peer-exponential", "base-graph:2", "alone"]
)
def test_static_nodes_probe_exactly_whom_they_will_read(spec: str) -> None:
    static = plan(spec, AllActive(9))
    for node in range(9):
        rounds = range(1, 50)
        read = {source.node for round in rounds for source in static.row(node, round)}
        assert targets(static, node) == tuple(sorted(read - {node}))


@pytest.mark.parametrize(
    ("spec", "schedule"), [("ring", Teleport(8, 4)), ("random-regular:3", AllActive(8))]
)
def test_where_any_two_may_meet_all_are_probed(spec: str, schedule: Schedule) -> None:
    assert targets(plan(spec, schedule), 3) == (0, 1, 2, 4, 5, 6, 7)
    assert targets(plan("ring", AllActive(8)), 3, everyone=True) == (0, 1, 2, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("spec", "schedule"), [("ring", Teleport(1000, 4)), ("complete", AllActive(200))]
)
def test_of_many_a_sample_is_probed(spec: str, schedule: Schedule) -> None:
    many = plan(spec, schedule)
    samples = [targets(many, node) for node in range(20)]
    assert all(len(set(sample)) == MAX_TARGETS for sample in samples)
    assert all(node not in sample for node, sample in enumerate(samples))
    assert samples == [targets(many, node) for node in range(20)]
    assert len(set(samples)) == 20


def test_what_the_probes_said_travels_as_text() -> None:
    lost = Unreachable(3, 5, "10.0.0.5:9400", "refused", "nobody listens")
    probed = Probed((1, 2), (lost,))
    assert Probed.load(probed.dump(), reader=3, num_nodes=6) == probed
    assert Probed.load("", reader=3, num_nodes=6) == Probed()


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "{", "null", "[" * 100_000),
        *('{"unreachable": [[1]]}', '{"unreachable": [[1, 2, "refused", ""]]}'),
        *('{"unreachable": [[1, "a:1", "odd", ""]]}', '{"unreachable": {"1": "refused"}}'),
        *(
            '{"unreachable": [[6, "a:1", "refused", ""]]}',
            '{"unreachable": [[-1, "a:1", "refused", ""]]}',
        ),
        *('{"unreachable": [[3, "a:1", "refused", ""]]}', '{"unreachable": 7}'),
        *(
            '{"reached": ["x"]}',
            '{"reached": [Infinity]}',
            '{"reached": [6]}',
            '{"reached": [true]}',
        ),
        *('{"reached": [1.0]}', '{"reached": 7}', '{"reached": [[1]]}'),
    ],
    ids=lambda text: text[:60],
)
def test_what_are_no_probes(text: str) -> None:
    with pytest.raises(PlanError, match="node 3"):
        Probed.load(text, reader=3, num_nodes=6)


def test_a_kind_is_one_of_those_that_are_documented() -> None:
    with pytest.raises(PlanError, match="'odd'"):
        Unreachable(0, 1, "host:1", "odd", "")
    assert all(f'``"{kind}"``' in str(Unreachable.__doc__) for kind in KINDS)


NODES = range(6)
PAIRS = st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)).filter(lambda p: p[0] != p[1])


@given(lost=st.sets(PAIRS), live=st.sets(st.sampled_from(NODES)))
def test_a_relay_is_a_live_third_node_that_both_reach(
    lost: set[tuple[int, int]], live: set[int]
) -> None:
    reached = {a: {b for b in NODES if a != b and (a, b) not in lost} for a in NODES}
    chosen = choose_relays(lost, reached, live)
    for (reader, holder), relay in chosen.items():
        Relayed(reader, holder, relay)
        assert relay in live & reached[reader]
        assert holder in reached[relay]
    for reader, holder in lost - chosen.keys():
        assert not any(holder in reached[relay] for relay in live & reached[reader])


def test_relays_share_the_work_and_the_smallest_comes_first() -> None:
    reached = {0: {2, 3}, 1: {2, 3}, 2: {4, 5}, 3: {4, 5}}
    lost = [(1, 5), (0, 4), (0, 5), (1, 4)]
    expected = {(0, 4): 2, (0, 5): 3, (1, 4): 2, (1, 5): 3}
    assert choose_relays(lost, reached, range(6)) == expected
    assert choose_relays(reversed(lost), reached, range(6)) == expected


def test_the_table_names_every_pair_its_address_and_why() -> None:
    pairs = [
        Unreachable(2, 0, "10.0.0.1:9400", "timed-out", "no connection within 3 s"),
        Unreachable(0, 2, "host-c:9400", "no-such-name", "it does not resolve", relay=1),
    ]
    title, head, first, second = pairs_table(pairs, 6)
    assert title == "2 of 6 pairs of nodes that were probed cannot talk:"
    assert head.split() == ["reader", "holder", "address", "why", "instead", "reason"]
    assert " ".join(first.split()) == (
        "0 2 host-c:9400 no-such-name through node 1 it does not resolve"
    )
    assert " ".join(second.split()) == "2 0 10.0.0.1:9400 timed-out - no connection within 3 s"
    assert pairs_table([], 6) == ["All 6 pairs of nodes that were probed can talk."]
