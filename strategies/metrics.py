"""Metrics of many nodes as one record a round.

The objective gives every node the same weight, Flower's FedAvg weights by examples;
the defaults here report both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flwr.app import MetricRecord, RecordDict

__all__ = ["evaluate_metrics", "per_round", "train_metrics"]

Value = float | list[float]


def train_metrics(records: list[RecordDict], weighted_by_key: str) -> MetricRecord:
    """Return ``key`` (mean over nodes) and ``key-weighted`` (by examples) for every metric."""
    return _aggregated(records, weighted_by_key, spread=False)


def evaluate_metrics(records: list[RecordDict], weighted_by_key: str) -> MetricRecord:
    """Return what :func:`train_metrics` does and ``key-min`` and ``key-max`` over the nodes."""
    return _aggregated(records, weighted_by_key, spread=True)


def _aggregated(records: list[RecordDict], weighted_by_key: str, spread: bool) -> MetricRecord:
    nodes = [_flattened(record) for record in records]
    weights = [node.get(weighted_by_key) for node in nodes]
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for node in nodes for key in node):
        if key == weighted_by_key:
            continue
        pairs = [(n[key], w) for n, w in zip(nodes, weights, strict=True) if key in n]
        values = [value for value, _ in pairs]
        merged[key] = _mean(values, [1.0] * len(values))
        examples = [float(w) for _, w in pairs if isinstance(w, int | float) and w > 0]
        if len(examples) == len(values):
            merged[f"{key}-weighted"] = _mean(values, examples)
        if spread and not isinstance(values[0], list):
            merged |= {f"{key}-min": min(values), f"{key}-max": max(values)}
    return MetricRecord(merged)


def _flattened(record: RecordDict) -> dict[str, Any]:
    merged = {k: v for metrics in record.metric_records.values() for k, v in metrics.items()}
    return {k: v for k, v in merged.items() if not (isinstance(v, float) and math.isnan(v))}


def _mean(values: Sequence[Any], weights: Sequence[float]) -> Value:
    total = sum(weights)
    if isinstance(values[0], list):
        columns = zip(*values, strict=True)
        return [sum(v * w for v, w in zip(c, weights, strict=True)) / total for c in columns]
    return float(sum(v * w for v, w in zip(values, weights, strict=True)) / total)


def per_round(rounds: Sequence[int], stacked: Mapping[str, Any]) -> dict[int, RecordDict]:
    """Return round -> that round's metrics of one node, from lists with one value a round.

    A list-valued metric was laid end to end: its length is a multiple of the rounds'.
    """
    found: dict[int, RecordDict] = {}
    for place, round in enumerate(rounds):
        values: dict[str, Any] = {}
        for key, column in stacked.items():
            width = len(column) // len(rounds)
            part = column[place * width : (place + 1) * width]
            values[key] = part[0] if width == 1 else part
        found[round] = RecordDict({"metrics": MetricRecord(values)})
    return found
