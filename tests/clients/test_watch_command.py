"""``flwr-gossip watch``: follows a run in another process, by its folder."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flwr_gossip.clients.cli import app
from flwr_gossip.server_free.run_rows import EndRow, Row
from flwr_gossip.server_free.run_writer import RunFolder, RunWriter
from flwr_gossip.server_free.runs import CONFIG, RunConfig
from run_samples import sample_config, sample_rows, write_sample, write_simulated

COMMAND = [sys.executable, "-c", "from flwr_gossip.clients.cli import app; app()", "watch"]
WRITER = """
import sys, time
from pathlib import Path
from flwr_gossip.server_free.run_writer import RunFolder, RunWriter
from flwr_gossip.server_free.runs import read_run
source, target = map(Path, sys.argv[1:])
folder = RunFolder(target)
RunWriter(folder.path, read_run(source).config, print).write(read_run(source).rounds[:5])
print("ready", flush=True)
time.sleep(100)
"""


def running() -> RunConfig:
    return replace(sample_config(), status="running", ended=None)


@contextmanager
def watching(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Watch a folder in another process, without a terminal."""
    process = subprocess.Popen([*COMMAND, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_is_followed_until_it_ends(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path / "run"), running()
    writer = RunWriter(folder.path, config, print)
    rows: list[Row] = list(sample_rows(config))
    writer.write(rows[:4])
    with watching(folder.path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(folder.path)
        first = process.stdout.readline()
        assert first.startswith("round 3/12, active: 4 of 8 nodes, train loss: 1.395")
        writer.write(rows[4:-1])
        second = process.stdout.readline()
        assert "round 12/12" in second and "accuracy: mean" in second and "worst" in second
        assert "1 not there" in second and "consensus distance" in second
        writer.end(EndRow(12, 7.0, "finished"), config.plan_json)
        rest, _ = process.communicate(timeout=60)
    folder.release()
    assert rest.splitlines()[-1] == "Finished." and process.returncode == 0


def test_a_run_whose_process_is_killed_is_said_to_be_gone(tmp_path: Path) -> None:
    source, target = write_sample(tmp_path / "source", running()), tmp_path / "run"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(source), str(target)], stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        with watching(target) as process:
            assert process.stdout is not None
            assert process.stdout.readline() and "round 5/12" in process.stdout.readline()
            writer.kill()
            rest, _ = process.communicate(timeout=60)
    finally:
        writer.kill()
        writer.communicate()
    assert "process is gone" in rest and process.returncode == 1


def test_ctrl_c_leaves_the_run_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    writer = RunWriter(folder.path, running(), print)
    writer.write(list(sample_rows(running()))[:4])
    with watching(folder.path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert "left alone" in rest and process.returncode == 0
    writer.end(EndRow(12, 7.0, "finished"), running().plan_json)
    folder.release()


def test_a_terminal_shows_a_table(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "run")
    own, theirs = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        with open(own, "rb", buffering=0) as file:
            try:
                while part := file.read(4096):
                    seen.append(part)
            except OSError:  # how Linux says that the other end is closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [*COMMAND, str(folder)], stdout=theirs, timeout=60, check=False, env=environment
    )
    os.close(theirs)
    reader.join(60)
    text = b"".join(seen).decode()
    assert done.returncode == 0
    assert "Teleportation" in text and "round 12 of 12" in text and "━" in text
    for what in ("active", "train loss", "accuracy", "consensus distance", "bytes", "time"):
        assert what in text


def test_without_a_folder_it_is_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_GOSSIP_RUNS", str(tmp_path))
    older, newer = write_sample(tmp_path / "b"), write_simulated(tmp_path / "a")
    for file in older.iterdir():
        os.utime(file, (1, 1))
    done = CliRunner().invoke(app, ["watch"])
    assert done.exit_code == 0
    place, line, end = done.stdout.splitlines()
    assert place == str(newer) and line.startswith("round 12/12") and end == "Finished."


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "run", rows=[EndRow(3, 1.0, "failed", "NoNodesLeft: none")])
    done = CliRunner().invoke(app, ["watch", str(folder)])
    assert done.exit_code == 1 and done.stdout.endswith("Failed: NoNodesLeft: none\n")


def test_what_is_no_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_GOSSIP_RUNS", str(tmp_path))
    for arguments in (["watch"], ["watch", str(tmp_path)]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith("flwr-gossip watch: error: ")
        assert CONFIG in done.stderr or "there is no run under" in done.stderr
