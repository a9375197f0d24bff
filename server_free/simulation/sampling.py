"""Batches: which of its samples a node uses in a round, from (seed, round, step, node) alone.

The words are those of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014) with one stream a node, computed for all nodes at once. A batch is a
uniformly random subset by R. Floyd's algorithm (Bentley, "Programming pearls", CACM 30(9), 1987):
without replacement inside a batch, and independent between steps, rounds and nodes.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_batches"]

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def draw_batches(
    seed: int, round: int, num_steps: int, nodes: Ints, sizes: Ints, batch_size: int
) -> Ints:
    """Return the samples of each node's batches in a round, as positions in its own data.

    Parameters
    ----------
    seed, round : int
        The only other sources of the draw, besides the node itself.
    num_steps : int
        Local steps a round, each with a batch of its own.
    nodes, sizes : (c,) int64
        The nodes, and how many samples each has: ``batch_size`` or more.
    batch_size : int
        Samples a batch. A node with exactly so many uses all of them, in order.

    Returns
    -------
    (num_steps, c, batch_size) int64
        Different positions in 0..size-1. Each subset is equally likely, up to 2^-53 * size.
    """
    shape = (num_steps, len(nodes), batch_size)
    if len(sizes) and (sizes == batch_size).all():
        return np.broadcast_to(np.arange(batch_size), shape).copy()
    uniforms = _uniforms(seed, round, num_steps, nodes, batch_size)
    drawn = np.empty_like(uniforms, dtype=np.int64)
    for place, uniform in enumerate(uniforms):
        last = sizes - batch_size + place
        # Floyd: one of 0..last; if it is there already, `last`, which cannot be there yet.
        picked = (uniform * (last + 1)).astype(np.int64)
        taken = (drawn[:place] == picked).any(axis=0)
        drawn[place] = np.where(taken, last, picked)
    return np.moveaxis(drawn, 0, -1)


def _uniforms(
    seed: int, round: int, num_steps: int, nodes: Ints, count: int
) -> NDArray[np.float64]:
    """Return (count, num_steps, c) float64 in [0, 1), multiples of 2^-53."""
    digest = hashlib.sha256(f"flwr-gossip batch {seed} {round}".encode()).digest()
    key = np.frombuffer(digest[:8], dtype="<u8").astype(np.uint64)
    steps = _mixed(key + _GAMMA * np.arange(1, num_steps + 1, dtype=np.uint64))
    streams = _mixed(steps[:, None] + _GAMMA * (nodes.astype(np.uint64) + np.uint64(1)))
    places = _GAMMA * np.arange(1, count + 1, dtype=np.uint64)
    words = _mixed(places[:, None, None] + streams)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(words: Words) -> Words:
    """Return SplitMix64's output function of each word (wrapping multiplications)."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))
