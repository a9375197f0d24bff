"""Metrics of many nodes as one record a round."""

from __future__ import annotations

from typing import Any

import pytest
from flwr.app import MetricRecord, RecordDict

from flwr_gossip.clients.segments import stacked
from flwr_gossip.strategies.metrics import evaluate_metrics, per_round, train_metrics

KEY = "num-examples"


def records(*nodes: dict[str, Any]) -> list[RecordDict]:
    return [RecordDict({"metrics": MetricRecord(node)}) for node in nodes]


def test_both_means() -> None:
    got = train_metrics(records({"loss": 1.0, KEY: 1}, {"loss": 4.0, KEY: 3}), KEY)
    assert got == {"loss": 2.5, "loss-weighted": 3.25}


def test_evaluations_have_the_spread_too() -> None:
    got = evaluate_metrics(records({"acc": 0.5, KEY: 1}, {"acc": 1.0, KEY: 1}), KEY)
    assert got == {"acc": 0.75, "acc-weighted": 0.75, "acc-min": 0.5, "acc-max": 1.0}


def test_without_examples_there_is_the_plain_mean_only() -> None:
    assert train_metrics(records({"loss": 1.0}, {"loss": 2.0}), KEY) == {"loss": 1.5}
    assert train_metrics(records({"loss": 1.0, KEY: 2}, {"loss": 2.0}), KEY) == {"loss": 1.5}


def test_a_node_without_examples_has_weight_zero() -> None:
    got = train_metrics(records({"loss": 9.0, KEY: 0}, {"loss": 1.0, KEY: 2}), KEY)
    assert got == {"loss": 5.0, "loss-weighted": 1.0}


def test_no_examples_anywhere_leave_the_weighted_mean_out() -> None:
    assert train_metrics(records({"loss": 9.0, KEY: 0}), KEY) == {"loss": 9.0}


def test_integers_are_averaged_as_floats() -> None:
    assert train_metrics(records({"steps": 1}, {"steps": 2}), KEY) == {"steps": 1.5}


def test_lists_are_averaged_place_by_place() -> None:
    got = evaluate_metrics(records({"c": [1, 2], KEY: 1}, {"c": [3, 4], KEY: 3}), KEY)
    assert got == {"c": [2.0, 3.0], "c-weighted": [2.5, 3.5]}


def test_a_metric_of_some_nodes_is_averaged_over_those() -> None:
    got = train_metrics(records({"loss": 1.0}, {"loss": 3.0, "rare": 7.0}), KEY)
    assert got == {"loss": 2.0, "rare": 7.0}


def test_metrics_in_several_records_are_put_together() -> None:
    content = RecordDict({"a": MetricRecord({"x": 1.0}), "b": MetricRecord({"y": 2.0})})
    assert train_metrics([content], KEY) == {"x": 1.0, "y": 2.0}


@pytest.mark.parametrize(
    "nodes",
    [
        ({"e": [1.0, 2.0]}, {"e": [1.0]}),
        ({"e": [1.0]}, {"e": [1.0, 2.0]}),
        ({"e": 1.0}, {"e": [1.0, 2.0]}),
        ({"e": [1.0, 2.0]}, {"e": 1.0}),
    ],
)
def test_lists_of_other_lengths_do_not_lose_the_other_metrics(nodes: Any) -> None:
    nodes = [{"loss": 2.0} | node for node in nodes]
    assert train_metrics(records(*nodes), KEY)["loss"] == 2.0
    assert evaluate_metrics(records(*nodes), KEY)["loss"] == 2.0


def test_nothing_gives_nothing() -> None:
    assert train_metrics([], KEY) == {}
    assert train_metrics([RecordDict()], KEY) == {}


# --- there and back: lists in the reply, a record a round at the ServerApp ---------------------

ROUNDS: list[list[dict[str, Any]]] = [
    [{"loss": 1.0}, {"loss": 2.0}, {"loss": 3.0}],
    [{"steps": 1}, {"steps": 2}],
    [{"pair": [1, 2]}, {"pair": [3, 4]}],
    [{"pair": [1.5, 2.0]}],
    [{"loss": 1.0}, {"loss": 2.0, "rare": 5.0}, {"loss": 3.0}],
    [{"one": [1.0]}, {"one": [2.0]}],
    [{"none": []}, {"none": []}],
    [{"epochs": [1.0]}, {"epochs": [1.0, 2.0]}],
    [{"epochs": [1.0, 2.0, 3.0]}, {"epochs": [1.0]}],
    [{"loss": 1.0}, {"loss": 1.0, "pair": [1.0, 2.0]}],
    [{}, {"loss": 1.0}],
]


def without_nan(record: MetricRecord) -> dict[str, Any]:
    return {k: v for k, v in record.items() if isinstance(v, list) or v == v}


@pytest.mark.parametrize("rounds", ROUNDS)
def test_each_round_gets_its_own_values_back(rounds: list[dict[str, Any]]) -> None:
    numbers = [3 + 2 * place for place in range(len(rounds))]
    found = per_round(numbers, *stacked(numbers, rounds))
    back = {t: without_nan(record["metrics"]) for t, record in found.items()}  # type: ignore[arg-type]
    assert back == dict(zip(numbers, rounds, strict=True))


def test_no_rounds() -> None:
    assert per_round([], {}) == {}
