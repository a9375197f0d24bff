"""The stream of words behind all draws, and what is made of it in bulk."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from flwr_gossip.server_free.draws import one_by_one, shuffled, uniforms, words

RARE = 1e-3
"""Seeds are fixed, so a p-value below this is a defect and not bad luck."""


def test_the_stream_never_changes() -> None:
    # These values pin seed -> graph for all versions; another stream is another PROTOCOL.
    assert words(0, 1, "test")(3).tolist() == [
        13363467141509567908,
        3107288982525793443,
        17401288212962709403,
    ]
    assert words(2**62, 10**9, "test")(1).tolist() == [12119062779418707241]


@given(sizes=st.lists(st.integers(0, 40), max_size=8))
def test_words_do_not_depend_on_how_many_are_asked_for_at_once(sizes: list[int]) -> None:
    stream = words(3, 2, "test")
    parts = [word for size in sizes for word in stream(size).tolist()]
    assert parts == words(3, 2, "test")(sum(sizes)).tolist()
    again = list(itertools.islice(one_by_one(words(3, 2, "test")), len(parts)))
    assert again == parts


def test_streams_of_other_seeds_rounds_and_purposes_differ() -> None:
    streams = [words(0, 1, "a"), words(1, 1, "a"), words(0, 2, "a"), words(0, 1, "b")]
    assert len({word for stream in streams for word in stream(4).tolist()}) == 16


def test_uniforms_are_the_upper_53_bits() -> None:
    drawn = uniforms(words(0, 1, "test"), 4000)
    exact = [Fraction(word >> 11, 2**53) for word in words(0, 1, "test")(4000).tolist()]
    assert [Fraction(value) for value in drawn.tolist()] == exact
    assert kstest(drawn, "uniform").pvalue > RARE


@given(m=st.integers(0, 50), seed=st.integers(0, 100))
def test_shuffled_sorts_by_one_word_each(m: int, seed: int) -> None:
    items = np.arange(100, 100 + m)
    keys = words(seed, 1, "test")(m).tolist()
    expected = [item for _, item in sorted(zip(keys, items.tolist(), strict=True))]
    assert shuffled(words(seed, 1, "test"), items).tolist() == expected


def test_all_orders_are_equally_likely() -> None:
    stream = words(0, 1, "orders")
    counts = Counter(tuple(shuffled(stream, np.arange(4)).tolist()) for _ in range(4800))
    assert len(counts) == 24
    assert chisquare(list(counts.values())).pvalue > RARE


def test_equal_words_keep_the_order() -> None:
    def stream(count: int) -> np.ndarray:
        return np.zeros(count, dtype=np.uint64)

    assert shuffled(stream, np.arange(40)).tolist() == list(range(40))
