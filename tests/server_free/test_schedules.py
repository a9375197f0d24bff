"""Who is active when: distinct, uniform, independent, cheap, and the same for ever."""

from __future__ import annotations

import hashlib
import itertools
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, hypergeom

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.schedules import AllActive, Schedule, Teleport, sample

RARE = 1e-3
"""Seeds are fixed, so a p-value below this is a defect and not bad luck."""

seeds = st.integers(0, 2**63 - 1)
rounds = st.integers(1, 10**6)


def p_uniform(counts: Counter, outcomes: Sequence) -> float:
    """Return the chi-square p-value that all ``outcomes`` are equally likely."""
    assert counts.keys() <= set(outcomes)
    return float(chisquare([counts[one] for one in outcomes]).pvalue)


# --- the plain slow version: a full list is shuffled ------------------------------------------


def words(seed: int, round: int) -> Iterator[int]:
    digest = hashlib.sha256(f"flwr-gossip teleport {seed}".encode()).digest()
    key = [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")]
    bits = np.random.Philox(key=np.array(key, np.uint64), counter=np.array([0, 0, 0, round]))
    while True:
        yield int(bits.random_raw())


def slow_sample(seed: int, round: int, population: int, count: int) -> list[int]:
    source = words(seed, round)
    items = list(range(population))
    for place in range(count):
        bound = population - place
        product = next(source) * bound
        while product % 2**64 < 2**64 % bound:
            product = next(source) * bound
        other = place + product // 2**64
        items[place], items[other] = items[other], items[place]
    return items[:count]


@st.composite
def draws(draw: st.DrawFn) -> tuple[int, int, int, int]:
    population = draw(st.integers(1, 50))
    return draw(seeds), draw(rounds), population, draw(st.integers(0, population))


@given(draw=draws())
def test_the_sampler_is_a_shuffle_cut_short(draw: tuple[int, int, int, int]) -> None:
    assert sample(*draw, purpose="teleport") == slow_sample(*draw)


@pytest.mark.parametrize(
    ("seed", "round", "population", "count", "drawn"),
    [
        (0, 1, 10, 3, [8, 0, 2]),
        (0, 2, 10, 3, [3, 5, 7]),
        (1, 1, 10, 3, [9, 4, 6]),
        (0, 1, 1, 1, [0]),
        (0, 1, 8, 8, [7, 6, 2, 5, 3, 1, 4, 0]),
        (42, 1000, 1000, 8, [4, 906, 950, 391, 256, 191, 117, 31]),
        (2**70, 7, 10**12, 4, [663679595925, 273522768833, 613573527011, 577672009193]),
    ],
)
def test_the_stream_never_changes(
    seed: int, round: int, population: int, count: int, drawn: list[int]
) -> None:
    # These values pin seed -> schedule for all versions; another stream is another PROTOCOL.
    assert sample(seed, round, population, count, purpose="teleport") == drawn
    if seed < 2**63:
        assert Teleport(population, count, seed=seed).active(round) == tuple(drawn)


# --- Teleport ---------------------------------------------------------------------------------


@given(seed=seeds, round=rounds, n=st.integers(1, 60), data=st.data())
def test_active_nodes_are_distinct_and_in_range(
    seed: int, round: int, n: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n))
    schedule = Teleport(n, k, seed=seed)
    active = schedule.active(round)
    assert (schedule.num_nodes, schedule.num_slots) == (n, k)
    assert len(active) == len(set(active)) == k
    assert set(active) <= set(range(n))
    assert schedule.active(round) == active == Teleport(n, k, seed=seed).active(round)


@given(seed=seeds, round=rounds, n=st.integers(1, 60))
def test_with_k_equal_n_all_nodes_are_active(seed: int, round: int, n: int) -> None:
    assert sorted(Teleport(n, n, seed=seed).active(round)) == list(range(n))


def test_every_slot_sees_every_node_equally_often() -> None:
    n, k = 10, 3
    sets = [Teleport(n, k, seed=5).active(round) for round in range(1, 4001)]
    for slot in range(k):
        assert p_uniform(Counter(active[slot] for active in sets), range(n)) > RARE
    assert p_uniform(Counter(frozenset(a) for a in sets), subsets(n, k)) > RARE


def subsets(n: int, k: int) -> list[frozenset[int]]:
    return [frozenset(nodes) for nodes in itertools.combinations(range(n), k)]


@pytest.mark.parametrize(("n", "k"), [(4, 3), (4, 4), (5, 2), (7, 1)])
def test_all_slot_orders_are_equally_likely(n: int, k: int) -> None:
    orders = list(itertools.permutations(range(n), k))
    schedule = Teleport(n, k, seed=11)
    counts = Counter(schedule.active(round) for round in range(1, 3001))
    assert p_uniform(counts, orders) > RARE


def test_seeds_are_as_good_as_rounds() -> None:
    orders = list(itertools.permutations(range(4), 2))
    counts = Counter(Teleport(4, 2, seed=seed).active(1) for seed in range(3000))
    assert p_uniform(counts, orders) > RARE


