"""Where segments end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.strategies.pacing import Pacer


def ends(pacer: Pacer, seconds_per_round: float | None = None) -> list[int]:
    """Return the last rounds of all segments of a run."""
    found, first = [], 1
    while first <= pacer.num_rounds:
        last = pacer.last_round(first)
        assert last >= first
        if seconds_per_round is not None:
            pacer.measured(last - first + 1, seconds_per_round * (last - first + 1))
        found.append(last)
        first = last + 1
    return found


def test_a_fixed_length() -> None:
    assert ends(Pacer(7, None, 3, 3600.0)) == [3, 6, 7]


def test_stops_end_segments() -> None:
    assert ends(Pacer(10, 4, 3, 3600.0)) == [3, 4, 7, 8, 10]
    assert ends(Pacer(4, 2, 1, 3600.0)) == [1, 2, 3, 4]
    assert ends(Pacer(5, 100, None, 3600.0)) == [2, 4, 5]


def test_the_first_segment_is_short_and_later_ones_last_about_a_minute() -> None:
    assert ends(Pacer(100, None, None, 3600.0), seconds_per_round=2.0) == [2, 32, 62, 92, 100]


def test_no_segment_lasts_longer_than_a_quarter_of_the_timeout() -> None:
    assert ends(Pacer(30, None, None, 80.0), seconds_per_round=2.0) == [2, 12, 22, 30]


def test_rounds_longer_than_the_budget_go_one_by_one() -> None:
    assert ends(Pacer(8, None, None, 3600.0), seconds_per_round=500.0) == [2, 3, 4, 5, 6, 7, 8]


def test_rounds_that_take_no_time_are_no_division_by_zero() -> None:
    assert ends(Pacer(1000, None, None, 3600.0), seconds_per_round=0.0) == [2, 1000]


def test_an_empty_measurement_changes_nothing() -> None:
    pacer = Pacer(100, None, None, 3600.0)
    pacer.measured(0, 1.0)
    assert pacer.last_round(1) == 2


@given(
    num_rounds=st.integers(1, 300),
    stops=st.none() | st.integers(1, 350),
    fixed=st.none() | st.integers(1, 350),
    seconds=st.floats(0, 1e4),
    timeout_s=st.floats(1e-3, 1e6),
)
def test_every_round_is_in_one_segment_and_no_stop_inside_one(
    num_rounds: int, stops: int | None, fixed: int | None, seconds: float, timeout_s: float
) -> None:
    found = ends(Pacer(num_rounds, stops, fixed, timeout_s), seconds)
    assert found[-1] == num_rounds
    assert found == sorted(set(found))
    if stops is not None:
        assert set(found) >= set(range(stops, num_rounds + 1, stops))


@pytest.mark.parametrize("num_rounds", [1, 2, 6])
def test_short_runs_are_one_or_two_segments(num_rounds: int) -> None:
    assert len(ends(Pacer(num_rounds, None, None, 3600.0), 0.01)) == 1 + (num_rounds > 2)
