"""The folder that a run of a strategy leaves behind."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord
from safetensors import safe_open

from apps import Calls, play, quadratic_app, to_vector
from flwr_gossip.server_free import run_writer
from flwr_gossip.server_free.errors import NoNodesLeft, PlanError, RunError
from flwr_gossip.server_free.run_writer import RunFolder, is_held
from flwr_gossip.server_free.runs import CONFIG, METRICS, read_run
from flwr_gossip.strategies import Gossip, Teleportation, TeleportationSearch

NODES = 6


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder under which runs that were not told otherwise are kept."""
    monkeypatch.setenv("FLWR_GOSSIP_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def first_of(round: int, arrays: ArrayRecord) -> MetricRecord:
    return MetricRecord({"first": float(to_vector(arrays)[0])})


def test_a_run_leaves_all_its_numbers_and_the_model(runs: Path) -> None:
    calls = Calls()
    strategy = Teleportation(4, evaluate_every=5, seed=3)
    result = play(strategy, quadratic_app(calls), NODES, 12, evaluate_fn=first_of)
    (folder,) = runs.iterdir()
    run = read_run(folder)
    assert folder.name.endswith("-teleportation") and not is_held(folder)
    assert run.config.status == "finished" and run.end is not None and run.end.round == 12
    assert (run.config.runtime, run.config.num_nodes, run.config.num_slots) == ("in-process", 6, 4)
    assert run.config.strategy["settings"]["seed"] == 3
    assert run.config.plan == result.plan
    assert {row.round: dict(row.train) for row in run.rounds} == {
        t: dict(metrics) for t, metrics in result.train_metrics_clientapp.items()
    }
    assert [row.round for row in run.evaluations] == [5, 10, 12]
    assert dict(run.evaluations[0].metrics) == dict(result.evaluate_metrics_clientapp[5])
    own = {
        (node, row.round): row.nodes[node]["first"] for row in run.evaluations for node in row.nodes
    }
    assert own == {key: z[0] for key, z in calls.evaluated.items()}
    assert run.evaluations[0].nodes[2]["num-examples"] == 3
    assert [row.round for row in run.server_evaluations] == [0, 5, 10, 12]
    distances = {row.last: row.consensus_distance for row in run.segments}
    assert {t: d for t, d in distances.items() if d is not None} == result.consensus_distance
    assert [row.first for row in run.segments] == [1, *(row.last + 1 for row in run.segments[:-1])]
    fetched = sum(pair[0] for row in run.segments for pair in row.node_bytes.values())
    total = run.segments[-1].bytes_between_clients
    assert fetched == total == result.traffic.bytes_between_clients > 0
    assert run.segments[-1].bytes_through_server == result.traffic.bytes_through_server
    seconds = [row.seconds for row in run.rounds]
    assert seconds == sorted(seconds) and 0 < seconds[-1] <= run.end.seconds
    with safe_open(str(run.model), framework="numpy") as file:
        assert file.metadata() == {"round": "12", "slots": "0,1,2,3"}
        for name, array in result.arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array.numpy())


def test_nodes_that_fail_are_named_and_come_back(runs: Path) -> None:
    def fail(node: int, round: int) -> None:
        if node == 2 and round == 3:
            raise ValueError("no more data")

    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=1.0)
    result = play(strategy, quadratic_app(before_train=fail), NODES, 200)
    run = read_run(next(runs.iterdir()))
    (reason,) = [row.missing[2] for row in run.segments if 2 in row.missing]
    assert "no more data" in reason
    assert [node for row in run.segments for node in row.returned] == [2]
    assert run.config.plan.live == result.plan.live  # type: ignore[union-attr]
    assert list(run.losses) == result.losses


def test_a_run_that_fails_says_why(runs: Path) -> None:
    def fail(node: int, round: int) -> None:
        if round == 3:
            raise ValueError("no more data")

    with pytest.raises(NoNodesLeft):
        play(Gossip("ring", fraction_evaluate=0.0), quadratic_app(before_train=fail), NODES, 9)
    run = read_run(next(runs.iterdir()))
    assert run.config.status == "failed" and "no more data" in str(run.config.error)
    assert run.end is not None and run.end.status == "failed"


def test_a_run_that_never_began_leaves_nothing(runs: Path) -> None:
    with pytest.raises(PlanError):
        play(Teleportation(NODES + 1), quadratic_app(), NODES, 3)
    assert list(runs.iterdir()) == []


