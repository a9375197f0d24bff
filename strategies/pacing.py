"""How many rounds one Flower message asks for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pacer"]

_FIRST_ROUNDS = 2
"""The first segment is short: it shows soon whether all is well, and how long a round takes."""

_FASTEST_S = 1e-3
"""No round is taken to be faster, so that a segment has at most some 10,000 rounds."""

_TARGET_S = 60.0
"""Later segments: about a minute, since a SuperNode does nothing else until it has replied."""


@dataclass(slots=True)
class Pacer:
    """Cuts a training into segments.

    Parameters
    ----------
    num_rounds : int
        Rounds of the training.
    stops : int, optional
        A segment ends at every multiple of this (an evaluation round); None: nowhere.
    fixed : int, optional
        Rounds a segment; None: measured.
    timeout_s : float
        No segment is to last longer than a quarter of this.
    """

    num_rounds: int
    stops: int | None
    fixed: int | None
    timeout_s: float
    seconds_per_round: float | None = None

    def last_round(self, first: int) -> int:
        """Return the last round of the segment that starts with ``first``."""
        end = min(self.num_rounds, first + self._length() - 1)
        if self.stops is not None:
            end = min(end, -(-first // self.stops) * self.stops)
        return end

    def measured(self, rounds: int, seconds: float) -> None:
        """Take in how long a segment took at its slowest node, start of processes apart."""
        if rounds > 0:
            self.seconds_per_round = max(seconds / rounds, _FASTEST_S)

    def _length(self) -> int:
        if self.fixed is not None:
            return self.fixed
        if self.seconds_per_round is None:
            return _FIRST_ROUNDS
        budget = min(_TARGET_S, self.timeout_s / 4)
        return max(1, int(budget / self.seconds_per_round))
