"""Consensus distance without the models: a count-sketch of each slot's mixed model.

A count-sketch S (Charikar, Chen & Farach-Colton, ICALP 2002) adds every coordinate, with a
random sign, into one of m buckets. ``E ||S x||^2 = ||x||^2`` and
``Var ||S x||^2 <= (2/m) ||x||^4``, and S is linear, so the mean of ``||S z_i - mean S z||^2``
estimates the consensus distance ``(1/k) sum ||z_i - mean z||^2`` with relative error about
sqrt(2/m). Signs and buckets are a function of the seed alone, the same on every node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .models import Model

__all__ = ["NUM_BUCKETS", "consensus_distance", "estimate", "sketch"]

NUM_BUCKETS = 1024
"""Default m: a power of two, 4 KiB a slot as float32, relative error about 4.4 %."""

_CHUNK = 1 << 18


def sketch(model: Model, seed: int, num_buckets: int = NUM_BUCKETS) -> NDArray[np.float64]:
    """Return the count-sketch of all float tensors, (num_buckets,) float64, in O(d).

    Parameters
    ----------
    model : Model
        Tensors in an order that is the same on every node; bool and int ones are left out.
    seed : int
        Same seed, same signs and buckets.
    num_buckets : int (default: 1024)
        m, a power of two, at least 256.
    """
    if num_buckets < 256 or num_buckets & (num_buckets - 1):
        raise ModelError(f"num_buckets is {num_buckets}, allowed is a power of two from 256.")
    buckets = np.zeros(num_buckets)
    start = 0
    for part in _parts(model):
        signs, places = _draw(seed, num_buckets, start, part.size)
        buckets += np.bincount(places, weights=signs * part, minlength=num_buckets)
        start += part.size
    return buckets


@lru_cache(maxsize=8)
def _draw(
    seed: int, num_buckets: int, start: int, size: int
) -> tuple[NDArray[np.int8], NDArray[np.unsignedinteger]]:
    """Return signs and buckets of ``size`` coordinates from ``start`` on.

    Nodes that share a process draw them once for models of up to 2 million: some 6 MiB are kept.
    """
    digest = hashlib.sha256(f"flwr-gossip sketch {seed}".encode()).digest()
    bits = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8"))
    bits.advance(start // 4)  # Philox makes 4 words at a time
    words = bits.random_raw(start % 4 + size)[start % 4 :]
    signs = np.where(words >> np.uint64(63), np.int8(-1), np.int8(1))
    return signs, (words & np.uint64(num_buckets - 1)).astype(np.min_scalar_type(num_buckets - 1))


def estimate(sketches: Sequence[NDArray[np.float64]]) -> float:
    """Return the estimated consensus distance of the models behind the sketches."""
    if not sketches:
        raise ModelError("estimate: there is no sketch; at least one slot must report.")
    stacked = np.stack([np.asarray(one, dtype=np.float64) for one in sketches])
    return float(np.square(stacked - stacked.mean(axis=0)).sum(axis=1).mean())


def consensus_distance(models: Sequence[Model]) -> float:
    """Return the exact consensus distance (1/k) sum ||z_i - mean z||^2; the reference."""
    flat = np.stack([np.concatenate([*_parts(model), np.zeros(0)]) for model in models])
    return float(np.square(flat - flat.mean(axis=0)).sum(axis=1).mean())


def _parts(model: Model) -> Iterator[NDArray[np.float64]]:
    """Yield all float coordinates in order, in pieces that bound memory."""
    for array in model.values():
        if np.issubdtype(array.dtype, np.floating):
            flat = array.reshape(-1)
            for start in range(0, flat.size, _CHUNK):
                yield flat[start : start + _CHUNK].astype(np.float64)
