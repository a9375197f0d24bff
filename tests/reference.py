"""The dense reference: what every runtime must compute. H = train(W @ H), ten lines of numpy."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flwr_gossip.server_free.plans import VACANT, Plan

Vector = NDArray[np.float64]
Train = Callable[[Vector, int, int], ArrayLike]
"""``(z, node, round) -> h``, both of shape (d,)."""
Code = Callable[[Vector, int, int], ArrayLike]
"""``(h, slot, round) -> h`` as it is after its way to the readers, (d,)."""


def dense(
    plan: Plan,
    x0: ArrayLike,
    train: Train,
    num_rounds: int,
    missing: Collection[tuple[int, int, int]] = (),
    code: Code | None = None,
) -> Vector:
    """Return the mixed models Z, (k, d) float64, after round ``num_rounds``.

    ``missing`` names rows that did not arrive as (reader's slot, round, slot): the h of ``slot``
    from ``round``. The rest of the row is renormalised; a row that lost everything takes its own
    slot's h of the round before (``x0`` in round 1). Slots without a holder keep their h.
    ``code`` says what the readers of an h see, its own slot included.
    """
    h = np.tile(np.asarray(x0, np.float64), (plan.num_slots, 1))
    z = h.copy()
    for round in range(1, num_rounds + 1):
        before = h.copy()
        for slot, node in enumerate(plan.active(round)):
            if node != VACANT:
                h[slot] = train(z[slot].copy(), node, round)
                if code is not None:
                    h[slot] = code(h[slot], slot, round)
        w = _arrived(plan, round, missing)
        total = w.sum(axis=1, keepdims=True)
        z = np.where(total > 0, w @ h / np.where(total > 0, total, 1.0), before)
    return z


def choco(
    plan: Plan,
    x0: ArrayLike,
    train: Train,
    num_rounds: int,
    code: Code,
    missing: Collection[tuple[int, int, int]] = (),
) -> Vector:
    """Return Z as :func:`dense` does, where coded differences travel and copies are mixed.

    X = X + Q(H - X); Z = W X + (H - X). A slot whose own copy is lost, or that had no holder,
    begins anew with X = H, and what was cut off before is lost.
    """
    h = np.tile(np.asarray(x0, np.float64), (plan.num_slots, 1))
    x, z = h.copy(), h.copy()
    begins = np.zeros(plan.num_slots, bool)
    for round in range(1, num_rounds + 1):
        before, w = x.copy(), _arrived(plan, round, missing)
        for slot, node in enumerate(plan.active(round)):
            if node != VACANT:
                h[slot] = train(z[slot].copy(), node, round)
                x[slot] = (
                    h[slot] if begins[slot] else x[slot] + code(h[slot] - x[slot], slot, round)
                )
        total = w.sum(axis=1, keepdims=True)
        own = np.diag(w)[:, None] > 0
        mixed = w @ x / np.where(total > 0, total, 1.0) + np.where(own, h - x, 0.0)
        z = np.where(total > 0, mixed, before)
        begins = ~own[:, 0]
    return z


def _arrived(plan: Plan, round: int, missing: Collection[tuple[int, int, int]]) -> Vector:
    """Return W of the round with zeros where a slot has no holder or its h is missing."""
    w = plan.topology.matrix(round)
    w[:, np.array(plan.active(round)) == VACANT] = 0.0
    for reader, when, slot in missing:
        if when == round:
            w[reader, slot] = 0.0
    return w
