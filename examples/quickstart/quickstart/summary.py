"""How well a run did: the numbers that the demo compares."""

from __future__ import annotations

from typing import Any

from flwr.serverapp.strategy import Result

from quickstart.counting import CountingGrid


def summarize(
    strategy: str, num_rounds: int, active: int, result: Result, grid: CountingGrid
) -> dict[str, Any]:
    """Return accuracies from 0 to 1 at the last evaluation, and bytes.

    ``accuracy`` is on the test set common to all nodes, ``own-accuracy`` of each node's model on
    that node's own test data. FedAvg has no traffic between clients.
    """
    if not result.evaluate_metrics_clientapp:
        raise RuntimeError(f"{strategy}: no node has evaluated its model; see the log above")
    metrics = result.evaluate_metrics_clientapp[max(result.evaluate_metrics_clientapp)]
    traffic = getattr(result, "traffic", None)
    return {
        "strategy": strategy,
        "rounds": num_rounds,
        "local-updates": num_rounds * active,
        "accuracy-mean": metrics["accuracy"],
        "accuracy-worst": metrics["accuracy-min"],
        "own-accuracy-mean": metrics["local-accuracy"],
        "bytes-through-server": grid.bytes_to_nodes + grid.bytes_from_nodes,
        "bytes-between-clients": traffic.bytes_between_clients if traffic else 0,
    }


def headline(summary: dict[str, Any]) -> str:
    """Return the summary in one line."""
    return (
        f"{summary['strategy']}: accuracy on the common test set {summary['accuracy-mean']:.3f} "
        f"(worst node {summary['accuracy-worst']:.3f}), "
        f"through the server {summary['bytes-through-server'] / 1e6:.2f} MB, "
        f"between clients {summary['bytes-between-clients'] / 1e6:.2f} MB"
    )
