"""Flower's FedAvg for the comparison: the same evaluation rounds and metrics as the others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg


class FedAvgOverNodes(FedAvg):
    """FedAvg with every node in every round, evaluated every few rounds and after the last."""

    def __init__(self, num_nodes: int, *, evaluate_every: int, num_rounds: int) -> None:
        super().__init__(
            min_train_nodes=num_nodes,
            min_evaluate_nodes=num_nodes,
            min_available_nodes=num_nodes,
            evaluate_metrics_aggr_fn=over_nodes,
        )
        self.evaluate_every = evaluate_every
        self.num_rounds = num_rounds

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask for an evaluation in the rounds that are due for one."""
        if server_round % self.evaluate_every and server_round != self.num_rounds:
            return []
        return super().configure_evaluate(server_round, arrays, config, grid)


def over_nodes(contents: list[RecordDict], weighted_by: str) -> MetricRecord:
    """Return each metric's mean over the nodes, mean weighted by examples, minimum and maximum."""
    records = [record for content in contents for record in content.metric_records.values()]
    weights = np.array([record[weighted_by] for record in records], dtype=float)
    summary = MetricRecord()
    for name in records[0]:
        if name == weighted_by:
            continue
        values = np.array([record[name] for record in records], dtype=float)
        summary[name] = float(values.mean())
        summary[f"{name}-weighted"] = float(np.average(values, weights=weights))
        summary[f"{name}-min"] = float(values.min())
        summary[f"{name}-max"] = float(values.max())
    return summary
