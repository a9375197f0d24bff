"""What a run says in Flower's log, as Flower's own strategies do: its start, rounds and end."""

from __future__ import annotations

import io
from logging import INFO

from flwr.app import ArrayRecord, MetricRecord
from flwr.supercore import log

from .results import GossipResult
from .training import Training

__all__ = ["log_end", "log_round", "log_start"]


def log_start(name: str, num_rounds: int, initial: ArrayRecord) -> None:
    """Log which strategy starts with what; its options are for the strategy to say."""
    log(INFO, "Starting %s strategy:", name)
    log(INFO, "\t├── Number of rounds: %d", num_rounds)
    size = sum(len(array.data) for array in initial.values()) / 1024**2
    log(INFO, "\t├── ArrayRecord (%.2f MB)", size)


def log_round(training: Training) -> None:
    """Log what the newest round's metrics are."""
    last, result = training.last, training.result
    text = _brief(result.train_metrics_clientapp.get(last), result.consensus_distance.get(last))
    log(INFO, "[ROUND %s/%s] %s", last, training.plan.num_rounds, text)


def log_end(result: GossipResult, seconds: float) -> None:
    """Log how long it took and what came out."""
    log(INFO, "")
    log(INFO, "Strategy execution finished in %.2fs", seconds)
    log(INFO, "")
    log(INFO, "Final results:")
    for line in io.StringIO(str(result)):
        log(INFO, "\t%s", line.strip("\n"))


def _brief(metrics: MetricRecord | None, distance: float | None) -> str:
    parts = [f"{k}: {v:.4g}" for k, v in (metrics or {}).items() if isinstance(v, int | float)]
    if distance is not None:
        parts.append(f"consensus distance: {distance:.3g}")
    return ", ".join(parts)
