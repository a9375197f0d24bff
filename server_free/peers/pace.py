"""How many chunks go into one message: more where the line is fast, one where it is slow.

A chunk is small enough to come within the reader's patience for silence on a slow line. On a fast
one each message costs more than its bytes, so several chunks share one.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]

MOST_CHUNKS = 4
FAST_S, SLOW_S = 0.05, 0.5


@dataclass(slots=True)
class Pace:
    """Grows and shrinks with how long the last message took; at first one chunk a message."""

    chunks: int = 1

    def took(self, seconds: float) -> None:
        """Note for how many seconds the line took no other message."""
        if seconds > SLOW_S:
            self.chunks = 1
        elif seconds < FAST_S:
            self.chunks = min(2 * self.chunks, MOST_CHUNKS)
