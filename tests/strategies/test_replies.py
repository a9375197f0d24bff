"""Replies with fields that cannot be: a failure that names node and field, and the run goes on."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord

from apps import play, quadratic_app
from flwr_gossip.server_free.orders import RECORD, Loss
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies import Gossip, GossipResult

NODES, ROUNDS = 4, 4
LOSS = Loss(1, 0, 0, 2, 2, "silent", "no sign of life", "rest of the row")


def tampered(change: Any) -> GossipResult:
    """Run with ``change`` done to the content of each report of node 1."""

    class Grid(InProcessGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            replies = list(super().pull_messages(message_ids))
            for reply in replies:
                record = reply.content.config_records[RECORD]
                if reply.metadata.src_node_id == 1001 and record["kind"] == "report":
                    change(reply.content)
            return replies

    strategy = Gossip("ring", fraction_evaluate=0.0, peer_timeout=1.0)
    return play(strategy, quadratic_app(), NODES, ROUNDS, grid_type=Grid)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("rounds", "x"), ("rounds", "1,1"), ("rounds", "0"), ("rounds", "99"), ("rounds", "1e9")),
        *(("losses", "[]"), ("losses", "{"), ("losses", '{"texts":[],"rows":[[1,2]]}')),
        *(("probed", '{"reached":[Infinity]}'), ("probed", "[" * 100_000), ("probed", "[1]")),
        *(("seconds", math.nan), ("seconds", math.inf), ("seconds", -1.0)),
        *(("bytes_fetched", -1), ("bytes_published", -1), ("bytes_relayed", -1)),
        *(("sketch", b"abc"), ("sketch", b"abcd")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_field_that_cannot_be_is_the_failure_of_its_node(field: str, value: Any) -> None:
    def change(content: Any) -> None:
        content[RECORD][field] = value

    result = tampered(change)
    assert list(result.failures) == [1]
    assert result.failures[1][0].startswith(f"field {field!r} in the report of node 1: ")
    assert result.served_round == ROUNDS
    assert 1 not in result.served_slots
    assert sorted(result.train_metrics_clientapp) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "odd",
    [
        *("[]", "{", "7", "[" * 100_000, '{"loss":1}', '{"loss":{"99":1.0}}', '{"loss":{"x":1.0}}'),
        *('{"loss":{"1":"high"}}', '{"loss":{"1":{}}}', '{"loss":{"1":[[1.0]]}}'),
        '{"loss":{"1":1%s}}' % ("0" * 400),
    ],
    ids=lambda odd: odd[:40],
)
def test_metrics_that_cannot_be_are_noted_and_cost_nothing_else(odd: str) -> None:
    def change(content: Any) -> None:
        if content[RECORD]["rounds"].startswith("1"):
            content[RECORD]["odd_metrics"] = odd

    result = tampered(change)
    assert list(result.failures) == [1]
    (reason,) = result.failures[1]
    assert reason.startswith("metrics of node 1: they do not fit the 1 rounds that it played: ")
    losses = [metrics["loss"] for metrics in result.train_metrics_clientapp.values()]
    everybody, others = np.mean([0, 1, 2, 3]), np.mean([0, 2, 3])
    assert losses == pytest.approx([others + 1, everybody + 2, everybody + 3, everybody + 4])
    assert result.served_slots == (0, 1, 2, 3)


@pytest.mark.parametrize("column", [1.0, [1.0, 2.0, 3.0]])
def test_metrics_of_another_number_of_rounds(column: Any) -> None:
    def change(content: Any) -> None:
        content["metrics"] = MetricRecord({"loss": column})

    result = tampered(change)
    assert "they do not fit the 1 rounds" in result.failures[1][0]
    others = np.mean([0, 2, 3])
    assert result.train_metrics_clientapp[ROUNDS]["loss"] == pytest.approx(others + ROUNDS)


@pytest.mark.parametrize(
    "model",
    [{"w": np.zeros(3)}, {"w": np.zeros((2, 3)), "b": np.array([0, 1, 2, math.nan])}],
    ids=["another", "another with NaN"],
)
def test_a_model_that_is_none_of_the_training_is_fetched_from_another_node(model: Any) -> None:
    def change(content: Any) -> None:
        if content.array_records:
            content["arrays"] = ArrayRecord({k: Array(a) for k, a in model.items()})

    result = tampered(change)
    assert "field 'arrays' in the report of node 1: a model with other" in result.failures[1][0]
    assert result.served_slots == (0, 1, 2, 3)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY", b"0" * 100])
def test_a_tensor_that_cannot_be_read_is_the_failure_of_its_node(data: bytes) -> None:
    def change(content: Any) -> None:
        if content.array_records:
            array = next(iter(content["arrays"].values()))
            odd = Array(dtype=array.dtype, shape=array.shape, stype=array.stype, data=data)
            content["arrays"] = ArrayRecord(dict.fromkeys(content["arrays"], odd))

    result = tampered(change)
    assert "field 'arrays' in the report of node 1: a tensor cannot be" in result.failures[1][0]
    assert result.served_slots == (0, 1, 2, 3)


def test_losses_that_cannot_be_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """They may be what a holder said, handed on by who read its model."""
    odd = [Loss(1, 0, 99, 2, 2, *"abc"), Loss(99, 0, 0, 2, 2, *"abc"), Loss(1, 0, 0, -1, 2, *"abc")]

    def change(content: Any) -> None:
        content[RECORD]["losses"] = Loss.dump([LOSS, *odd])

    with caplog.at_level(logging.WARNING, "flwr"):
        result = tampered(change)
    assert (result.losses, result.failures) == ([LOSS], {})
    assert "node 1 tells of 3 losses that cannot be; left out." in caplog.text