def test_no_run_is_written_over(tmp_path: Path) -> None:
    for _ in range(2):
        play(Gossip("ring", folder=tmp_path / "run"), quadratic_app(), 2, 1)
    assert (
        read_run(tmp_path / "run").config.training != read_run(tmp_path / "run-2").config.training
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    play(Gossip("ring", folder=str(tmp_path / "mine")), quadratic_app(), 2, 1)
    assert os.listdir(tmp_path / "mine") == ["notes.txt"]
    assert read_run(tmp_path / "mine-2").config.status == "finished"


def test_nothing_is_written_where_that_is_wanted(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    play(Gossip("ring", folder=""), quadratic_app(), 2, 1)
    assert not runs.exists()
    monkeypatch.setenv("FLWR_GOSSIP_RUNS", "")
    play(Gossip("ring"), quadratic_app(), 2, 1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("FLWR_GOSSIP_RUNS")
    play(Gossip("ring"), quadratic_app(), 2, 1)
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_full_disk_is_one_warning_and_ends_no_training(
    runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_writer, "METRICS", "/dev/full")
    caplog.set_level(logging.INFO, "flwr")
    result = play(Gossip("ring", evaluate_every=1), quadratic_app(), NODES, 3)
    assert len(result.train_metrics_clientapp) == 3
    (folder,) = runs.iterdir()
    told = [r.getMessage() for r in caplog.records if "not written any more" in r.getMessage()]
    assert len(told) == 1 and str(folder) in told[0] and "No space left" in told[0]
    assert any(f"The run's folder: {folder}" in record.getMessage() for record in caplog.records)
    assert '"finished"' in (folder / CONFIG).read_text()


def test_a_folder_that_cannot_be_is_one_error_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"folder is '.*file/run', which cannot be used"):
        play(Gossip("ring", folder=tmp_path / "file" / "run"), quadratic_app(), 2, 1)


def test_where_the_default_folder_cannot_be_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLWR_GOSSIP_RUNS", str(tmp_path / "file"))
    assert play(Gossip("ring"), quadratic_app(), 2, 1).train_metrics_clientapp


def test_checkpoints_go_into_the_folder_and_a_resumed_run_has_its_own(runs: Path) -> None:
    play(Gossip("ring", checkpoint=True), quadratic_app(), NODES, 4)
    (first,) = runs.iterdir()
    strategy = Gossip("ring", resume=first / "checkpoints", folder=runs / "second")
    result = play(strategy, quadratic_app(), NODES, 9)
    run = read_run(runs / "second")
    assert run.config.resumed_after == 4
    assert [row.round for row in run.rounds] == [5, 6, 7, 8, 9]
    assert run.segments[0].first == 5
    assert len(result.train_metrics_clientapp) == 9
    with pytest.raises(RunError, match="checkpoint is True"):
        play(Gossip("ring", checkpoint=True, folder=""), quadratic_app(), 2, 1)


def test_each_pass_of_a_search_is_a_run_with_the_metrics_of_its_best(tmp_path: Path) -> None:
    strategy = TeleportationSearch(metric="first", folder=tmp_path / "run")
    result = play(strategy, quadratic_app(), NODES, 4)
    passes = [read_run(tmp_path / name) for name in ("run", "run-2")]
    assert result.num_active in (1, 2)
    assert {row.round: dict(row.train) for row in passes[0].rounds} == {
        t: dict(metrics) for t, metrics in result.train_metrics_clientapp.items()
    }
    assert passes[0].evaluations[-1].metrics["first"] == min(t.value for t in result.trials)
    assert {run.config.status for run in passes} == {"finished"}


def test_a_folder_is_held_while_its_run_goes_on(tmp_path: Path) -> None:
    held: list[bool | None] = []

    def look(round: int, arrays: ArrayRecord) -> None:
        held.append(is_held(tmp_path / "run"))
        assert read_run(tmp_path / "run").config.status == "running"

    play(Gossip("ring", folder=tmp_path / "run"), quadratic_app(), 2, 1, evaluate_fn=look)
    assert held == [True, True] and not is_held(tmp_path / "run")


def test_two_runs_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    one, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    assert (one.path, other.path) == (tmp_path / "run", tmp_path / "run-2")
    (one.path / METRICS).write_text("")
    one.release()
    other.release()
    assert one.path.exists() and not other.path.exists()
