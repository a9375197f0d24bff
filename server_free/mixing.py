"""Mixing: z = sum_r W[s, r] h[r], in the models' own dtypes.

Equation (1) of decentralized SGD (Lian et al. 2017, arXiv:1705.09056) on whatever rows
arrived. :func:`mix` is the one place where weights meet arrays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .models import Model

Array = NDArray[np.generic]

__all__ = ["mix", "renormalized"]


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
    slots = sorted(models)
    keeper = models[own if own in models else slots[0]]
    names = dict.fromkeys(name for slot in [own, *slots] if slot in models for name in models[slot])
    shares = renormalized({slot: weights[slot] for slot in slots})
    mixed: dict[str, Array] = {}
    for name in names:
        holders = [slot for slot in slots if name in models[slot]]
        kept = keeper[name] if name in keeper else models[holders[0]][name]
        if kept.dtype.kind == "f":
            some = len(holders) < len(slots)
            held = renormalized({slot: weights[slot] for slot in holders}) if some else shares
            mixed[name] = _weighted_sum(
                [models[slot][name] for slot in holders], [held[slot] for slot in holders]
            )
        else:
            mixed[name] = kept.copy()
    return mixed


def _weighted_sum(arrays: list[Array], weights: list[float]) -> Array:
    dtype = arrays[0].dtype
    wide = np.result_type(dtype, np.float32)
    # np.multiply gives a scalar for 0-d input; np.asarray keeps it an array of that shape.
    total = np.asarray(np.multiply(arrays[0], weights[0], dtype=wide))
    for array, weight in zip(arrays[1:], weights[1:], strict=True):
        total += np.multiply(array, weight, dtype=wide)
    return total.astype(dtype, copy=False)
