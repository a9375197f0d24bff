"""Metrics of many nodes as one record a round.

The objective gives every node the same weight, Flower's FedAvg weights by examples;
the defaults here report both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from logging import WARNING
from typing import Any

from flwr.app import MetricRecord, RecordDict
from flwr.supercore import log

from ..server_free.errors import PlanError, one_line

__all__ = ["evaluate_metrics", "lacking", "per_round", "train_metrics"]

Value = float | list[float]


def train_metrics(records: list[RecordDict], weighted_by_key: str) -> MetricRecord:
    """Return ``key`` (mean over nodes) and ``key-weighted`` (by examples) for every metric."""
    return _aggregated(records, weighted_by_key, spread=False)


def evaluate_metrics(records: list[RecordDict], weighted_by_key: str) -> MetricRecord:
    """Return what :func:`train_metrics` does and ``key-min`` and ``key-max`` over the nodes."""
    return _aggregated(records, weighted_by_key, spread=True)


def lacking(records: Sequence[RecordDict], weighted_by_key: str) -> str:
    """Return what the nodes' metrics of one round lack, as one line; "" if nothing."""
    nodes = [_flattened(record) for record in records]
    if not any(nodes):
        return "nodes return no metrics: put a MetricRecord({...}) into the reply."
    if any(weighted_by_key not in node for node in nodes if node):
        return (
            f"nodes return no metric {weighted_by_key!r}, so there are no weighted means: put it "
            "into the MetricRecord, or name another in the strategy's weighted_by_key."
        )
    return ""


def _aggregated(records: list[RecordDict], weighted_by_key: str, spread: bool) -> MetricRecord:
    nodes = [_flattened(record) for record in records]
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for node in nodes for key in node):
        if key == weighted_by_key:
            continue
        having = [node for node in nodes if key in node]
        values = [node[key] for node in having]
        if len({_width(value) for value in values}) > 1:
            log(WARNING, "metric %r is left out: the nodes gave values of unlike shape.", key)
            continue
        merged[key] = _mean(values, [1.0] * len(values))
        weights = [node.get(weighted_by_key) for node in having]
        examples = [float(w) for w in weights if isinstance(w, int | float) and w >= 0]
        if len(examples) == len(values) and sum(examples) > 0:
            merged[f"{key}-weighted"] = _mean(values, examples)
        if spread and not isinstance(values[0], list):
            merged |= {f"{key}-min": min(values), f"{key}-max": max(values)}
    return MetricRecord(merged)


def _flattened(record: RecordDict) -> dict[str, Any]:
    found = [metrics for metrics in record.values() if isinstance(metrics, MetricRecord)]
    return {key: value for metrics in found for key, value in metrics.items()}


def _width(value: Any) -> int:
    return len(value) if isinstance(value, list) else -1


def _mean(values: Sequence[Any], weights: Sequence[float]) -> Value:
    total = sum(weights)
    if isinstance(values[0], list):
        columns = zip(*values, strict=True)
        return [sum(v * w for v, w in zip(c, weights, strict=True)) / total for c in columns]
    return float(sum(v * w for v, w in zip(values, weights, strict=True)) / total)


def per_round(
    rounds: Sequence[int], stacked: Mapping[str, Any], odd: str = "{}"
) -> dict[int, RecordDict]:
    """Return round -> that round's metrics of one node.

    Parameters
    ----------
    rounds : sequence of int
        The rounds the node played.
    stacked : mapping of str to list
        Metric -> one value for each of them.
    odd : str (default: "{}")
        JSON, metric -> round -> value, for metrics that are lists or absent in some rounds.

    Raises
    ------
    PlanError
        If they are not that: both come from a client.
    """
    try:
        values: dict[int, dict[str, Any]] = {round: {} for round in rounds}
        for key, column in stacked.items():
            for round, value in zip(rounds, column, strict=True):
                values[round][key] = value
        for key, by_round in json.loads(odd).items() if odd != "{}" else ():
            for text, value in by_round.items():
                values[int(text)][key] = _checked(value)
        return {t: RecordDict({"metrics": MetricRecord(found)}) for t, found in values.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise PlanError(
            f"they do not fit the {len(rounds)} rounds that it played: {one_line(error)}"
        ) from error


def _checked(value: Any) -> Any:
    """Return the value of a metric; JSON knows numbers that are none of Flower's."""
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int) and abs(number) >> 63:
            raise ValueError(f"one is an integer of {number.bit_length()} bits, not of 64")
    return value
