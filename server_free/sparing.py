"""Log lines that cannot flood a log: a few a minute, and how many were left out.

They go to Flower's logger by its name, so that its handlers and levels hold here too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["LOGGER", "Sparing", "brief"]

LOGGER = "flwr"
LINES, PER_S = 20, 60.0


def brief(text: str, most: int = 64) -> str:
    """Return ``text`` that somebody else wrote, on one line and cut to ``most`` characters."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return cut if cut.isprintable() and cut else ascii(cut)


class Sparing:
    """Writes at most ``lines`` lines within ``per_s`` seconds; safe to use from several threads.

    Parameters
    ----------
    lines : int (default: 20)
        How many.
    per_s : float (default: 60.0)
        Within how many seconds.
    clock : Callable[[], float] (default: time.monotonic)
        The time in seconds.
    """

    def __init__(
        self,
        lines: int = LINES,
        per_s: float = PER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lines, self._per_s, self._clock = lines, per_s, clock
        self._began, self._written, self._left_out = clock(), 0, 0
        self._lock = threading.Lock()

    def warning(self, text: str) -> None:
        """Write ``text`` if there is room; the first line after others were left out says so."""
        with self._lock:
            left_out = self._admit()
        if left_out is None:
            return
        if left_out:
            text = f"{text} ({left_out} such lines were left out before)"
        logging.getLogger(LOGGER).warning("%s", text)

    def _admit(self) -> int | None:
        """Return how many lines were left out before this one, None if this one is too."""
        now = self._clock()
        if now - self._began >= self._per_s:
            self._began, self._written = now, 0
        if self._written >= self._lines:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
