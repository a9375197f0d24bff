"""What the codec of a strategy makes of a vector, for the dense reference."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import ArrayLike

from flwr_gossip.server_free.coding import Codec, coded, decoded
from flwr_gossip.server_free.draws import words
from flwr_gossip.server_free.models import Model
from flwr_gossip.server_free.plans import Plan
from reference import Code, Train, Vector, choco, dense

__all__ = ["reference"]


def reference(
    plan: Plan,
    x0: ArrayLike,
    train: Train,
    num_rounds: int,
    missing: Collection[tuple[int, int, int]],
    *,
    codec: str,
    seed: int,
    tensors: Callable[[Vector], Model],
) -> Vector:
    """Return Z as ``dense`` or ``choco`` computes it; ``tensors`` makes a model of a vector."""
    chosen = Codec(codec)
    if chosen.numbers is None:
        return dense(plan, x0, train, num_rounds, missing)
    code = _code(chosen, seed, tensors)
    if chosen.feeds_back:
        return choco(plan, x0, train, num_rounds, code, missing)
    return dense(plan, x0, train, num_rounds, missing, code)


def _code(codec: Codec, seed: int, tensors: Callable[[Vector], Model]) -> Code:
    def code(vector: Vector, slot: int, round: int) -> Vector:
        bits = None if codec.feeds_back else words(seed, round, f"coding {slot}")
        assert codec.numbers is not None
        seen = decoded(coded(tensors(vector), codec.numbers, bits))
        return np.concatenate([array.astype(np.float64).ravel() for array in seen.values()])

    return code
