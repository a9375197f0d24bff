"""The effective number of neighbors: how many workers' gradients a topology averages.

Vogels, Hendrikx & Jaggi, "Beyond spectral gap (extended)", arXiv:2301.02151, Section 3. In the
random walk ``z <- W (sqrt(gamma) z + noise)`` with unit noise, a worker alone has variance
``1 / (1 - gamma)``; how many times less a worker has among its neighbors is

    n_W(gamma) = [1 / (1 - gamma)] / mean_i Var z_i

1 without edges, n where all nodes average exactly. ``gamma`` says how long information stays of
use: 0 counts one round of averaging, ``n / |W|_F^2``; towards 1 all of a connected graph counts, n.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Literal

import numpy as np

from ..errors import PlanError
from ..topologies import Topology
from .products import ProductVariance
from .variances import (
    Estimate,
    Mode,
    ModeVariance,
    NodeVariance,
    Variance,
    all_modes,
    check_gamma,
)
from .walks import ProbedVariance, WalkVariance

__all__ = [
    "DENSE_LIMIT",
    "Method",
    "effective_neighbors",
    "effective_neighbors_estimate",
    "effective_neighbors_limit",
    "noise_variance",
]

Method = Literal["auto", "spectrum", "lyapunov", "probes", "monte-carlo"]

DENSE_LIMIT = 4_000
"""Most nodes for which (n, n) matrices are made: 128 MB each, up to minutes of one core."""

_FAST_DENSE = 2_000
_METHODS = ("auto", "spectrum", "lyapunov", "probes", "monte-carlo")
_INFINITE = ("ring", "torus")


def effective_neighbors(
    topology: Topology | Variance,
    gamma: float,
    mode: Mode = "mean",
    method: Method = "auto",
    seed: int = 0,
) -> float:
    """Return the effective number of neighbors n_W(gamma), from 1 to n.

    Parameters
    ----------
    topology : Topology or Variance
        A :func:`noise_variance` made before saves its making; then ``mode``, ``method`` and
        ``seed`` are those it was made with.
    gamma : float
        Decay of the walk, 0 <= gamma < 1. For training with learning rate lr on quadratics
        see :func:`quadratic_rate`; for deep learning, :func:`fit_gamma`.
    mode : "mean" or "worst" (default: "mean")
        The variance of the mean node, or of the node with the largest: what
        holds for all workers. The same where all nodes look alike.
    method, seed
        See :func:`noise_variance`.

    Raises
    ------
    PlanError
        For a gamma, mode, method or size that cannot be.
    """
    return effective_neighbors_estimate(topology, gamma, mode, method, seed).value


def effective_neighbors_estimate(
    topology: Topology | Variance,
    gamma: float,
    mode: Mode = "mean",
    method: Method = "auto",
    seed: int = 0,
) -> Estimate:
    """Return n_W(gamma) with its relative standard error (0 where exact) and the method used.

    See :func:`effective_neighbors`.
    """
    check_gamma(gamma)
    if isinstance(topology, Topology):
        topology = noise_variance(topology, mode, method, seed)
    found = topology(gamma)
    return Estimate(1.0 / (1.0 - gamma) / found.value, found.relative_error, found.method)


def noise_variance(
    topology: Topology, mode: Mode = "mean", method: Method = "auto", seed: int = 0
) -> Variance:
    """Return the random walk's variance as a function of gamma, made once for any gamma.

    Parameters
    ----------
    mode : "mean" or "worst" (default: "mean")
        Whose variance; averaged over the phases where W changes from round to round.
    method : str (default: "auto")
        - "spectrum": from eigenvalues, closed form where the topology has one (100,000 nodes in
          milliseconds), else dense for one symmetric W, to ``DENSE_LIMIT`` nodes.
        - "lyapunov": from the covariance of all nodes, any periodic W, to ``DENSE_LIMIT`` nodes.
        - "probes": from random vectors, any W and size, "mean" only; about 1 % standard error.
        - "monte-carlo": simulated walks; slow, and independent of the others.
        - "auto": the first of these that is exact, "probes" beyond 2,000 nodes.
    seed : int (default: 0)
        Of "probes" and "monte-carlo"; the others draw nothing.

    Raises
    ------
    PlanError
        For a mode or method that is not one of these, or that this topology is too large for.
    """
    if mode not in ("mean", "worst"):
        raise PlanError(f"mode is {mode!r}, allowed are 'mean' and 'worst'.")
    if method not in _METHODS:
        raise PlanError(f"method is {method!r}, allowed are {', '.join(_METHODS)}.")
    if method == "monte-carlo":
        return WalkVariance(topology, mode, seed=seed)
    if method == "probes":
        if mode == "worst":
            raise PlanError(_only_mean(topology))
        return ProbedVariance.of(topology, seed=seed)
    if method == "lyapunov":
        return _lyapunov(topology, mode)
    exact = _spectrum(topology, mode, DENSE_LIMIT if method == "spectrum" else _limit(mode))
    if exact is not None:
        return exact
    if method == "spectrum":
        raise PlanError(
            f"topology {topology.spec!r} has no spectrum in closed form and is not one symmetric "
            f"matrix of at most {DENSE_LIMIT} nodes; take method='lyapunov' or 'probes'."
        )
    if topology.period is not None and topology.num_nodes <= _limit(mode):
        return _lyapunov(topology, mode)
    if mode == "worst":
        raise PlanError(_only_mean(topology))
    return ProbedVariance.of(topology, seed=seed)


def _spectrum(topology: Topology, mode: Mode, dense_limit: int) -> Variance | None:
    """Return the variance from eigenvalues, None where there are none to be had."""
    modes = all_modes(topology)
    if modes is not None and (mode == "mean" or all(one.alike for one in modes)):
        return ModeVariance.of([one.energies for one in modes], "closed form")
    if topology.period != 1 or not topology.symmetric or topology.num_nodes > dense_limit:
        return None
    matrix = topology.sparse(1).toarray()
    if mode == "worst":
        return NodeVariance.of(matrix)
    values = np.linalg.eigvalsh(matrix)
    values[-1] = 1.0  # of the constant vector; its rounding would count for gamma near 1
    return ModeVariance.of([values**2], "spectrum")


def _lyapunov(topology: Topology, mode: Mode) -> Variance:
    if topology.period is None or topology.num_nodes > DENSE_LIMIT:
        raise PlanError(
            f"method 'lyapunov' needs a period and at most {DENSE_LIMIT} nodes; topology "
            f"{topology.spec!r} has period {topology.period} and {topology.num_nodes} nodes. "
            "Take method='probes' or 'monte-carlo'."
        )
    return ProductVariance.of(topology, mode)


def _limit(mode: Mode) -> int:
    """Return up to how many nodes dense matrices are worth their time."""
    return DENSE_LIMIT if mode == "worst" else _FAST_DENSE


def _only_mean(topology: Topology) -> str:
    return (
        f"mode 'worst' needs the variance of each of the {topology.num_nodes} nodes of "
        f"{topology.spec!r}, which do not look alike: an (n, n) matrix, allowed to n = "
        f"{DENSE_LIMIT} and where W has a period. Take mode='mean', which lies at or above."
    )


def effective_neighbors_limit(topology: str, gamma: float) -> float:
    """Return n_W(gamma) of an infinite "ring" or "torus": what more workers cannot exceed.

    The eigenvalues fill ``(1 + 2 cos a) / 3`` on a ring, ``(1 + 2 cos a + 2 cos b) / 5`` on a
    torus, and V is the mean of ``x^2 / (1 - gamma x^2)`` over the angles; finite graphs take its
    trapezoidal sum, so they converge to it exponentially. Raises ``PlanError``.
    """
    check_gamma(gamma)
    if topology not in _INFINITE:
        raise PlanError(f"topology is {topology!r}, allowed are 'ring' and 'torus' alone.")
    root = sqrt(gamma)
    # x^2 / (1 - gamma x^2) = [(1/2) (1 / (1 - root x) + 1 / (1 + root x)) - 1] / gamma
    if gamma < 1e-6:  # where that cancels: the first two terms of the series, E x^2 and E x^4
        first, second = (1 / 3, 19 / 81) if topology == "ring" else (1 / 5, 61 / 625)
        variance = first + gamma * second
    else:
        resolvent = _ring_resolvent if topology == "ring" else _torus_resolvent
        variance = ((resolvent(root) + resolvent(-root)) / 2 - 1.0) / gamma
    return 1.0 / (1.0 - gamma) / variance


def _ring_resolvent(root: float) -> float:
    """Return the mean of 1 / (1 - root x) over the ring: 1 / sqrt(a^2 - b^2), residues."""
    return 1.0 / sqrt((1.0 - root) * (1.0 + root / 3))


def _torus_resolvent(root: float) -> float:
    """Return the mean of 1 / (1 - root x) over the torus: one angle by residues, one by number."""
    from scipy.integrate import quad

    def inner(angle: float) -> float:
        a, b = 1.0 - root * (1.0 + 2.0 * np.cos(angle)) / 5, 2.0 * root / 5
        return 1.0 / sqrt((a - b) * (a + b))

    # The angles near 0 matter when root is near 1, over a width of about sqrt(1 - root).
    width = min(4.0 * sqrt(1.0 - abs(root)), pi / 2)
    parts = [
        quad(inner, low, high, epsabs=0.0, epsrel=1e-11, limit=200)[0]
        for low, high in ((0.0, width), (width, pi))
    ]
    return float(sum(parts)) / pi
