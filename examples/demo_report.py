"""What the two demos print: progress while the app runs, and a table at the end."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PROGRESS_S = 10.0
ROUND = re.compile(r"\[ROUND (\d+)/(\d+)\]")
STRATEGY = re.compile(r"^(teleportation|gossip|alone|fedavg): ")


def console() -> Console:
    """Return a console: colours and lines on a terminal, plain and wide elsewhere."""
    on_terminal = Console()
    return on_terminal if on_terminal.is_terminal else Console(width=132)


def say(output: Console, text: str) -> None:
    """Print text as it is: long lines are the terminal's to wrap, not ours."""
    output.print(text, highlight=False, soft_wrap=True)


class Progress:
    """Show the start and the end of each strategy, and every ten seconds the round it is at."""

    def __init__(self, output: Console) -> None:
        self.output = output
        self.began = self.shown = time.monotonic()

    def __call__(self, line: str) -> None:
        """Take one line of the ServerApp's output."""
        if STRATEGY.match(line):
            self._show(line)
        elif (found := ROUND.search(line)) and time.monotonic() - self.shown > PROGRESS_S:
            self._show(f"    round {found[1]} of {found[2]}")

    def _show(self, text: str) -> None:
        self.shown = time.monotonic()
        say(self.output, f"{self.shown - self.began:4.0f} s  {text}")


def table(title: str, names: dict[str, str], summaries: Sequence[dict[str, Any]]) -> Table:
    """Return the comparison; ``names`` says how each strategy is shown."""
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    shown.add_column("method")
    for column in (
        "rounds",
        "local\nupdates",
        "common test:\nmean",
        "common test:\nworst node",
        "own test:\nmean",
        "MB through\nserver",
        "MB between\nclients",
    ):
        shown.add_column(column, justify="right")
    for summary in summaries:
        shown.add_row(
            names[summary["strategy"]],
            str(summary["rounds"]),
            str(summary["local-updates"]),
            f"{summary['accuracy-mean']:.3f}",
            f"{summary['accuracy-worst']:.3f}",
            f"{summary['own-accuracy-mean']:.3f}",
            f"{summary['bytes-through-server'] / 1e6:.2f}",
            f"{summary['bytes-between-clients'] / 1e6:.2f}",
        )
    return shown
