"""Availability: the stated on and off times, the same whenever and with whomever one asks."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.availability import OnlineTrace, OnOff

RARE = 1e-3
CHURN = OnOff(mean_on_s=30, mean_off_s=10)


def history(churn: OnOff, node: int, end_s: float, seed: int = 0) -> list[tuple[float, bool]]:
    """Return (time, online) from time 0 on, one entry for each change."""
    entries: list[tuple[float, bool]] = []
    time = 0.0
    while time < end_s:
        online, until = churn.online(np.array([node]), time, seed)
        if not entries or entries[-1][1] != online[0]:
            entries.append((time, bool(online[0])))
        assert until[0] > time
        time = float(until[0])
    return entries


# --- exponential on and off times -------------------------------------------------------------


@pytest.mark.parametrize("time_s", [0.0, 1.0, 40.0, 1e6])
def test_the_stated_share_is_online_at_any_time(time_s: float) -> None:
    online, _ = CHURN.online(np.arange(20_000), time_s, 0)
    assert CHURN.share == 0.75
    assert stats.binomtest(int(online.sum()), 20_000, 0.75).pvalue > RARE


def test_times_on_and_off_are_exponential_with_the_stated_means() -> None:
    lengths: dict[bool, list[float]] = {True: [], False: []}
    for node in range(8):
        # The first and the last are cut off by the ends of the observation.
        entries = history(CHURN, node, 2000.0)
        for (start, online), (end, _) in pairwise(entries[1:]):
            lengths[online].append(end - start)
    for online, mean in ((True, 30.0), (False, 10.0)):
        assert len(lengths[online]) > 300
        assert stats.kstest(lengths[online], stats.expon(scale=mean).cdf).pvalue > RARE


def test_nodes_come_and_go_independently() -> None:
    at = np.array([CHURN.online(np.array([0, 1]), time, 0)[0] for time in range(0, 40_000, 80)])
    table = stats.contingency.crosstab(at[:, 0], at[:, 1]).count
    assert stats.chi2_contingency(table).pvalue > RARE


@settings(max_examples=30, deadline=None)
@given(
    node=st.integers(0, 2**32 - 1),
    time_s=st.floats(0, 1e5),
    part=st.floats(0, 1, exclude_max=True),
    others=st.lists(st.integers(0, 99), max_size=3),
)
def test_nothing_changes_before_the_moment_that_is_told(
    node: int, time_s: float, part: float, others: list[int]
) -> None:
    online, until = CHURN.online(np.array([node]), time_s, 3)
    later = time_s + part * (until[0] - time_s)
    again, _ = CHURN.online(np.array([*others, node]), min(later, np.nextafter(until[0], 0)), 3)
    assert again[-1] == online[0]


def test_a_late_question_costs_no_more_memory_than_an_early_one() -> None:
    peaks = []
    for time_s in (0.0, 1e9):
        tracemalloc.start()
        CHURN.online(np.array([5]), time_s, 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + 20_000


def test_nodes_that_never_leave() -> None:
    online, _ = OnOff(math.inf, 5.0).online(np.arange(1000), 123.0, 0)
    assert online.all()


def test_to_ask_about_nobody() -> None:
    online, until = CHURN.online(np.array([], np.int64), 5.0, 0)
    assert online.shape == until.shape == (0,)


@pytest.mark.parametrize(
    ("on", "off", "named"),
    [
        (0, 1, "mean_on_s is 0"),
        (-2, 1, "mean_on_s is -2"),
        (1, 0, "mean_off_s is 0, allowed are finite seconds above 0; for nodes that never leave"),
        (1, math.inf, "mean_off_s is inf"),
        (math.nan, 1, "mean_on_s is nan"),
    ],
)
def test_impossible_means_are_refused(on: float, off: float, named: str) -> None:
    with pytest.raises(PlanError, match=named):
        OnOff(on, off)


# --- traces -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_s", "online", "until"),
    [
        (0.0, False, 5.0),
        (4.9, False, 5.0),
        (5.0, True, 8.0),
        (7.0, True, 8.0),
        (8.0, False, 20.0),
        (25.0, True, math.inf),
    ],
)
def test_a_trace_is_online_from_included_to_excluded(
    time_s: float, online: bool, until: float
) -> None:
    trace = OnlineTrace({3: [(20, math.inf), (5, 6), (6, 8), (9, 9)]})
    found = trace.online(np.array([3]), time_s)
    assert (found[0].tolist(), found[1].tolist()) == ([online], [until])


def test_a_node_without_intervals_never_comes_and_an_unknown_one_is_an_error() -> None:
    trace = OnlineTrace({0: [], 2: [(0, 1)]})
    assert trace.nodes == (0, 2)
    assert trace.online(np.array([0]), 0.5)[0].tolist() == [False]
    with pytest.raises(PlanError, match=r"node 1 is not in the availability trace; give it"):
        trace.online(np.array([0, 1]), 0.5)


@pytest.mark.parametrize(
    ("intervals", "named"),
    [
        ([(3, 2)], "node 7 is online from 3 s to 2 s"),
        ([(-1, 2)], "from -1 s"),
        ([(0, math.nan)], "to nan s"),
        ([(math.inf, math.inf)], "from inf s"),
        ([(0, 5), (4, 6)], "from 4 s on, but already until 5 s"),
    ],
)
def test_impossible_intervals_are_refused(intervals: list[tuple[float, float]], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        OnlineTrace({7: intervals})
