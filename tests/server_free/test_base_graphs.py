"""Base-(k+1) graphs: the exact average after a period, at the paper's lengths and degrees."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import log

import numpy as np
import pytest
from numpy.typing import NDArray

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.topologies import Topology, base_graph, simple_base_graph

Make = Callable[[int, int], Topology]

both = pytest.mark.parametrize("make", [base_graph, simple_base_graph])


def phases(topology: Topology) -> list[NDArray[np.float64]]:
    """Return W of each round of the first period."""
    return [topology.matrix(round) for round in range(1, topology.period + 1)]


def is_smooth(n: int, limit: int) -> bool:
    """Return whether all prime factors of n are at most ``limit``."""
    return n == 1 or any(n % f == 0 and is_smooth(n // f, limit) for f in range(2, limit + 1))


@both
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_one_period_is_the_exact_average(make: Make, k: int) -> None:
    for n in range(1, 129):
        topology = make(n, max_degree=k)
        ws = phases(topology)
        product = np.eye(n)
        for w in ws:
            product = w @ product
            assert (w == w.T).all()
        np.testing.assert_allclose(product, 1 / n, rtol=0, atol=1e-12, err_msg=topology.spec)
        degrees = [np.count_nonzero(w, axis=1).max() - 1 for w in ws]
        assert max(degrees) == topology.max_degree <= k
        assert min(degrees) > 0 or n == 1
        assert len(ws) <= 2 * log(n, k + 1) + 2 + 1e-9  # Theorem 1
        assert not any((w == after).all() for w, after in pairwise(ws))


@both
@pytest.mark.parametrize("start", [1, 2, 4, 8])
def test_a_whole_period_is_needed_from_its_beginning(make: Make, start: int) -> None:
    """A finite-time sequence started at a wrong phase need not average (n = 5, k = 1)."""
    topology = make(5, max_degree=1)
    product = np.eye(5)
    for round in range(start, start + topology.period):
        product = topology.matrix(round) @ product
    assert np.allclose(product, 1 / 5) == (start == 1)


@pytest.mark.parametrize(
    ("n", "lengths"),
    [
        # n, and for k = 1, 2, 3, 4: the phases of the base graph and of the simple one
        (1, [(1, 1), (1, 1), (1, 1), (1, 1)]),
        (3, [(3, 3), (1, 1), (1, 1), (1, 1)]),
        (5, [(5, 5), (3, 3), (3, 3), (1, 1)]),
        (6, [(4, 5), (2, 2), (2, 2), (2, 2)]),
        (7, [(5, 5), (4, 4), (3, 3), (3, 3)]),
        (8, [(3, 3), (3, 3), (2, 2), (2, 2)]),
        (10, [(6, 7), (4, 5), (4, 4), (2, 2)]),
        (14, [(6, 7), (5, 5), (4, 4), (4, 4)]),
        (25, [(9, 9), (6, 6), (5, 5), (2, 2)]),
        (32, [(5, 5), (5, 5), (3, 3), (3, 3)]),
        (100, [(11, 13), (8, 9), (6, 7), (3, 3)]),
    ],
)
def test_periods_are_as_long_as_the_paper_has_them(n: int, lengths: list[tuple[int, int]]) -> None:
    found = [(base_graph(n, k).period, simple_base_graph(n, k).period) for k in (1, 2, 3, 4)]
    assert found == lengths


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9, 30])
def test_the_base_graph_is_never_longer_than_the_simple_one(k: int) -> None:
    for n in range(1, 400):
        assert base_graph(n, k).period <= simple_base_graph(n, k).period


def test_five_nodes_of_degree_one() -> None:
    """The four nodes of the first block average, meet the fifth, and average again."""
    topology = base_graph(5, max_degree=1)
    pairs = [
        {(node, other) for node in range(5) for other in topology.readers(node, round)}
        for round in range(1, 6)
    ]
    near, far = {(0, 1), (1, 0), (2, 3), (3, 2)}, {(0, 2), (2, 0), (1, 3), (3, 1)}
    assert pairs == [near, far, {(0, 4), (4, 0), (1, 2), (2, 1)}, near, far]
    assert topology.weights(4, 3) == {0: 4 / 5, 4: 1 / 5}
    assert topology.weights(0, 3) == {0: 1 / 5, 4: 4 / 5}
    assert topology.weights(1, 3) == {1: 1 / 2, 2: 1 / 2}


def test_six_nodes_average_in_threes_and_then_in_pairs() -> None:
    topology = base_graph(6, max_degree=1)
    last = [topology.readers(node, 4) for node in range(6)]
    assert last == [(3,), (4,), (5,), (0,), (1,), (2,)]
    for round in (1, 2, 3):
        assert all(
            other // 3 == node // 3 for node in range(6) for other in topology.readers(node, round)
        )


@pytest.mark.parametrize("n", [2, 4, 8, 64])
def test_powers_of_two_flip_one_bit_after_another(n: int) -> None:
    topology = base_graph(n, max_degree=1)
    assert topology.period == int(log(n, 2) + 0.5)
    for bit in range(topology.period):
        assert [topology.readers(node, 1 + bit) for node in range(n)] == [
            (node ^ (1 << bit),) for node in range(n)
        ]


@both
def test_a_degree_of_all_others_is_the_complete_graph(make: Make) -> None:
    for k in (10, 11, 1000, 10**18):
        topology = make(11, max_degree=k)
        assert (topology.period, topology.max_degree) == (1, 10)
        np.testing.assert_array_equal(topology.matrix(1), np.full((11, 11), 1 / 11))


@both
def test_factors_are_few_and_then_small(make: Make) -> None:
    """12 = 3 * 4 at k = 5, not 2 * 6: as many phases, fewer models."""
    topology = make(12, max_degree=5)
    assert [topology.degree(0, round) for round in (1, 2)] == [2, 3]
    assert topology.max_degree == 3


@both
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_spectrum_is_known_where_one_fourier_basis_fits_all_phases(make: Make, k: int) -> None:
    for n in range(1, 65):
        assert (make(n, k).modes(1) is not None) == is_smooth(n, k + 1)


@both
@pytest.mark.parametrize("n", [99_991, 100_000])
def test_a_hundred_thousand_nodes_agree_with_their_readers(make: Make, n: int) -> None:
    topology = make(n, max_degree=3)
    assert topology.period <= 2 * log(n, 4) + 2
    for node in (0, 1, 31_111, n - 1):
        for round in range(1, topology.period + 1):
            row = topology.weights(node, round)
            assert abs(sum(row.values()) - 1) < 1e-12
            assert row.keys() - {node} == set(topology.readers(node, round))
            for other in topology.readers(node, round):
                assert topology.weights(other, round)[node] == row[other]


@both
@pytest.mark.parametrize("k", [0, -1, 1.5, "1"])
def test_a_degree_below_one_is_refused(make: Make, k: object) -> None:
    says = rf"base-graph:{k}: max_degree is {k!r}, allowed is a whole number from 1\."
    with pytest.raises(PlanError, match=says):
        make(8, max_degree=k)  # type: ignore[arg-type]
