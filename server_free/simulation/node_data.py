"""Every node's samples in one tensor, so that 100,000 nodes need no 100,000 objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import PlanError

__all__ = ["ArrayOrTensor", "NodeData", "as_tensor", "checked_pair"]

Ints = NDArray[np.int64]
ArrayOrTensor = Tensor | NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class NodeData:
    """The training data of all nodes: samples, and which node has which.

    Make one with :meth:`from_pairs` or :meth:`from_partition`.

    Parameters
    ----------
    inputs, targets : tensors of N samples
        Samples lie along the first axis.
    indices : (M,) int64
        The samples of node 0, then those of node 1, and so on; a sample may be with many nodes.
    starts : (n + 1,) int64
        Node i has ``indices[starts[i] : starts[i + 1]]``, at least one.
    """

    inputs: Tensor
    targets: Tensor
    indices: Ints
    starts: Ints

    def __post_init__(self) -> None:
        _check_samples("the data", self.inputs, self.targets)
        if len(self.starts) < 2:
            raise PlanError("the data are of 0 nodes, allowed is 1 or more.")
        empty = np.flatnonzero(np.diff(self.starts) < 1)
        if len(empty):
            raise PlanError(
                f"node {empty[0]} has no samples ({len(empty)} nodes have none), allowed is 1 or "
                "more: leave such nodes out, or partition the data otherwise."
            )
        for extreme in (self.indices.min(), self.indices.max()):  # no array as long as these
            if not 0 <= extreme < len(self.inputs):
                raise PlanError(
                    f"the partition names sample {extreme}, allowed are 0..{len(self.inputs) - 1}."
                )

    @staticmethod
    def from_pairs(pairs: Sequence[tuple[ArrayOrTensor, ArrayOrTensor]]) -> NodeData:
        """Return the data of nodes that each bring (inputs, targets), tensors or numpy arrays."""
        if isinstance(pairs, Mapping | str) or not isinstance(pairs, Iterable):
            raise PlanError(
                f"data is {type(pairs).__name__}, allowed is NodeData, or one pair "
                "(inputs, targets) for each node in a list."
            )
        tensors = [checked_pair(f"the data of node {n}", pair) for n, pair in enumerate(pairs)]
        if not tensors:
            raise PlanError("the data are of 0 nodes, allowed is one (inputs, targets) or more.")
        for node, (inputs, targets) in enumerate(tensors):
            _check_alike(node, inputs, tensors[0][0], "inputs")
            _check_alike(node, targets, tensors[0][1], "targets")
        starts = np.cumsum([0, *(len(inputs) for inputs, _ in tensors)])
        return NodeData(
            torch.cat([inputs for inputs, _ in tensors]),
            torch.cat([targets for _, targets in tensors]),
            np.arange(starts[-1]),
            starts,
        )

    @staticmethod
    def from_partition(
        inputs: ArrayOrTensor,
        targets: ArrayOrTensor,
        partition: Sequence[ArrayLike] | NDArray[Any],
    ) -> NodeData:
        """Return the data of nodes that are given by the indices of their samples.

        Parameters
        ----------
        inputs, targets : tensors or numpy arrays of N samples
            Kept once, whatever the number of nodes.
        partition : sequence of n integer arrays, or one (n, m) integer array
            The samples of each node, at least one, of 0..N-1.
        """
        if isinstance(partition, np.ndarray) and partition.ndim == 2 and len(partition):
            starts = np.arange(len(partition) + 1) * partition.shape[1]
            indices = _checked_indices(0, partition.ravel())
        else:
            rows = [_checked_indices(node, row) for node, row in enumerate(partition)]
            starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
            indices = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        return NodeData(as_tensor(inputs), as_tensor(targets), indices, starts)

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return len(self.starts) - 1

    def sizes(self, nodes: Ints) -> Ints:
        """Return how many samples each of these nodes has, (c,) int64."""
        return self.starts[nodes + 1] - self.starts[nodes]

    def batch(self, nodes: Ints, positions: Ints) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, (c, b, ...), of the given positions in each node's own data.

        ``nodes`` is (c,), ``positions`` (c, b), of 0..size-1 each.
        """
        places = torch.from_numpy(self.indices[self.starts[nodes][:, None] + positions].ravel())
        places = places.to(self.inputs.device)
        inputs, targets = (
            values.index_select(0, places).view(*positions.shape, *values.shape[1:])
            for values in (self.inputs, self.targets)
        )
        return inputs, targets

    def extremes(self) -> tuple[list[int], Tensor, Tensor]:
        """Return nodes that have the least and the greatest of whole targets, and these samples.

        The samples are (c, 2, ...), each twice, of c = 2 nodes; c = 0 where targets are floats.
        """
        chosen: list[int] = []
        if not self.targets.is_floating_point() and self.targets.numel():
            used = np.zeros(len(self.targets), dtype=bool)
            used[self.indices] = True
            known = torch.from_numpy(np.flatnonzero(used)).to(self.targets.device)
            values = self.targets[known]
            width = values[0].numel()
            chosen = [int(known[int(at) // width]) for at in (values.argmin(), values.argmax())]
        places = [_place_of(self.indices, sample) for sample in chosen]
        nodes = (np.searchsorted(self.starts, places, side="right") - 1).tolist()
        twice = torch.tensor(chosen, dtype=torch.int64).repeat(2, 1).T
        return nodes, self.inputs[twice], self.targets[twice]

    def placed(self, device: torch.device, dtype: torch.dtype) -> NodeData:
        """Return the data on a device: floats in the model's dtype, whole targets as int64."""
        inputs = _cast(self.inputs, device, dtype)
        targets = _cast(self.targets, device, dtype, torch.int64)
        return NodeData(inputs, targets, self.indices, self.starts)


def as_tensor(values: ArrayOrTensor) -> Tensor:
    """Return a tensor over the same memory where that is possible."""
    if isinstance(values, Tensor):
        return values.detach()
    try:
        return torch.from_numpy(np.array(values, order="C", copy=None))
    except (TypeError, ValueError) as error:
        raise PlanError(
            f"{type(values).__name__} cannot be made a tensor; allowed are tensors and numpy "
            f"arrays of numbers, all samples of one shape: {error}"
        ) from error


def _place_of(indices: Ints, sample: int, step: int = 1 << 18) -> int:
    """Return the first place of a sample that is there, without an array as long as ``indices``."""
    for start in range(0, len(indices), step):
        found = np.flatnonzero(indices[start : start + step] == sample)
        if len(found):
            return start + int(found[0])
    raise PlanError(f"no node has sample {sample}.")


def _cast(
    values: Tensor, device: torch.device, dtype: torch.dtype, whole: torch.dtype | None = None
) -> Tensor:
    kind = dtype if values.is_floating_point() else whole or values.dtype
    return values.to(device=device, dtype=kind).contiguous()


def checked_pair(what: str, pair: tuple[ArrayOrTensor, ArrayOrTensor]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets as tensors; ``PlanError`` says what ``what`` must be."""
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise PlanError(
            f"{what} are {type(pair).__name__}, allowed is a pair (inputs, targets) of tensors or "
            "numpy arrays."
        )
    inputs, targets = as_tensor(pair[0]), as_tensor(pair[1])
    _check_samples(what, inputs, targets)
    return inputs, targets


def _check_samples(what: str, inputs: Tensor, targets: Tensor) -> None:
    shapes = f"inputs of shape {tuple(inputs.shape)} and targets of {tuple(targets.shape)}"
    if inputs.ndim < 1 or targets.ndim < 1 or len(inputs) != len(targets):
        raise PlanError(
            f"{what} have {shapes}, allowed are as many targets as inputs, samples along the "
            "first axis."
        )
    if len(inputs) == 0:
        raise PlanError(f"{what} have {shapes}, allowed is 1 sample or more.")


def _check_alike(node: int, values: Tensor, first: Tensor, what: str) -> None:
    if values.shape[1:] != first.shape[1:] or values.dtype != first.dtype:
        raise PlanError(
            f"the {what} of node {node} are {values.dtype} of shape {tuple(values.shape[1:])} a "
            f"sample, those of node 0 {first.dtype} of {tuple(first.shape[1:])}; they must agree."
        )


def _checked_indices(node: int, row: ArrayLike) -> Ints:
    indices = np.asarray(row)
    if indices.ndim != 1 or (indices.size and not np.issubdtype(indices.dtype, np.integer)):
        raise PlanError(
            f"the partition gives node {node} {indices.dtype} values of shape {indices.shape}, "
            "allowed is a list of sample indices."
        )
    return indices.astype(np.int64, copy=False)
