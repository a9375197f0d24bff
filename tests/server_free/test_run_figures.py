"""What a person is shown of a run that is under way."""

from __future__ import annotations

import io
import logging
import sys
from dataclasses import replace

import pytest

from flwr_gossip.server_free.run_display import line_printer, run_display
from flwr_gossip.server_free.run_figures import Figures
from flwr_gossip.server_free.run_rows import EvaluationRow, RoundRow, SegmentRow, SimulatedRow
from run_samples import sample_config, sample_rows, simulated_rows


def shown(figures: Figures) -> dict[str, str]:
    return dict(figures.lines())


def test_the_figures_are_those_of_the_newest_rows() -> None:
    config = replace(sample_config(), status="running")
    figures = Figures(config)
    assert shown(figures) == {"active": "4 of 8 nodes"}
    figures.take(
        [
            RoundRow(3, 1.5, {"loss": 0.25, "accuracy": 0.5}),
            EvaluationRow(3, 1.6, {"loss": 0.3, "accuracy": 0.75, "accuracy-min": 0.5}),
            SegmentRow(1, 3, 2.0, 7, {7: "gone"}, (), 1_500_000, 2_000, 0.0125),
        ]
    )
    assert shown(figures) == {
        "active": "4 of 8 nodes, 1 not there",
        "train loss": "0.25",
        "accuracy": "mean 0.75, worst 0.5, after round 3",
        "consensus distance": "0.0125",
        "bytes": "1.5 MB between clients, 2 kB through the server",
        "missing": "node 7 (gone)",
        "time": "0:00:02, about 0:00:06 left",
    }
    assert figures.line().startswith("round 3/12, active: 4 of 8 nodes, 1 not there, train loss")


def test_a_metric_that_says_that_it_is_of_training_says_it_once() -> None:
    figures = Figures(sample_config())
    figures.take([RoundRow(3, 1.0, {"train_loss": 0.25})])
    assert shown(figures)["train_loss"] == "0.25"


def test_of_a_loss_the_worst_is_the_largest() -> None:
    figures = Figures(sample_config())
    figures.take([EvaluationRow(3, 1.0, {"loss": 0.3, "loss-min": 0.1, "loss-max": 0.9})])
    assert shown(figures)["loss"] == "mean 0.3, worst 0.9, after round 3"


def test_the_time_left_counts_from_where_a_run_went_on() -> None:
    figures = Figures(replace(sample_config(), resumed_after=6))
    figures.take([RoundRow(9, 30.0, {})])
    assert figures.seconds_left() == 30.0
    figures.take(sample_rows(sample_config()))
    assert figures.seconds_left() is None and figures.share == 1.0


def test_of_many_missing_nodes_a_few_are_named() -> None:
    figures = Figures(sample_config())
    figures.take([SegmentRow(1, 3, 2.0, 3, dict.fromkeys(range(5), "gone"))])
    assert shown(figures)["missing"] == "node 0 (gone), node 1 (gone), node 2 (gone) and 2 more"


def test_a_simulated_run_has_the_same_figures() -> None:
    figures = Figures(replace(sample_config(), runtime="vectorized"))
    figures.take([row for row in simulated_rows(sample_config()) if isinstance(row, SimulatedRow)])
    lines = shown(figures)
    assert lines["accuracy"].startswith("mean 0.8755, worst 0.7755")
    assert lines["bytes"] == "384 kB between clients"
    assert lines["time"].endswith("simulated")


def test_without_a_terminal_nothing_is_drawn_and_a_line_is_printed_on_request(
    capfd: pytest.CaptureFixture[str],
) -> None:
    config, file = sample_config(), io.StringIO()
    with run_display(config) as show:
        show(sample_rows(config))
    assert capfd.readouterr() == ("", "")
    line_printer(config, file)(sample_rows(config))
    assert file.getvalue().count("\n") == 1 and "round 12/12" in file.getvalue()


def test_flowers_log_goes_above_the_display_and_back(capfd: pytest.CaptureFixture[str]) -> None:
    logger, handler = logging.getLogger("flwr"), logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    try:
        with run_display(sample_config(), True) as show:
            logger.warning("a node is late")
            show(sample_rows(sample_config()))
        assert handler.stream is sys.stderr
    finally:
        logger.removeHandler(handler)
    text = capfd.readouterr().err
    assert text.index("a node is late") < text.index("round 12 of 12")
