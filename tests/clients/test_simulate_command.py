"""``flwr-gossip simulate``: what it prints, and one line for what the user can put right."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flwr_gossip.clients.cli import app

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = str(ROOT / "examples" / "quickstart")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "--nodes", "4"], "nowhere/pyproject.toml: No such file or directory"),
        ([str(ROOT), "--nodes", "4"], "has no [tool.flwr.app]; give the folder of a Flower app"),
        ([QUICKSTART, "--nodes", "0"], "num_nodes is 0, allowed is a whole number from 1"),
        (
            [QUICKSTART, "--nodes", "4", "--workers", "0"],
            "max_workers is 0, allowed is a whole number from 1",
        ),
        ([QUICKSTART, "--nodes", "4", "--run-config", "round=3"], "has 'round', which is not in"),
        ([QUICKSTART, "--nodes", "4", "--run-config", "seed 2"], "'seed 2' has no pair"),
        ([QUICKSTART, "--nodes", "4"], "4 of the grid's 4 node(s) are ready and no more can come"),
    ],
)
def test_errors_are_one_line(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["simulate", *arguments, "--quiet"])
    assert done.exit_code == 2
    assert done.stderr.startswith("flwr-gossip simulate: error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_quickstart_trains_on_the_nodes_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    config = f'num-nodes=6 local-updates=48 evaluations=1 result-file="{file}"'
    done = CliRunner().invoke(
        app, ["simulate", QUICKSTART, "--nodes", "6", "--run-config", config, "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert "6 nodes in this process" in done.output
    assert file.exists()
