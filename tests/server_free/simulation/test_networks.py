"""Networks: what each node costs, whoever asks, and which descriptions cannot be."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.availability import OnlineTrace, OnOff
from flwr_gossip.server_free.simulation.distributions import Choice, Exponential, LogNormal, Uniform
from flwr_gossip.server_free.simulation.networks import Network, Stragglers

RARE = 1e-3
ALL = np.arange(3)
MANY = np.arange(20_000)
RANDOM = Network(
    compute_s=LogNormal(1, 1),
    latency_s=Uniform(0, 1),
    upload_bytes_per_s=Exponential(5),
    download_bytes_per_s=Choice([1, 2]),
    compute_jitter=LogNormal(1, 0.1),
    latency_jitter=LogNormal(1, 0.1),
    stragglers=Stragglers(0.3, 5, each_round=True),
    availability=OnOff(10, 10),
    loss_probability=0.3,
    seed=4,
)


def answers(network: Network, nodes: np.ndarray, round: int = 3) -> list[np.ndarray]:
    """Return all that a network says about nodes, and about transfers to them from node 1."""
    ones = np.ones_like(nodes)
    return [
        network.compute(nodes, round),
        network.latency(ones, nodes, round),
        *network.rates(nodes),
        network.lost(ones, nodes, round),
        *network.online(nodes, 55.0),
    ]


# --- who has which numbers --------------------------------------------------------------------


def test_without_a_word_a_round_takes_a_second_and_transfers_nothing() -> None:
    compute, latency, upload, download, lost, online, until = answers(Network(), ALL)
    assert (compute == 1).all() and (latency == 0).all() and not lost.any()
    assert (upload == inf).all() and (download == inf).all()
    assert online.all() and (until == inf).all()


def test_a_number_is_every_nodes_and_a_sequence_has_one_each() -> None:
    network = Network(compute_s=[1, 2, 3], upload_bytes_per_s=np.array([5, 6, inf]))
    assert network.compute(np.array([2, 0, 2]), 1).tolist() == [3, 1, 3]
    assert network.rates(ALL)[0].tolist() == [5, 6, inf]
    assert Network(compute_s=np.int64(7)).compute(ALL, 1).tolist() == [7, 7, 7]


def test_what_was_given_can_be_changed_afterwards_without_effect() -> None:
    given_s = np.array([1.0, 2.0])
    network = Network(compute_s=given_s)
    given_s[:] = 9
    assert network.compute(np.arange(2), 1).tolist() == [1, 2]


def test_latency_is_the_sum_of_both_ends() -> None:
    network = Network(latency_s=[1, 20, 300])
    assert network.latency(np.array([0, 1, 2]), np.array([1, 2, 0]), 1).tolist() == [21, 320, 301]
    assert Network(latency_s=0.5).latency(ALL, ALL[::-1], 1).tolist() == [1.0] * 3


def test_latency_by_pair_is_the_whole() -> None:
    table = [[0, 5], [7, 0]]
    senders, receivers = np.array([0, 1]), np.array([1, 0])
    by_table = Network(latency_s=table)
    by_function = Network(latency_s=lambda s, r: np.where(s < r, 5.0, 7.0))
    assert by_table.latency(senders, receivers, 1).tolist() == [5, 7]
    assert by_function.latency(senders, receivers, 1).tolist() == [5, 7]


def test_what_is_drawn_is_drawn_once_a_node() -> None:
    network = Network(compute_s=LogNormal(2, 0.5), upload_bytes_per_s=LogNormal(2, 0.5))
    compute, (upload, _) = network.compute(MANY, 1), network.rates(MANY)
    np.testing.assert_array_equal(compute, network.compute(MANY, 2))
    assert stats.kstest(compute, stats.lognorm(0.5, scale=2).cdf).pvalue > RARE
    assert abs(np.corrcoef(np.log(compute), np.log(upload))[0, 1]) < 4 / len(MANY) ** 0.5


def test_jitter_is_drawn_for_each_node_and_round() -> None:
    network = Network(compute_s=3.0, compute_jitter=LogNormal(1, 0.2))
    rounds = [network.compute(MANY, round) / 3 for round in (1, 2)]
    assert abs(np.corrcoef(*np.log(rounds))[0, 1]) < 4 / len(MANY) ** 0.5
    assert stats.kstest(rounds[0], stats.lognorm(0.2).cdf).pvalue > RARE


def test_latency_jitter_is_drawn_for_each_transfer() -> None:
    network = Network(latency_s=1.0, latency_jitter=Uniform(0, 1))
    senders, receivers = np.array([0, 1, 0, 0, 2]), np.array([1, 0, 2, 1, 1])
    first, second = (network.latency(senders, receivers, round) for round in (1, 2))
    assert len({*first, *second}) == 8 and first[0] == first[3]
    assert min(first) > 0 and max(first) < 2


def test_stragglers_are_the_same_nodes_always() -> None:
    network = Network(compute_s=2.0, stragglers=Stragglers(0.1, 10))
    slow = network.compute(MANY, 1)
    assert set(slow) == {2.0, 20.0}
    assert stats.binomtest(int((slow == 20).sum()), len(MANY), 0.1).pvalue > RARE
    np.testing.assert_array_equal(slow, network.compute(MANY, 9))


def test_occasional_stragglers_are_others_in_every_round() -> None:
    network = Network(stragglers=Stragglers(0.1, 10, each_round=True))
    twice = (network.compute(MANY, 1) == 10) & (network.compute(MANY, 2) == 10)
    assert stats.binomtest(int(twice.sum()), len(MANY), 0.01).pvalue > RARE


def test_transfers_are_lost_with_the_stated_probability() -> None:
    network = Network(loss_probability=0.2)
    lost = network.lost(np.zeros_like(MANY), MANY, 1)
    assert stats.binomtest(int(lost.sum()), len(MANY), 0.2).pvalue > RARE
    also = lost & network.lost(np.ones_like(MANY), MANY, 1) & network.lost(0 * MANY, MANY, 2)
    assert stats.binomtest(int(also.sum()), len(MANY), 0.2**3).pvalue > RARE
    assert Network(loss_probability=1).lost(ALL, ALL + 1, 1).all()


@given(
    nodes=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    round=st.integers(1, 10**6),
)
def test_who_else_is_asked_does_not_matter(nodes: list[int], round: int) -> None:
    together = answers(RANDOM, np.array(nodes), round)
    alone = zip(*(answers(RANDOM, np.array([node]), round) for node in nodes), strict=True)
    for expected, found in zip(together, alone, strict=True):
        np.testing.assert_array_equal(expected, np.concatenate(found))


def test_another_seed_is_another_network() -> None:
    other = Network(compute_s=LogNormal(1, 1), seed=5)
    assert not np.isclose(
        Network(compute_s=LogNormal(1, 1)).compute(ALL, 1), other.compute(ALL, 1)
    ).any()


def test_sixteen_of_a_billion_nodes_take_no_memory_for_the_others() -> None:
    nodes = np.arange(16) * 60_000_000
    tracemalloc.start()
    RANDOM.check(10**9)
    answers(RANDOM, nodes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("example", [Network.lan, Network.sites, Network.home, Network.mobile])
def test_the_examples_can_be_changed(example: Callable[..., Network]) -> None:
    network = example(compute_s=5.0, compute_jitter=None, seed=3)
    assert network.compute(ALL, 1).tolist() == [5] * 3 and network.seed == 3
    assert np.isfinite(network.rates(ALL)).all() and (network.latency(ALL, ALL, 1) > 0).all()


def test_home_lines_have_the_stated_medians() -> None:
    upload, download = Network.home().rates(MANY)
    assert np.median(upload) == pytest.approx(20e6 / 8, rel=0.03)
    assert np.median(download) == pytest.approx(100e6 / 8, rel=0.03)


# --- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"compute_s": -1}, "compute_s is -1.0, allowed is a finite number from 0"),
        ({"compute_s": inf}, "compute_s is inf"),
        ({"compute_s": [1, nan, 2]}, "compute_s of node 1 is nan"),
        ({"compute_s": "fast"}, "compute_s is 'fast', allowed are a number, one number a node"),
        ({"compute_s": None}, "compute_s is None, allowed are a number"),
        ({"compute_s": []}, r"compute_s has shape \(0,\), allowed is \(n,\), n >= 1"),
        ({"compute_s": [[1, 2], [3, 4]]}, r"compute_s has shape \(2, 2\)"),
        ({"compute_s": len}, "compute_s is <built-in function len>, allowed are a number"),
        ({"latency_s": [[1, 2, 3], [4, 5, 6]]}, r"shape \(2, 3\), allowed is \(n,\) or \(n, n\)"),
        ({"latency_s": [[0, 1], [-2, 0]]}, "latency_s of node 1 is -2.0"),
        ({"upload_bytes_per_s": 0}, "upload_bytes_per_s is 0.0, allowed is bytes per second above"),
        ({"download_bytes_per_s": [3, -2]}, "download_bytes_per_s of node 1 is -2.0"),
        ({"compute_jitter": 0.1}, r"compute_jitter is 0.1, .*LogNormal\(1, 0.2\)"),
        ({"latency_jitter": 1}, "latency_jitter is 1"),
        ({"loss_probability": 1.5}, "loss_probability is 1.5, allowed is 0 to 1"),
        ({"loss_probability": nan}, "loss_probability is nan"),
        ({"seed": -1}, "seed is -1"),
    ],
    ids=str,
)
def test_an_impossible_description_is_refused_by_name(given_: dict[str, Any], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        Network(**given_)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Stragglers(1.5, 2), "share is 1.5"),
        (lambda: Stragglers(0.5, 0.5), "factor is 0.5, allowed is a number from 1"),
        (lambda: Stragglers(0.5, inf), "factor is inf"),
        (lambda: Network.lan(speed=3), "Network has no 'speed'"),
    ],
)
def test_impossible_stragglers_and_examples_are_refused(
    make: Callable[[], object], named: str
) -> None:
    with pytest.raises(PlanError, match=named):
        make()


def test_a_bad_draw_names_the_node() -> None:
    network = Network(upload_bytes_per_s=Choice([0]))
    with pytest.raises(PlanError, match="upload_bytes_per_s of node 7 is 0"):
        network.rates(np.array([7]))


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Network(compute_s=[1, 2]), "compute_s has values for 2 nodes, but there are 3"),
        (Network(latency_s=[[0, 1], [1, 0]]), "latency_s has values for 2 nodes"),
        (
            Network(availability=OnlineTrace({0: [(0, 1)], 2: []})),
            r"trace lacks 1 of 3 nodes, first node 1; give it an interval, \(0, inf\)",
        ),
    ],
    ids=["compute", "pairs", "trace"],
)
def test_a_table_that_is_too_short_is_refused(network: Network, named: str) -> None:
    with pytest.raises(PlanError, match=named):
        network.check(3)
    network.check(1)
