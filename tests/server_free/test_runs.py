"""Reading the folder of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from flwr_gossip.server_free.errors import RunError
from flwr_gossip.server_free.orders import Loss
from flwr_gossip.server_free.run_rows import (
    EndRow,
    EvaluationRow,
    LeftOutRow,
    LossRow,
    RoundRow,
    Row,
    SegmentRow,
    SimulatedRow,
    line_of,
    parsed,
)
from flwr_gossip.server_free.runs import CONFIG, METRICS, Tail, read_run
from run_samples import GONE_FROM, sample_config, write_sample, write_simulated

ROWS: list[Row] = [
    RoundRow(3, 1.5, {"loss": 0.25, "classes": [1.0, 2.0]}),
    SegmentRow(1, 3, 1.6, 7, {7: "gone"}, (5,), 10, 20, None, {0: (3, 4)}, {0: 0.5}),
    EvaluationRow(3, 1.7, {"accuracy": 0.5}, {0: {"accuracy": 0.5, "num-examples": 4}}),
    LossRow(Loss(2, 0, 7, 1, 3, "silent", "nothing for 10 s", "rest of the row")),
    LeftOutRow(9),
    SimulatedRow({"round": 4, "train_loss": 1.0}),
    EndRow(3, 2.0, "failed", "NoNodesLeft: no node is left"),
]


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    config = sample_config()
    run = read_run(write_sample(tmp_path / "run", config))
    assert run.config == config
    assert [row.round for row in run.rounds] == list(range(1, 13))
    assert run.rounds[0].train["loss"] == pytest.approx(2.3 * math.exp(-1 / 6))
    assert [(row.first, row.last) for row in run.segments] == [(1, 3), (4, 6), (7, 9), (10, 12)]
    assert run.segments[2].missing == {7: "nobody answers at 127.0.0.1:9"}
    assert set(run.evaluations[0].nodes) == set(range(8)) != set(run.evaluations[-1].nodes)
    assert run.losses[0].holder == 7
    assert run.last_round == 12 and run.end == EndRow(12, 7.0, "finished")
    assert run.config.plan.live_in(GONE_FROM) == tuple(range(7))
    assert run.model is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_each_row_comes_back_as_it_was_written(row: Row) -> None:
    assert parsed(line_of(row).encode(), "here") == row


def test_what_is_not_finite_is_null_and_comes_back_as_nan() -> None:
    line = line_of(RoundRow(1, 0.5, {"loss": math.inf, "all": [math.nan, 1.0]}))
    assert json.loads(line)["train"] == {"loss": None, "all": [None, 1.0]}
    row = parsed(line.encode(), "here")
    assert isinstance(row, RoundRow) and math.isnan(row.train["loss"])  # type: ignore[arg-type]


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "run")
    content = (folder / METRICS).read_bytes()
    for cut in (1, 5, len(content.splitlines()[-1])):
        (folder / METRICS).write_bytes(content[:-cut])
        run = read_run(folder)
        assert run.end is None and run.last_round == 12


def test_a_tail_gives_each_row_once_and_a_half_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    tail = Tail(path)
    assert tail.read() == []
    lines = [line_of(row) for row in ROWS]
    path.write_text(lines[0] + lines[1][:10])
    assert tail.read() == ROWS[:1] and tail.read() == []
    path.write_text("".join(lines))
    assert tail.read() == ROWS[1:] and tail.read() == []


def test_a_run_that_has_not_begun_its_first_round_is_read(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "run", rows=())
    (folder / METRICS).unlink()
    run = read_run(folder)
    assert run.last_round == 0 and run.end is None and run.seconds == 0.0


def test_a_vectorized_run_is_read(tmp_path: Path) -> None:
    run = read_run(write_simulated(tmp_path / "run"))
    assert len(run.simulated) == run.last_round == 12
    assert run.simulated[2]["test_accuracy_min"] < run.simulated[2]["test_accuracy"]


def test_kinds_and_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "run", rows=())
    lines = (
        '{"kind":"weather","sun":1}\n{"kind":"end","round":1,"seconds":2,"status":"failed","x":1}'
    )
    (folder / METRICS).write_text(lines + "\n")
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"new": 1}))
    assert read_run(folder).end == EndRow(1, 2.0, "failed")


def broken(change: Callable[[dict[str, object]], dict[str, object]]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(change(content)))

    return write


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / CONFIG).unlink(), "is no run's folder: it has no config.json"),
        (lambda folder: (folder / CONFIG).write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "config.json is a list"),
        (broken(lambda c: c | {"format": 2}), "the format 2, this version reads 1"),
        (broken(lambda c: c | {"num_nodes": "8"}), "num_nodes is '8'"),
        (broken(lambda c: c | {"status": "well"}), "status is 'well'"),
        (lambda folder: (folder / METRICS).write_text("\n"), "metrics.jsonl line 1 is ''"),
        (lambda folder: (folder / METRICS).write_text("[1]\n"), r"line 1 is '\[1\]'"),
        (
            lambda folder: (folder / METRICS).write_text('{"kind":"round","round":1}\n'),
            "line 1, a 'round', is damaged: KeyError",
        ),
        (
            lambda folder: (folder / METRICS).write_text(
                '{"kind":"round","round":1,"seconds":1,"train":{"loss":"x"}}\n'
            ),
            "is damaged: TypeError: 'x' is no number",
        ),
    ],
)
def test_what_is_no_run_is_one_clear_error(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    folder = write_sample(tmp_path / "run")
    damage(folder)
    with pytest.raises(RunError, match=said):
        read_run(folder)


def test_a_file_in_place_of_a_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is no run's folder"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("given", ["runs", "."])
def test_who_gives_the_folder_of_all_runs_is_shown_the_newest(tmp_path: Path, given: str) -> None:
    for name in ("2026-01-31-120000-gossip", "2026-02-01-120000-gossip"):
        write_sample(tmp_path / "runs" / name)
    says = r"In \S*/runs lie 2 runs: give a run itself, such as \S*/2026-02-01-120000-gossip\.$"
    with pytest.raises(RunError, match=says):
        read_run(tmp_path / given)
