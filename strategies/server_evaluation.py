"""The user's ``evaluate_fn``: what the ServerApp itself finds out about the mean model."""

from __future__ import annotations

from logging import INFO, WARNING

from flwr.app import ArrayRecord
from flwr.supercore import log

from .assignments import EvaluateFn
from .results import GossipResult
from .training import Training

__all__ = ["evaluate_at_server", "evaluate_served"]


def evaluate_served(training: Training, evaluate_fn: EvaluateFn | None) -> None:
    """Let ``evaluate_fn`` see the mean model, if there is one of this round."""
    result, last = training.result, training.last
    if result.served_round == last:
        evaluate_at_server(result, evaluate_fn, last, result.arrays)
    elif training.wants_models(last):
        newest = result.served_round
        log(
            WARNING,
            "no model could be fetched after round %d; the newest is of round %d.",
            last,
            newest,
        )


def evaluate_at_server(
    result: GossipResult, evaluate_fn: EvaluateFn | None, round: int, arrays: ArrayRecord
) -> None:
    """Put what ``evaluate_fn`` says of a round's model into the result, if there is one."""
    if evaluate_fn is None:
        return
    metrics = evaluate_fn(round, arrays)
    log(INFO, "\t└──> Evaluation at the server: %s", metrics)
    if metrics is not None:
        result.evaluate_metrics_serverapp[round] = metrics
