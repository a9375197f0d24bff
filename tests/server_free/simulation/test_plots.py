"""Learning curves: what is drawn where, with what shaded, and into which file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.plots import plot_histories, plot_overview
from flwr_gossip.server_free.simulation.records import Record, write_jsonl


def history(level: float, clocked: bool = True) -> list[Record]:
    """Return five rounds that approach an accuracy, evaluated after rounds 1, 3 and 5."""
    records: list[Record] = []
    for round in range(1, 6):
        record: Record = {"round": round, "epoch": 0.2 * round, "bytes": 100, "train_loss": 1.0}
        if clocked:
            record["seconds"] = 3.0 * round
        if round % 2:
            value = level * round / 5
            record |= {"test_accuracy": value, "test_accuracy_min": value / 2}
            record |= {"test_accuracy_max": 1.1 * value, "consensus_distance": 10.0**-round}
        records.append(record)
    return records


def lines(axes: Axes) -> dict[Any, Any]:
    return {line.get_label(): np.array(line.get_data()) for line in axes.lines}


def bands(axes: Axes) -> list[Any]:
    return [one.get_datalim(axes.transData) for one in axes.collections]


def test_one_run_with_its_worst_and_best_node() -> None:
    (axes,) = plot_histories({"Gossip": history(0.5)}, x="seconds").axes
    np.testing.assert_allclose(lines(axes)["Gossip"], [[3, 9, 15], [0.1, 0.3, 0.5]])
    (band,) = bands(axes)
    assert (band.ymin, band.ymax) == pytest.approx((0.05, 0.55))
    assert axes.get_legend().get_title().get_text() == "shaded: worst to best node"
    assert axes.get_xlabel() == "simulated seconds" and axes.get_ylabel() == "test accuracy"
    assert axes.get_yscale() == "linear"


def test_several_seeds_with_the_interval_of_their_mean(tmp_path: Path) -> None:
    write_jsonl(history(0.7), tmp_path / "b.jsonl")
    (axes,) = plot_histories({"A": [history(0.5), tmp_path / "b.jsonl"], "B": history(0.9)}).axes
    np.testing.assert_allclose(lines(axes)["A"], [[1, 3, 5], [0.12, 0.36, 0.6]])
    ours, theirs = bands(axes)
    # t(1 degree of freedom) = 12.7062; the standard error of (0.5, 0.7) is 0.1.
    assert ours.ymax == pytest.approx(0.6 + 12.7062 * 0.1, abs=1e-4)
    assert theirs.ymax == pytest.approx(0.99)
    title = axes.get_legend().get_title().get_text()
    assert title == "shaded: 95 % interval of the seeds' mean; worst to best node"


@pytest.mark.parametrize(("band", "most"), [("nodes", 0.66), ("seeds", 1.87062), ("none", None)])
def test_the_band_can_be_chosen(band: Any, most: float | None) -> None:
    (axes,) = plot_histories({"A": [history(0.5), history(0.7)]}, band=band).axes
    assert [one.ymax for one in bands(axes)] == ([] if most is None else pytest.approx([most]))


def test_the_consensus_distance_is_logarithmic() -> None:
    runs = {"A": history(0.5)}
    assert plot_histories(runs, y="consensus_distance").axes[0].get_yscale() == "log"
    assert plot_histories(runs, y="consensus_distance", log=False).axes[0].get_yscale() == "linear"
    assert plot_histories(runs, y="train_loss", log=True).axes[0].get_yscale() == "log"


def test_a_run_that_ends_early_is_said() -> None:
    (axes,) = plot_histories({"A": [history(0.5), history(0.7)[:3]]}).axes
    assert list(lines(axes)) == ["A (1 of 2 runs end early)"]


def test_an_overview_has_accuracy_against_all_budgets() -> None:
    runs = {"alone": history(0.3, clocked=False), "A": history(0.5), "B": [history(0.6)] * 2}
    panels = plot_overview(runs, title="mine").axes
    assert [axes.get_xlabel() for axes in panels] == [
        "round",
        "epochs (of all nodes' data)",
        "bytes sent by all nodes",
        "simulated seconds",
    ]
    assert all(list(lines(axes)) == ["alone", "A", "B"] for axes in panels[:3])
    assert list(lines(panels[3])) == ["A", "B"]
    np.testing.assert_allclose(lines(panels[2])["A"][0], [100, 300, 500])
    colours = [{line.get_label(): line.get_color() for line in axes.lines} for axes in panels]
    assert all(colours[3][label] == colours[0][label] for label in ("A", "B"))


def test_without_simulated_time_the_overview_shows_the_consensus_distance() -> None:
    panels = plot_overview({"A": history(0.5, clocked=False)}).axes
    assert panels[3].get_ylabel() == "consensus distance" and panels[3].get_xlabel() == "round"


def test_pictures_come_to_the_disk(tmp_path: Path) -> None:
    figure = plot_overview({"A": history(0.5)}, path=tmp_path / "all.png")
    plot_histories({"A": history(0.5)}, path=str(tmp_path / "one.svg"))
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "one.svg").read_bytes().startswith(b"<?xml")
    assert any(isinstance(one, PolyCollection) for one in figure.axes[0].collections)


@pytest.mark.parametrize(
    ("runs", "options", "says"),
    [
        ({}, {}, "runs is dict without entries, allowed is label -> run"),
        ([history(0.5)], {}, "runs is list, allowed is label -> run"),
        ({"A": history(0.5)}, {"band": "std"}, "band is 'std', allowed are 'auto', 'nodes'"),
        ({"A": history(0.5)}, {"path": "/none/a.png"}, "there is no folder /none"),
        ({"A": history(0.5)}, {"y": "loss"}, "y is 'loss', which 'A' does not have; it has bytes"),
        ({"A": 3}, {}, "'A' is int, allowed are results"),
    ],
)
def test_what_cannot_be_drawn(runs: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        plot_histories(runs, **options)


def test_neither_torch_nor_pyplot_is_needed() -> None:
    code = """
import sys
from flwr_gossip.server_free.simulation import plot_histories
assert "matplotlib" not in sys.modules
plot_histories({"A": [{"round": 1, "test_accuracy": 0.5}]})
assert "matplotlib.pyplot" not in sys.modules and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
