"""A run's rows as TensorBoard's event files, by the light package tensorboardX."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import RunError
from .run_rows import EvaluationRow, Metrics, RoundRow, Row, SegmentRow, ServerEvaluationRow

__all__ = ["EVENTS", "EventFiles", "check_installed"]

EVENTS = "tensorboard"
"""Their folder, in that of the run."""

_FLUSH_S = 5


class EventFiles:
    """Writes scalars by round: what is measured over the nodes, not each node's own.

    Parameters
    ----------
    folder : Path
        That of the run.

    Raises
    ------
    RunError
        If the package is not installed; see :func:`check_installed`.
    """

    def __init__(self, folder: Path) -> None:
        self._began = time.time()
        self._writer = check_installed().SummaryWriter(str(folder / EVENTS), flush_secs=_FLUSH_S)

    def take(self, rows: Iterable[Row]) -> None:
        """Write further rows."""
        for row in rows:
            for tag, value, step, seconds in _scalars(row):
                self._writer.add_scalar(tag, value, step, walltime=self._began + seconds)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def check_installed() -> Any:
    """Return the package; ``RunError`` says what to install."""
    try:
        import tensorboardX
    except ImportError:
        raise RunError(
            "tensorboard is True, which needs the package tensorboardX: "
            'pip install "flwr-gossip[tensorboard]"'
        ) from None
    return tensorboardX


def _scalars(row: Row) -> Iterator[tuple[str, float, int, float]]:
    """Yield (tag, value, round, seconds since the start)."""
    if isinstance(row, RoundRow):
        yield from _metrics("train", row.train, row.round, row.seconds)
    elif isinstance(row, EvaluationRow):
        yield from _metrics("evaluation", row.metrics, row.round, row.seconds)
    elif isinstance(row, ServerEvaluationRow):
        yield from _metrics("server-evaluation", row.metrics, row.round, row.seconds)
    elif isinstance(row, SegmentRow):
        found: dict[str, float] = {
            "nodes/live": row.live,
            "bytes/between-clients": row.bytes_between_clients,
            "bytes/through-server": row.bytes_through_server,
        }
        if row.consensus_distance is not None:
            found["consensus-distance"] = row.consensus_distance
        yield from ((tag, value, row.last, row.seconds) for tag, value in found.items())


def _metrics(
    group: str, metrics: Metrics, round: int, seconds: float
) -> Iterator[tuple[str, float, int, float]]:
    for name, value in metrics.items():
        if isinstance(value, int | float):
            yield f"{group}/{name}", value, round, seconds