def test_large_bounds_are_drawn_without_bias() -> None:
    # 2^64 words do not divide evenly by 3 * 2^62: without rejection a third is twice as likely.
    bound = 3 * 2**62
    counts = Counter(
        sample(3, round, bound, 1, purpose="teleport")[0] % 3 for round in range(1, 2001)
    )
    assert p_uniform(counts, range(3)) > RARE


@pytest.mark.parametrize("lag", [1, 2, 16])
def test_rounds_are_independent(lag: int) -> None:
    n, k = 6, 2
    sets = [Teleport(n, k, seed=3).active(round) for round in range(1, 3601)]
    pairs = list(zip(sets, sets[lag:], strict=False))
    first_slots = Counter((before[0], after[0]) for before, after in pairs)
    assert p_uniform(first_slots, list(itertools.product(range(n), repeat=2))) > RARE
    shared = Counter(len(set(before) & set(after)) for before, after in pairs)
    expected = hypergeom(n, k, k).pmf(range(k + 1)) * len(pairs)
    assert chisquare([shared[size] for size in range(k + 1)], expected).pvalue > RARE


def test_neighbouring_seeds_are_independent() -> None:
    n = 6
    pairs = Counter(
        (Teleport(n, 1, seed=0).active(t)[0], Teleport(n, 1, seed=1).active(t)[0])
        for t in range(1, 2001)
    )
    assert p_uniform(pairs, list(itertools.product(range(n), repeat=2))) > RARE


def test_an_active_set_costs_no_more_than_its_size() -> None:
    tracemalloc.start()
    try:
        active = Teleport(10**9, 8, seed=1).active(123)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(set(active)) == 8
    assert peak < 100_000  # bytes


@given(seed=seeds, round=rounds, n=st.integers(1, 30), data=st.data())
def test_only_live_nodes_are_drawn(seed: int, round: int, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    live = sorted(data.draw(st.sets(st.integers(0, n - 1))))
    schedule = Teleport(n, k, seed=seed)
    active = schedule.active(round, live)
    drawn = active[: min(k, len(live))]
    assert len(active) == k
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(live)
    assert active[len(drawn) :] == (-1,) * (k - len(drawn))
    assert schedule.active(round, range(n)) == schedule.active(round)


def test_live_nodes_are_drawn_equally_often() -> None:
    live = [1, 4, 5, 9]
    schedule = Teleport(10, 2, seed=2)
    counts = Counter(schedule.active(round, live) for round in range(1, 2401))
    assert p_uniform(counts, list(itertools.permutations(live, 2))) > RARE


# --- AllActive --------------------------------------------------------------------------------


@given(n=st.integers(1, 60), round=rounds, data=st.data())
def test_all_active_is_the_same_in_every_round(n: int, round: int, data: st.DataObject) -> None:
    schedule = AllActive(n)
    assert (schedule.num_nodes, schedule.num_slots) == (n, n)
    assert schedule.active(round) == tuple(range(n)) == schedule.active(round, range(n))
    live = sorted(data.draw(st.sets(st.integers(0, n - 1))))
    masked = schedule.active(round, live)
    assert [node for node in masked if node != -1] == live
    assert all(node in (slot, -1) for slot, node in enumerate(masked))


# --- what is refused, and equality ------------------------------------------------------------


@pytest.mark.parametrize("k", [0, -1, 11])
def test_k_must_be_within_n(k: int) -> None:
    with pytest.raises(PlanError, match=rf"num_active is {k}, allowed is 1\.\.10"):
        Teleport(10, k)


@pytest.mark.parametrize("n", [0, -3])
def test_there_must_be_a_node(n: int) -> None:
    for make in (AllActive, lambda n: Teleport(n, 1)):
        with pytest.raises(PlanError, match=f"num_nodes is {n}, allowed is a whole number from 1"):
            make(n)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "1", None])
def test_seeds_fit_into_a_message(seed: Any) -> None:
    with pytest.raises(PlanError, match=rf"seed is {seed!r}, allowed is a whole number from 0 to"):
        Teleport(10, 3, seed=seed)


def test_draws_for_different_purposes_differ() -> None:
    draws = {tuple(sample(1, 1, 1000, 8, purpose=p)) for p in ("teleport", "evaluation", "other")}
    assert len(draws) == 3


@pytest.mark.parametrize("schedule", [AllActive(4), Teleport(4, 2)])
@pytest.mark.parametrize("round", [0, -1])
def test_rounds_count_from_one(schedule: Schedule, round: int) -> None:
    with pytest.raises(PlanError, match=f"round is {round}; rounds count from 1"):
        schedule.active(round)
    with pytest.raises(ValueError, match="rounds count from 1"):
        schedule.active(round, [0, 1])


def test_equal_schedules_have_equal_hashes() -> None:
    assert len({Teleport(9, 3, seed=1), Teleport(9, 3, seed=1), Teleport(9, 3, seed=2)}) == 2
    assert Teleport(9, 9) != AllActive(9)
