"""Mixing: z = sum_r W[s, r] h[r], in the models' own dtypes.

Equation (1) of decentralized SGD (Lian et al. 2017, arXiv:1705.09056) on whatever rows
arrived. :class:`Mixture` is the one place where weights meet arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .models import Model

Array = NDArray[np.generic]

__all__ = ["Mixture", "mix", "renormalized"]

BLOCK = 1 << 15
"""Numbers that are added at a time."""
ROUNDING = 1e-14


def renormalized(weights: Mapping[int, float]) -> dict[int, float]:
    """Return the weights divided by their sum: a row of W with the missing masked.

    When all that is left has weight 0, the rows count equally.
    """
    total = sum(weights.values())
    if total <= 0.0:
        return dict.fromkeys(weights, 1.0 / max(len(weights), 1))
    return {slot: weight / total for slot, weight in weights.items()}


def mix(models: Mapping[int, Model], weights: Mapping[int, float], own: int) -> dict[str, Array]:
    """Return the weighted sum of the models, added in slot order.

    Parameters
    ----------
    models : mapping of slot to Model
        Half-step models, all with the names, shapes and dtypes of the first (a tensor that
        some do not have is averaged over those that have it).
    weights : mapping of slot to float
        One non-negative weight for each model; what is missing from sum 1 is shared out.
    own : int
        The slot whose bool and integer tensors are kept; when its model is missing, those
        of the lowest slot are.

    Returns
    -------
    dict of str to ndarray
        Float tensors mixed in their own dtype (half precision accumulates in
        float32); bool and integer tensors copied. Shapes, 0-d and empty included, stay.
    """
    if not models or models.keys() != weights.keys():
        raise ModelError(f"mix: models of slots {list(models)}, weights of {list(weights)}.")
    mixture = Mixture(own)
    for slot in sorted(models):
        mixture.add(slot, models[slot], weights[slot])
    return mixture.finish()


class Mixture:
    """The weighted sum of models that are added one by one, in slot order; see :func:`mix`.

    A model is not needed any more once it is added: of all that were, one of their size is kept.
    """

    def __init__(self, own: int) -> None:
        self._own, self._last = own, -1
        self._own_names: list[str] = []
        self._sums: dict[str, _Sum] = {}

    def shape_of(self, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]] | None:
        """Return shape and dtype of a tensor that was added, None if none of this name was."""
        added = self._sums.get(name)
        return None if added is None else (added.shape, added.dtype)

    def add(self, slot: int, model: Model, weight: float) -> None:
        """Add the model of ``slot``, which must be higher than the last one added."""
        if slot <= self._last:
            raise ModelError(f"slot {slot} is mixed after slot {self._last}.")
        self._last = slot
        if slot == self._own:
            self._own_names = list(model)
        for name, array in model.items():
            if name not in self._sums:
                self._sums[name] = _Sum(array)
            self._sums[name].add(array, weight, keep=slot == self._own)

    def finish(self) -> dict[str, Array]:
        """Return the mixed model; once."""
        names = dict.fromkeys([*self._own_names, *self._sums])
        return {name: self._sums.pop(name).finish() for name in names}


class _Sum:
    """One tensor: a weighted sum, or of whole numbers those that are kept."""

    def __init__(self, first: Array) -> None:
        self.shape, self.dtype = first.shape, first.dtype
        self._is_float = first.dtype.kind == "f"
        self._wide = np.result_type(first.dtype, np.float32)
        self._total: NDArray[Any] | None = None
        self._weight, self._zeros = 0.0, 0

    def add(self, array: Array, weight: float, *, keep: bool) -> None:
        if not self._is_float:
            if keep or self._total is None:
                self._total = array.copy()
        elif weight > 0.0:
            self._put(array, weight, anew=self._weight == 0.0)
            self._weight += weight
        elif self._weight == 0.0:  # should all weights be zero, they count equally
            self._put(array, 1.0, anew=self._zeros == 0)
            self._zeros += 1

    def _put(self, array: Array, weight: float, *, anew: bool) -> None:
        wide = self._wide
        if self._total is None:
            self._total = np.empty(self.shape, wide)
        if anew:
            np.multiply(array, weight, out=self._total, dtype=wide)
        elif array.size <= BLOCK or not array.flags.c_contiguous:
            self._total += np.multiply(array, weight, dtype=wide)
        else:  # block by block: no second array of this size, and the numbers stay in the cache
            total, flat = self._total.reshape(-1), array.reshape(-1)
            for start in range(0, flat.size, BLOCK):
                part = slice(start, start + BLOCK)
                total[part] += np.multiply(flat[part], weight, dtype=wide)

    def finish(self) -> Array:
        if self._total is None:
            raise ModelError("nothing was added.")
        if not self._is_float:
            return self._total
        weight = self._weight or float(self._zeros)
        if abs(weight - 1.0) > ROUNDING:  # some are missing: what is left is shared out
            self._total *= 1.0 / weight
        return self._total.astype(self.dtype, copy=False)
