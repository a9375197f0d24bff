"""Curves: means, extremes and intervals over the rounds that all runs have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.curves import curve_of, histories_of
from flwr_gossip.server_free.simulation.records import Record, write_jsonl


def history(accuracies: list[float], every: int = 2) -> list[Record]:
    """Return a history with an evaluation after every so many rounds, 10 bytes a round."""
    records: list[Record] = []
    for round in range(1, len(accuracies) * every + 1):
        record: Record = {"round": round, "bytes": 10, "seconds": 0.5 * round}
        if round % every == 0:
            value = accuracies[round // every - 1]
            record |= {"acc": value, "acc_min": value - 0.1, "acc_max": value + 0.2}
        records.append(record)
    return records


def test_one_run_is_drawn_as_it_is() -> None:
    curve = curve_of("A", [history([0.3, 0.5])], "bytes", "acc")
    assert curve.x.tolist() == [20.0, 40.0]  # of all rounds so far
    assert curve.y.tolist() == [0.3, 0.5]
    assert curve.nodes is not None
    np.testing.assert_allclose(curve.nodes, [[0.2, 0.4], [0.5, 0.7]])
    assert curve.seeds is None and curve.num_short == 0


def test_several_seeds_have_the_interval_of_students_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.array([[0.3, 0.5], [0.4, 0.5], [0.8, 0.5]])
    curve = curve_of("A", [history(list(one)) for one in values], "seconds", "acc")
    np.testing.assert_allclose(curve.y, values.mean(axis=0))
    assert curve.seeds is not None
    wanted = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem(values[:, 0]))
    np.testing.assert_allclose(np.array(curve.seeds)[:, 0], wanted)
    np.testing.assert_allclose(np.array(curve.seeds)[:, 1], 0.5)
    assert curve.x.tolist() == [1.0, 2.0]


def test_logarithmic_means_are_geometric() -> None:
    runs: list[list[Record]] = [[{"round": 1, "d": 1e-2}], [{"round": 1, "d": 1e-4}]]
    curve = curve_of("A", runs, "round", "d", log=True)
    assert curve.y.tolist() == pytest.approx([1e-3])
    assert curve.seeds is not None and curve.seeds[0][0] > 0
    assert curve.seeds[0][0] * curve.seeds[1][0] == pytest.approx(1e-6)
    nothing: list[Record] = [{"round": 1, "d": 0.0}]
    assert np.isnan(curve_of("A", [nothing], "round", "d", log=True).y).all()


def test_a_run_that_ends_early_is_counted() -> None:
    runs = [history([0.3, 0.4, 0.5]), history([0.3])]
    curve = curve_of("A", runs, "round", "acc")
    assert curve.x.tolist() == [2.0]
    assert (curve.num_runs, curve.num_short) == (2, 1)


def test_runs_must_have_rounds_in_common() -> None:
    odd = [{"round": 1, "acc": 0.5}]
    with pytest.raises(PlanError, match="2 runs of 'A' have no round in common"):
        curve_of("A", [history([0.3]), odd], "round", "acc")


def test_an_unknown_column_lists_what_there_is() -> None:
    runs = [history([0.3])]
    says = "which 'A' does not have; it has acc, acc_max, acc_min, bytes, round, seconds"
    with pytest.raises(PlanError, match=f"y is 'accuracy', {says}"):
        curve_of("A", runs, "round", "accuracy")
    with pytest.raises(PlanError, match=f"x is 'time', {says}"):
        curve_of("A", runs, "time", "acc")


class Result:
    history = history([0.3])


def test_results_histories_paths_and_lists_of_these(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write_jsonl(Result.history, path)
    one = Result.history
    for runs in (Result(), one, path, str(path)):
        assert histories_of("A", runs) == [one]
        assert histories_of("A", [runs]) == [one]
    assert histories_of("A", [Result(), one, str(path)]) == [one, one, one]
    assert histories_of("A", (path, path)) == [one, one]


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        (3, "'A' is int, allowed are results, histories"),
        ([3], "'A' is int, allowed are results"),
        ([], "'A' has a history without rounds"),
        ([[]], "'A' has a history without rounds"),
        ("none.jsonl", "none.jsonl cannot be read"),
    ],
)
def test_what_is_no_run_is_refused(runs: Any, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        histories_of("A", runs)
