"""Evaluation of every slot's model and of their mean on one test set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ModelError, PlanError, one_line
from .batched import BatchedModel

__all__ = ["Evaluator", "Metric", "accuracy", "consensus_distance"]

Floats = NDArray[np.float64]
Metric = Callable[[Any, Tensor], Any]
"""``(outputs, targets) -> number``, on the whole test set."""

_SAMPLES_AT_ONCE = 2048  # samples times slots in one batched forward
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Evaluator:
    """Computes metrics of models on test data.

    Parameters
    ----------
    model : BatchedModel
    inputs, targets : tensors of N samples, on the model's device
    metrics : mapping of str to callable
        ``(outputs of all samples, targets) -> number``.
    """

    model: BatchedModel
    inputs: Tensor
    targets: Tensor
    metrics: Mapping[str, Metric]

    def check(self) -> None:
        """Raise ``ModelError`` unless all metrics of the first model are numbers.

        Asked before the training, so that nobody learns of it after a tenth of it.
        """
        shape, dtype = tuple(self.targets.shape), self.targets.dtype
        try:
            views = self.model.layout.views(self.model.start[None])
            outputs = self.model.outputs(views, self.inputs[:2])[0]
        except Exception as error:
            raise ModelError(
                f"the model fails on test_data with inputs of shape {tuple(self.inputs.shape)} "
                f"({self.inputs.dtype}): {one_line(error)}"
            ) from error
        for name, metric in self.metrics.items():
            alone = replace(self, metrics={name: metric})
            try:
                alone.slots(self.model.start[None])
            except Exception as error:
                raise ModelError(
                    f"metrics: {name!r} gives no number on test_data with targets of shape "
                    f"{shape} ({dtype}) and outputs of {tuple(outputs.shape)} for 2 samples: "
                    f"{one_line(error)}"
                ) from error

    def slots(self, z: Tensor) -> dict[str, Floats]:
        """Return each metric of the slots' models, (k, width), as (k,) float64."""
        columns = np.array(list(self._each(z)), dtype=np.float64).T
        return dict(zip(self.metrics, columns, strict=False))

    def record(self, z: Tensor, slots: Mapping[str, Floats]) -> dict[str, float]:
        """Return what a history says of the slots' metrics, and the metrics of their mean model.

        ``test_NAME`` is the mean over the slots, ``test_NAME_min`` and ``test_NAME_max`` the
        least and the greatest, ``served_NAME`` that of the mean model.
        """
        served = self.slots(z.mean(dim=0, keepdim=True))
        record = {}
        for name, values in slots.items():
            record[f"test_{name}"] = float(values.mean())
            record[f"test_{name}_min"] = float(values.min())
            record[f"test_{name}_max"] = float(values.max())
            record[f"served_{name}"] = float(served[name][0])
        return record

    def _each(self, z: Tensor) -> Iterator[list[float]]:
        slots = max(1, min(16, _SAMPLES_AT_ONCE // len(self.inputs)))
        batch = max(1, _SAMPLES_AT_ONCE // slots)
        for rows in torch.split(z, slots):
            views = self.model.layout.views(rows)
            parts = [
                self.model.outputs(views, inputs) for inputs in torch.split(self.inputs, batch)
            ]
            for outputs in torch.cat(parts, dim=1):
                yield [float(metric(outputs, self.targets)) for metric in self.metrics.values()]


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of samples whose greatest output is the target."""
    return (outputs.argmax(dim=1) == targets).double().mean().item()


def default_metrics(loss: Metric, targets: Tensor) -> dict[str, Metric]:
    """Return the loss and, for whole targets, the accuracy."""
    if targets.is_floating_point():
        return {"loss": loss}
    return {"loss": loss, "accuracy": accuracy}


def checked_metrics(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics; ``PlanError`` unless they are functions with a name each."""
    if not isinstance(metrics, Mapping):
        raise PlanError(
            f"metrics is {type(metrics).__name__}, allowed is name -> function, as in "
            "{'accuracy': accuracy}."
        )
    for name, metric in metrics.items():
        if not isinstance(name, str) or not callable(metric):
            raise PlanError(
                f"metrics has {name!r}: {metric!r}, allowed are names with functions "
                "(outputs, targets) -> number."
            )
    return dict(metrics)


def consensus_distance(z: Tensor) -> float:
    """Return ``(1/k) sum_i ||z_i - mean z||^2`` of the rows of z, exactly (no sketch)."""
    mean = z.mean(dim=0)
    rows = max(1, _BLOCK_ELEMENTS // z.shape[1])
    sums = [((block - mean) ** 2).sum(dtype=torch.float64) for block in torch.split(z, rows)]
    return float(torch.stack(sums).sum().item()) / len(z)
