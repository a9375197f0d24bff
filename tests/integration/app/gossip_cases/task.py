"""The model and its training: a pure function of (vector, node, round), known to the tests too.

Every element of the vector is trained by itself, so a probe of some elements can be recomputed
without the others.
"""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

Vector = NDArray[np.float64]

PROBE = 11
"""How many elements, from the first, the clients report of each model they are given."""


def initial(size: int) -> ArrayRecord:
    """Return the float32 model of ``size`` elements, at least `PROBE`, that a case starts from."""
    return to_record(np.random.default_rng(7).normal(size=size))


def to_record(vector: Vector) -> ArrayRecord:
    """Return a matrix, a scalar, a tensor without elements and a body, all float32."""
    flat = vector.astype(np.float32)
    tensors = {
        "matrix": flat[:6].reshape(2, 3),
        "scale": flat[6:7].reshape(()),
        "empty": flat[:0].reshape(0, 2),
        "body": flat[7:],
    }
    return ArrayRecord({name: Array(np.asarray(tensor)) for name, tensor in tensors.items()})


def to_vector(record: ArrayRecord) -> Vector:
    """Return all tensors of a record as one vector."""
    return np.concatenate([array.numpy().astype(np.float64).ravel() for array in record.values()])


def local_update(z: Vector, node: int, round: int) -> Vector:
    """Return h: a gradient step on the node's own quadratic, a little different in each round."""
    curvature = 1.0 + 0.5 * np.cos(np.arange(z.size) + node)
    target = np.sin(np.arange(z.size) * (node + 1.0) + 0.1 * round)
    return np.asarray(z - 0.2 * curvature * (z - target))
