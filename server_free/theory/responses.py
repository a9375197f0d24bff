"""How a topology answers gradient noise and fixed differences between the nodes, round by round.

On ``f_i(x) = 1/2 |x - b_i|^2`` the error of D-SGD is linear in what goes in (arXiv:1705.09056):

    e_t = W_t ((1 - eta) e_{t-1} + eta u_t) = sum_j (1 - eta)^j eta P_{t,j} u_{t-j}          (1)
    P_{t,j} = W_t W_{t-1} ... W_{t-j},        j = 0 .. t-1

A :class:`Response` says how far the slots lie apart after t rounds, for two inputs of variance 1 a
slot: *noise*, a new independent u each round, and *drift*, one u that stays. ``J = 11^T / k``:

    noise = eta^2 sum_j (1 - eta)^(2j) |P_{t,j} - J|_F^2 / k                                  (2)
    drift = eta^2 |sum_j (1 - eta)^j (P_{t,j} - J)|_F^2 / k                                   (3)

What they share, the constant vector, is the same for every topology and left out here.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from ..topologies.base import Modes
from .mode_responses import ModeResponse
from .product_responses import ProductResponse
from .variances import all_modes

__all__ = ["Counts", "Response", "Vector", "response"]

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

_DENSE = 4_096


class Response(Protocol):
    """Mean squared distance to the slots' mean, by input of variance 1, round and rate."""

    def noise(self, rounds: Counts, rates: Vector) -> Vector:
        """Return (2), (R, L), after ``rounds`` (R,), 0 or more, at ``rates`` (L,) within (0, 2)."""

    def drift(self, rounds: Counts, rates: Vector) -> Vector:
        """Return (3), (R, L), as :meth:`noise`."""


def response(topology: Topology, num_rounds: int) -> Response:
    """Return the response of a topology, for rounds 0..num_rounds.

    In closed form where the topology has one; from the eigenvalues of one symmetric W (dense, up
    to 4,096 slots); else from products of matrices: exact up to 256 slots, beyond by random probes
    with a relative standard error of about sqrt(2 / 2^18), 0.3 %.

    Raises ``PlanError`` where a fresh W has no closed form or a symmetric W is too large; a
    response from products also when asked for more rounds than products could be followed for.
    """
    modes = all_modes(topology)
    if modes is not None:
        return ModeResponse.of(modes)
    if topology.period is None:
        raise PlanError(
            f"topology {topology.spec!r} draws each W afresh and states no modes, so its "
            "expected errors are not known; simulate it instead."
        )
    if topology.period == 1 and topology.symmetric:
        return ModeResponse.of([_spectrum(topology)])
    return ProductResponse.of(topology, num_rounds)


def _spectrum(topology: Topology) -> Modes:
    """Return the modes of one symmetric W, the constant vector's 1 first."""
    if topology.num_nodes > _DENSE:
        raise PlanError(
            f"topology {topology.spec!r} has {topology.num_nodes} nodes and no closed form, "
            f"allowed are up to {_DENSE}, whose eigenvalues can be computed."
        )
    # Without J the constant vector has eigenvalue 0; an eigenvalue 0 is taken out for it.
    values = np.linalg.eigvalsh(topology.sparse(1).toarray() - 1.0 / topology.num_nodes)
    others = np.delete(values, np.abs(values).argmin())
    return Modes.of(np.append(1.0, others), alike=False)
