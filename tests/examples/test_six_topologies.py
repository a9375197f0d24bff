"""Six topologies, one training: the table's numbers, the picture, and one report of all runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flwr_gossip.clients.cli import app
from topologies.six import SIX, main


def test_six_runs_make_a_table_a_picture_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["six.py", "--rounds", "8", "--out", str(out)])
    main()
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[1:7]}
    assert tuple(rows) == SIX
    assert rows["complete"][1] == "16.0"
    assert float(rows["alone"][5]) > float(rows["ring"][5]) > float(rows["complete"][5])
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    folders = sorted(str(path) for path in out.iterdir() if path.is_dir())
    page = tmp_path / "six.html"
    done = CliRunner().invoke(app, ["report", *folders, "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert page.read_text().count("torus") > 0
