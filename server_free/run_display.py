"""The figures of a run, live in a terminal or as lines of text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from .run_figures import Figures
from .run_rows import Row
from .runs import RunConfig

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["Show", "line_printer", "run_display"]

Show = Callable[[Iterable[Row]], None]
"""Takes the rows that are new."""


@contextmanager
def run_display(
    config: RunConfig, wanted: bool | None = None, file: TextIO | None = None
) -> Iterator[Show]:
    """Show a run on ``file``, by default stderr, by default when that is a terminal.

    Yields what takes its rows; Flower's log is written above what is shown.
    """
    terminal = file or sys.stderr
    if not (terminal.isatty() if wanted is None else wanted):
        yield _nothing
        return
    from rich.console import Console
    from rich.live import Live

    figures = Figures(config)
    console = Console(file=file, stderr=file is None)
    live = Live(console=console, get_renderable=lambda: _picture(figures), refresh_per_second=4)
    with live, _logs_moved(terminal, sys.stderr):
        yield figures.take


def line_printer(config: RunConfig, file: TextIO | None = None) -> Show:
    """Return what prints a line where there is no terminal: one whenever there are new rows."""
    figures = Figures(config)

    def show(rows: Iterable[Row]) -> None:
        figures.take(rows)
        print(figures.line(), file=file or sys.stdout, flush=True)

    return show


def _nothing(rows: Iterable[Row]) -> None:
    """Show nothing."""


def _picture(figures: Figures) -> Group:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    config = figures.config
    head = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=1.0, completed=figures.share, width=40)
    done = f"round {figures.round} of {config.num_rounds}"
    name = str(config.strategy.get("name", "run"))
    head.add_row(Text(name, "bold"), done, bar, f"{figures.share:.0%}")
    table = Table.grid(padding=(0, 2))
    for what, value in figures.lines():
        table.add_row(Text(f"  {what}", "cyan"), Text(value))
    parts = [head, table]
    if figures.end and figures.end.error:
        return Group(*parts, Text(f"  failed: {figures.end.error}", "red"))
    return Group(*parts)


@contextmanager
def _logs_moved(terminal: TextIO, above: TextIO) -> Iterator[None]:
    """Let Flower's log write above the display instead of into it."""
    handlers = [
        handler
        for handler in logging.getLogger("flwr").handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is terminal
    ]
    for handler in handlers:
        handler.setStream(above)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(terminal)
