"""The exact rate on random quadratics, from the recursion of the workers' covariance.

With C the covariance of the workers' errors and z the noise ratio (see quadratics.py), a local
step of learning rate lr and an exchange make of it

    C <- W ((1 - lr)^2 C + (z - 1) lr^2 diag(C)) W^T                 (derived; arXiv:2301.02151)

since the gradients' noise is independent between workers and grows with each worker's own error.
Nothing but W's double stochasticity is used: no symmetry, and no node need look like another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from .products import mixings
from .variances import ModeVariance, all_modes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["COVARIANCE_LIMIT", "covariance_factor"]

Vector = NDArray[np.float64]

COVARIANCE_LIMIT = 1_000
"""Most nodes for which covariances of all pairs are iterated: about 20 vectors of n^2 numbers."""


def covariance_factor(topology: Topology, noise_ratio: float, learning_rate: float) -> float:
    """Return 1 - r: by what the workers' expected squared error is multiplied a round.

    The p-th root of the spectral radius over a period p. Nodes that look alike: in the basis of
    W's modes, any n. Else dense, to ``COVARIANCE_LIMIT`` nodes; beyond that, and where a fresh W
    has no modes in closed form, ``PlanError``.
    """
    keep, noise = (1.0 - learning_rate) ** 2, (noise_ratio - 1.0) * learning_rate**2
    modes = all_modes(topology)
    if modes is not None and all(one.alike for one in modes):
        shared = ModeVariance.of([one.energies for one in modes], "closed form")
        period, start = _of_modes(shared, keep, noise), np.ones(shared.counts.size)
    elif topology.period is not None and topology.num_nodes <= COVARIANCE_LIMIT:
        phases = mixings(topology, topology.period)
        period, start = _of_nodes(phases, keep, noise), np.eye(topology.num_nodes).ravel()
    else:
        raise PlanError(
            f"method 'covariance' needs nodes that look alike, or a period and at most "
            f"{COVARIANCE_LIMIT} nodes; topology {topology.spec!r} has period {topology.period} "
            f"and {topology.num_nodes} nodes. Take method='fixed-point'."
        )
    return float(_radius(period, start) ** (1.0 / (topology.period or 1)))


def _of_modes(shared: ModeVariance, keep: float, noise: float) -> Callable[[Vector], Vector]:
    """Return the map of a period on C's eigenvalues; diag(C) is their mean for every node."""
    shares = shared.counts / shared.num_nodes

    def period(variances: Vector) -> Vector:
        for energy in shared.energies:
            variances = energy * (keep * variances + noise * float(shares @ variances))
        return variances

    return period


def _of_nodes(
    phases: list[csr_array | Vector], keep: float, noise: float
) -> Callable[[Vector], Vector]:
    """Return the map of a period on C, flattened."""
    size = phases[0].shape[0]

    def period(flat: Vector) -> Vector:
        covariance = flat.reshape(size, size)
        for w in phases:
            stepped = keep * covariance
            stepped[np.diag_indices(size)] += noise * covariance.diagonal()
            covariance = np.asarray(w @ np.asarray(w @ stepped).T).T
        return covariance.ravel()

    return period


def _radius(action: Callable[[Vector], Vector], start: Vector) -> float:
    """Return the spectral radius of a linear map that keeps covariances covariances.

    Its eigenvector is a covariance too (Krein & Rutman), which ``start`` is not orthogonal to.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    if not action(start).any():
        return 0.0  # lr 1 without noise
    size = start.size
    if size <= 64:
        columns = np.stack([action(unit) for unit in np.eye(size)], axis=1)
        return float(np.abs(np.linalg.eigvals(columns)).max())
    operator = LinearOperator((size, size), matvec=lambda x: action(x.ravel()), dtype=np.float64)
    try:
        values = eigs(operator, k=1, v0=start, tol=1e-10, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise PlanError(
            "the covariance's rate did not converge; take method='fixed-point'."
        ) from error
    return float(np.abs(values).max())
