"""Draws: the published bits, the stated laws, and no dependence on who else is asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.distributions import (
    Choice,
    Distribution,
    Exponential,
    LogNormal,
    Uniform,
    philox,
    uniforms,
)

RARE = 1e-3
"""Seeds are fixed, so a p-value below this is a defect and not bad luck."""
COUNT = 20_000


def drawn(distribution: Distribution, count: int = COUNT) -> np.ndarray:
    return distribution.draw(*uniforms(0, "test", np.arange(count)))


@pytest.mark.parametrize(  # kat_vectors of Random123, philox4x32 with 10 rounds
    ("counter", "key", "expected"),
    [
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4,
            (0xFFFFFFFF, 0xFFFFFFFF),
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_bits_are_the_published_ones(
    counter: list[int], key: tuple[int, int], expected: list[int]
) -> None:
    many = np.repeat(np.array(counter, np.uint64)[:, None], 3, axis=1)
    assert philox(many, key).tolist() == [[word] * 3 for word in expected]


def test_the_numbers_stay_what_they_are() -> None:
    u, v = uniforms(7, "compute_s", [0, 99_999], 3, 1)
    np.testing.assert_array_equal(
        [u, v],
        [[0.4221251900279407, 0.9433539314104472], [0.5450380272035581, 0.4828965155791193]],
    )


def test_both_numbers_are_uniform_and_independent() -> None:
    u, v = uniforms(0, "test", np.arange(COUNT))
    for numbers in (u, v):
        assert stats.kstest(numbers, "uniform").pvalue > RARE
    assert abs(np.corrcoef(u, v)[0, 1]) < 4 / COUNT**0.5
    assert min(u.min(), v.min()) > 0 and max(u.max(), v.max()) < 1


@pytest.mark.parametrize(
    "other",
    [
        lambda nodes: uniforms(1, "test", nodes),
        lambda nodes: uniforms(0, "other", nodes),
        lambda nodes: uniforms(0, "test", nodes, 1),
        lambda nodes: uniforms(0, "test", nodes, 0, 1),
        lambda nodes: uniforms(0, "test", nodes + 1),
    ],
    ids=["seed", "purpose", "second", "third", "first"],
)
def test_another_seed_purpose_or_counter_gives_independent_numbers(
    other: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> None:
    nodes = np.arange(COUNT)
    correlation = np.corrcoef(uniforms(0, "test", nodes)[0], other(nodes)[0])[0, 1]
    assert abs(correlation) < 4 / COUNT**0.5


@given(
    seed=st.integers(0, 2**63 - 1),
    nodes=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5),
    round=st.integers(0, 2**32 - 1),
)
def test_who_else_is_asked_does_not_matter(seed: int, nodes: list[int], round: int) -> None:
    together = uniforms(seed, "test", nodes, round)
    alone = [uniforms(seed, "test", node, round) for node in nodes]
    np.testing.assert_array_equal(together, np.transpose(alone))


@pytest.mark.parametrize(
    ("distribution", "law"),
    [
        (Uniform(2, 5), stats.uniform(2, 3)),
        (Exponential(4.0), stats.expon(scale=4)),
        (LogNormal(3.0, 0.5), stats.lognorm(0.5, scale=3)),
    ],
    ids=["uniform", "exponential", "lognormal"],
)
def test_draws_follow_the_stated_law(distribution: Distribution, law: stats.rv_continuous) -> None:
    assert stats.kstest(drawn(distribution), law.cdf).pvalue > RARE


def test_choices_come_in_proportion_to_their_weights() -> None:
    values = drawn(Choice([1, 5, 9, 7], [1, 2, 1, 0]))
    counts = [int((values == value).sum()) for value in (1, 5, 9, 7)]
    assert counts[3] == 0 and sum(counts) == COUNT
    assert stats.chisquare(counts[:3], [COUNT / 4, COUNT / 2, COUNT / 4]).pvalue > RARE


def test_a_choice_without_weights_is_even_and_keeps_to_its_values_at_the_ends() -> None:
    edges = np.array([2.0**-53, 1 - 2.0**-53])
    assert Choice([1, 2]).draw(edges, edges).tolist() == [1, 2]
    assert Choice([1, 2], [0, 3]).draw(edges, edges).tolist() == [2, 2]
    assert Choice([1, 2], [3, 0]).draw(edges, edges).tolist() == [1, 1]


def test_a_distribution_without_width_is_a_number() -> None:
    assert set(drawn(LogNormal(3.0, 0.0), 50)) == set(drawn(Uniform(3, 3), 50)) == {3.0}


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Uniform(-1, 2), "low is -1"),
        (lambda: Uniform(3, 2), "high is 2, allowed is a finite number from 3"),
        (lambda: Uniform(0, float("inf")), "high is inf"),
        (lambda: Exponential(0), "mean is 0, allowed is a finite number above 0"),
        (lambda: Exponential(float("nan")), "mean is nan"),
        (lambda: LogNormal(0, 1), "median is 0"),
        (lambda: LogNormal(1, -1), "sigma is -1"),
        (lambda: LogNormal("1", 1), "median is '1'"),  # type: ignore[arg-type]
        (lambda: Choice([]), "0 values"),
        (lambda: Choice([1, 2], [1]), "2 values and 1 weights"),
        (lambda: Choice([1, 2], [0, 0]), "the sum of weights is 0"),
        (lambda: Choice([1, 2], [2, -1]), "weights is -1"),
        (lambda: Choice([-1]), "values is -1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Callable[[], object], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        make()
