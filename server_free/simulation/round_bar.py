"""A progress bar over the rounds of a long run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["Advance", "round_bar"]

Advance = Callable[[int, str], None]
"""Told the newest round that is done, and what to say of it."""


@contextmanager
def round_bar(num_rounds: int, wanted: bool | None = None) -> Iterator[Advance]:
    """Show a bar on stderr, by default when that is a terminal; yield what moves it."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda round, text: None
        return
    from rich.console import Console
    from rich.progress import Progress

    terminal = sys.stderr
    with Progress(console=Console(stderr=True)) as bar, _logs_moved(terminal, sys.stderr):
        task = bar.add_task("rounds", total=num_rounds)

        def advance(round: int, text: str) -> None:
            bar.update(task, completed=round, description=f"round {round}" + (text and f", {text}"))

        yield advance


@contextmanager
def _logs_moved(terminal: TextIO, above_bar: TextIO) -> Iterator[None]:
    """Let Flower's log write above the bar instead of into it."""
    handlers = [
        handler
        for handler in logging.getLogger("flwr").handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is terminal
    ]
    for handler in handlers:
        handler.setStream(above_bar)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(terminal)
