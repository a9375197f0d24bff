"""The local step: SGD with heavy-ball momentum and weight decay, as ``torch.optim.SGD`` does it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import PlanError

__all__ = ["SGD", "LearningRate", "Momenta", "NodeMomenta", "SlotMomenta", "check_number"]

Ints = NDArray[np.int64]
Views = tuple[Tensor, ...]
LearningRate = float | Callable[[int], float]
"""A number, or a schedule: round (from 1) -> number."""


@dataclass(frozen=True, slots=True)
class SGD:
    """``g += weight_decay * p; v = momentum * v + g; p -= learning_rate * v``.

    Parameters
    ----------
    learning_rate : float or callable
        Greater than or equal to 0; a callable gets the round, from 1.
    momentum : float (default: 0.0)
        In [0, 1): heavy ball (Polyak 1964) in the form of ``torch.optim.SGD``.
    weight_decay : float (default: 0.0)
        Greater than or equal to 0.
    """

    learning_rate: LearningRate
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.learning_rate):
            check_number("learning_rate", self.learning_rate)
        check_number("momentum", self.momentum, below=1.0)
        check_number("weight_decay", self.weight_decay)

    def rate(self, round: int) -> float:
        """Return the learning rate of a round."""
        if not callable(self.learning_rate):
            return float(self.learning_rate)
        rate = self.learning_rate(round)
        check_number(f"learning_rate({round})", rate)
        return float(rate)

    def step(self, views: Views, gradients: Views, buffers: Views | None, rate: float) -> None:
        """Take one step in place, for parameters, gradients and buffers of the same shapes."""
        for place, (parameter, gradient) in enumerate(zip(views, gradients, strict=True)):
            if self.weight_decay:
                gradient = gradient.add(parameter, alpha=self.weight_decay)
            if buffers is not None:
                gradient = buffers[place].mul_(self.momentum).add_(gradient)
            parameter.add_(gradient, alpha=-rate)


class Momenta(Protocol):
    """Where momentum buffers are kept between rounds; zero at first."""

    def rows(self, slots: Ints, nodes: Ints) -> Tensor:
        """Return the buffers of these slots and nodes, (c, width); perhaps a copy."""

    def keep(self, slots: Ints, nodes: Ints, rows: Tensor) -> None:
        """Store buffers that came from :meth:`rows` and were changed in place."""


class SlotMomenta:
    """Each slot's buffer, handed over with its model to the slot's next holder; it is not mixed."""

    def __init__(self, num_slots: int, like: Tensor) -> None:
        self._rows = like.new_zeros(num_slots, like.shape[-1])

    def rows(self, slots: Ints, nodes: Ints) -> Tensor:
        """Return the slots' buffers: a view where the slots follow each other."""
        return select_rows(self._rows, slots)

    def keep(self, slots: Ints, nodes: Ints, rows: Tensor) -> None:
        """Store the slots' buffers."""
        store_rows(self._rows, slots, rows)


class NodeMomenta:
    """Each node's own buffer, which waits where it is; memory for the nodes seen so far."""

    def __init__(self, num_nodes: int, like: Tensor) -> None:
        self._rows = like.new_zeros(0, like.shape[-1])
        self._places = np.full(num_nodes, -1, dtype=np.int64)
        self._used = 0

    def rows(self, slots: Ints, nodes: Ints) -> Tensor:
        """Return the nodes' buffers, zeros for a node that was never active."""
        fresh = nodes[self._places[nodes] < 0]
        self._places[fresh] = np.arange(self._used, self._used + len(fresh))
        self._used += len(fresh)
        if self._used > len(self._rows):
            room = min(len(self._places), max(self._used, 2 * len(self._rows)))
            more = self._rows.new_zeros(room - len(self._rows), self._rows.shape[-1])
            self._rows = torch.cat([self._rows, more])
        return select_rows(self._rows, self._places[nodes])

    def keep(self, slots: Ints, nodes: Ints, rows: Tensor) -> None:
        """Store the nodes' buffers."""
        store_rows(self._rows, self._places[nodes], rows)


def follow_each_other(places: Ints) -> bool:
    """Return whether the places are first, first + 1, first + 2, ..."""
    return bool((np.diff(places) == 1).all())


def select_rows(matrix: Tensor, places: Ints) -> Tensor:
    """Return rows of a matrix: a view where they follow each other, else a copy."""
    if follow_each_other(places):
        return matrix[int(places[0]) : int(places[-1]) + 1]
    return matrix[torch.from_numpy(places).to(matrix.device)]


def store_rows(matrix: Tensor, places: Ints, rows: Tensor) -> None:
    """Write back what :func:`select_rows` gave; nothing to do for a view."""
    if not follow_each_other(places):
        matrix[torch.from_numpy(places).to(matrix.device)] = rows


def check_number(name: str, value: object, below: float = math.inf) -> None:
    """Raise ``PlanError`` unless the value is a finite number from 0, and below a limit."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < below:
        most = "a finite number from 0" if below == math.inf else f"a number from 0, below {below}"
        raise PlanError(f"{name} is {value!r}, allowed is {most}.")
