"""The dense reference: what every runtime must compute. H = train(W @ H), ten lines of numpy."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flwr_gossip.server_free.plans import VACANT, Plan

Vector = NDArray[np.float64]
Train = Callable[[Vector, int, int], ArrayLike]
"""``(z, node, round) -> h``, both of shape (d,)."""


def dense(
    plan: Plan,
    x0: ArrayLike,
    train: Train,
    num_rounds: int,
    missing: Collection[tuple[int, int, int]] = (),
) -> Vector:
    """Return the mixed models Z, (k, d) float64, after round ``num_rounds``.

    ``missing`` names rows that did not arrive as (reader's slot, round, slot): the h of ``slot``
    from ``round``. The rest of the row is renormalised; a row that lost everything takes its own
    slot's h of the round before (``x0`` in round 1). Slots without a holder keep their h.
    """
    h = np.tile(np.asarray(x0, np.float64), (plan.num_slots, 1))
    z = h.copy()
    for round in range(1, num_rounds + 1):
        before = h.copy()
        for slot, node in enumerate(plan.active(round)):
            if node != VACANT:
                h[slot] = train(z[slot].copy(), node, round)
        w = _arrived(plan, round, missing)
        total = w.sum(axis=1, keepdims=True)
        z = np.where(total > 0, w @ h / np.where(total > 0, total, 1.0), before)
    return z


def _arrived(plan: Plan, round: int, missing: Collection[tuple[int, int, int]]) -> Vector:
    """Return W of the round with zeros where a slot has no holder or its h is missing."""
    w = plan.topology.matrix(round)
    w[:, np.array(plan.active(round)) == VACANT] = 0.0
    for reader, when, slot in missing:
        if when == round:
            w[reader, slot] = 0.0
    return w
