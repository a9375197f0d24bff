"""The files of a report: the page and its pictures, and the command that makes them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import MetricRecord
from flwr.serverapp.strategy import Result
from matplotlib.image import imread
from typer.testing import CliRunner

from flwr_gossip.clients.cli import app
from flwr_gossip.server_free.report import page, read_all
from report_pages import figure, page_of, parsed, rows_of, summary_of, write_fedavg, write_hostile
from run_samples import sample_config, write_sample


def call(*arguments: object) -> tuple[int, str]:
    """Run ``flwr-gossip report`` and return its exit code and all that it printed."""
    result = CliRunner().invoke(app, ["report", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_report_of_a_run_lies_in_its_folder(tmp_path: Path) -> None:
    run = write_sample(tmp_path / "run")
    code, said = call(run)
    path = run / "report.html"
    assert (code, said) == (0, f"report: {path}\n")
    assert parsed(path.read_text()).all("h1")[0].text.startswith("Report: Teleportation")
    assert path.stat().st_mode & 0o444 == 0o444


def test_several_runs_make_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = write_sample(tmp_path / "run"), write_fedavg(tmp_path / "fedavg.jsonl", 0.9)
    monkeypatch.chdir(tmp_path)
    assert call(*runs) == (0, f"report: {tmp_path / 'report.html'}\n")
    assert call(*runs, "--out", "both.html") == (0, f"report: {tmp_path / 'both.html'}\n")
    assert (tmp_path / "both.html").read_bytes() == (tmp_path / "report.html").read_bytes()


def test_pictures_come_as_files_with_the_names_of_their_anchors(tmp_path: Path) -> None:
    run = write_hostile(tmp_path / "run")
    code, said = call(run, "--png", tmp_path / "png")
    files = sorted(path.stem for path in (tmp_path / "png").iterdir())
    figures = page_of(run).all("figure")
    assert code == 0 and said.splitlines()[-1] == f"{len(files)} pictures: {tmp_path / 'png'}"
    assert files == sorted(shown.attributes["id"] or "" for shown in figures)
    assert all(imread(tmp_path / "png" / f"{name}.png").std() > 0.03 for name in files)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("nothing", "is no run's folder"),
        ("nothing.jsonl", "cannot be read: No such file"),
    ],
)
def test_what_is_no_run_is_an_error_of_one_line(tmp_path: Path, run: str, said: str) -> None:
    code, output = call(tmp_path / run)
    assert code == 2 and output.startswith("flwr-gossip report: error: ")
    assert said in output and output.count("\n") == 1


def test_a_page_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    run = write_sample(tmp_path / "run")
    code, output = call(run, "--out", tmp_path / "no" / "page.html")
    assert code == 2 and "page.html cannot be written: No such file or directory." in output


def test_a_run_that_is_under_way_has_a_report(tmp_path: Path) -> None:
    run = write_sample(tmp_path / "run")
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:7]) + lines[7][:20])
    config = run / "config.json"
    config.write_text(config.read_text().replace('"finished"', '"running"'))
    lead = page_of(run).all("p")[0].words()
    assert "not finished, round 4 of 12" in lead and "it still runs, or it was killed" in lead


def test_a_large_run_makes_a_small_page_that_says_what_it_left_out(tmp_path: Path) -> None:
    config = sample_config(nodes=1000, rounds=170, active=50)
    readings = read_all([write_sample(tmp_path / "run", config)])
    began = time.process_time()
    html = page(readings)
    print(f"{len(html) / 1e6:.2f} MB in {time.process_time() - began:.2f} CPU s")
    assert len(html) < 1_500_000
    active = figure(parsed(html), "run1-active")
    assert "nodes have a row: a sample, with those that were missing." in active.words()
    assert rows_of(active.all("table")[0])[-1][0] == "node 999"  # the one that was missing
    assert "missing: a model did not arrive" in active.words()


def test_the_documented_lines_write_a_fedavg_run(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "report.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    found: dict[str, Callable[..., None]] = {}
    exec(code, found)
    trained = {round: MetricRecord({"train-loss": 1.0}) for round in range(1, 7)}
    result = Result(
        train_metrics_clientapp=trained,
        evaluate_metrics_clientapp={6: MetricRecord({"accuracy": 0.75})},
        evaluate_metrics_serverapp={3: MetricRecord({"accuracy": 0.7})},
    )
    found["write_fedavg"](result, tmp_path / "fedavg.jsonl", 8, 4, 1000, 2.5)
    summary = summary_of(page_of(tmp_path / "fedavg.jsonl"))
    assert summary["Accuracy, mean over the nodes"] == ["0.75"]
    assert summary["Accuracy, mean model"] == ["0.7"]
    assert summary["Local updates"] == ["24"] and summary["Time"] == ["15 s"]
    assert summary["Sent through the server"] == ["48 kB"]
