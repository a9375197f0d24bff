"""The data of all nodes: who has which samples, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.errors import PlanError

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation import NodeData  # noqa: E402


def data() -> Any:
    inputs = torch.arange(20.0).view(10, 2)
    return NodeData.from_partition(inputs, np.arange(10), [[3, 1], [7], [1, 2, 9]])


def test_a_batch_has_the_samples_of_its_nodes() -> None:
    inputs, targets = data().batch(np.array([2, 0]), np.array([[2, 0], [0, 1]]))
    assert targets.tolist() == [[9, 1], [3, 1]]
    assert inputs.tolist() == [[[18.0, 19.0], [2.0, 3.0]], [[6.0, 7.0], [2.0, 3.0]]]
    assert data().sizes(np.array([0, 1, 2, 1])).tolist() == [2, 1, 3, 1]


def test_samples_are_kept_once() -> None:
    inputs, targets = torch.zeros(10, 2), torch.zeros(10)
    many = NodeData.from_partition(inputs, targets, np.zeros((100_000, 3), dtype=np.int16))
    assert many.num_nodes == 100_000
    assert many.inputs.data_ptr() == inputs.data_ptr()


def test_floats_get_the_dtype_of_the_model_and_labels_int64() -> None:
    pairs = [(np.ones((2, 3)), np.ones(2, dtype=np.uint8))]
    placed = NodeData.from_pairs(pairs).placed(torch.device("cpu"), torch.float32)
    assert (placed.inputs.dtype, placed.targets.dtype) == (torch.float32, torch.int64)


ONE = (np.zeros((2, 3)), np.zeros(2))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "0 nodes"),
        ([ONE, (np.zeros((0, 3)), np.zeros(0))], "node 1 .* allowed is 1 sample or more"),
        ([ONE, (np.zeros((2, 3)), np.zeros(3))], "node 1 .* as many targets as inputs"),
        ([ONE, (np.zeros((2, 4)), np.zeros(2))], r"inputs of node 1 are .*\(4,\)"),
        ([ONE, (np.zeros((2, 3)), np.zeros(2, dtype=int))], "targets of node 1 are torch.int64"),
        ([ONE, (np.zeros((2, 3)),)], "node 1 are tuple, allowed is a pair"),
        ([(np.float64(1.0), np.zeros(1))], "node 0"),
    ],
)
def test_pairs_that_cannot_be(pairs: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        NodeData.from_pairs(pairs)


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ([], "0 nodes"),
        ([[0], [], []], r"node 1 has no samples \(2 nodes"),
        ([[0], [4]], "sample 4, allowed are 0..3"),
        ([[0], [-1]], "sample -1"),
        ([[0], [0.5]], "node 1 float64 values"),
        ([[0], [[1]]], r"node 1 int64 values of shape \(1, 1\)"),
    ],
)
def test_partitions_that_cannot_be(partition: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        NodeData.from_partition(np.zeros((4, 2)), np.zeros(4), partition)
