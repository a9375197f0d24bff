"""Histories on disk: the numbers come back, and what is no history is named by its line."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.records import Record, read_jsonl, write_jsonl

HISTORY: list[Record] = [
    {"round": 1, "train_loss": 0.1 + 0.2, "bytes": 2**62 + 1},
    {"round": 2, "train_loss": 1e-300, "test_loss": 1 / 3},
]


def test_every_number_comes_back(tmp_path: Path) -> None:
    write_jsonl(HISTORY, tmp_path / "run.jsonl")
    again = read_jsonl(tmp_path / "run.jsonl")
    assert again == HISTORY
    assert [list(record) for record in again] == [list(record) for record in HISTORY]
    assert type(again[0]["bytes"]) is int


def test_what_was_not_finite_comes_back_as_nan(tmp_path: Path) -> None:
    write_jsonl([{"round": 1, "train_loss": math.inf}], tmp_path / "run.jsonl")
    (again,) = read_jsonl(tmp_path / "run.jsonl")
    assert again["round"] == 1 and math.isnan(again["train_loss"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"round": 1}\n{"round": 2', r"run\.jsonl line 2 is '{\"round\": 2', allowed is a JSON"),
        ("[1, 2]\n", r"line 1 is '\[1, 2\]', allowed is a JSON object"),
        ('{"loss": 1}\n', 'allowed is a JSON object with a "round"'),
        ('{"round": 1, "loss": "low"}\n', r"line 1: loss is 'low', allowed is a number or null"),
        ('{"round": true}\n', "round is True"),
        ('{"round": 1}\n\n', "line 2 is ''"),
    ],
)
def test_what_is_no_history_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "run.jsonl").write_text(text)
    with pytest.raises(PlanError, match=says):
        read_jsonl(tmp_path / "run.jsonl")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none\.jsonl cannot be read: No such file"):
        read_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match=r"binary\.jsonl cannot be read: it is not UTF-8 text"):
        read_jsonl(tmp_path / "binary.jsonl")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"run\.jsonl cannot be written: No such file or directory"):
        write_jsonl(HISTORY, tmp_path / "none" / "run.jsonl")


FULL = """
import resource, sys
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.records import write_jsonl
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_jsonl([{"round": number} for number in range(1000)], sys.argv[1])
except PlanError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size as Unix does")
def test_a_disk_without_room_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("old")
    command = [sys.executable, "-c", FULL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "run.jsonl cannot be written: File too large" in done.stdout
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.jsonl"]
