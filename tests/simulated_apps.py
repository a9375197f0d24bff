"""Run example apps with ``flwr-gossip simulate`` in this process, each with modules of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.testing import CliRunner

from flwr_gossip.clients.cli import app


def run_app_in_process(folder: Path, num_nodes: int, run_config: str) -> str:
    """Return what ``flwr-gossip simulate`` prints; examples may share the names of packages."""
    modules, paths = set(sys.modules), list(sys.path)
    options = ["--nodes", str(num_nodes), "--run-config", run_config, "--quiet"]
    try:
        return run_command(["simulate", str(folder), *options])
    finally:
        sys.path[:] = paths
        for name in [n for n in sys.modules if n not in modules and _lies_in(n, folder)]:
            del sys.modules[name]


def run_command(arguments: list[str]) -> str:
    """Return what ``flwr-gossip`` prints with these arguments."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def _lies_in(name: str, folder: Path) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    return file is not None and Path(file).is_relative_to(folder)
