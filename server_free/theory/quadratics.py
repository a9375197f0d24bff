"""Random isotropic quadratics: how fast a topology trains, and with which learning rate.

The toy problem of Vogels, Hendrikx & Jaggi, "Beyond spectral gap (extended)", arXiv:2301.02151,
Section 3. All n workers minimize the same quadratic with stochastic gradients g of mean x and
``E |g|^2 = z |x|^2``; z >= 1 is the noise ratio. One worker's error then shrinks by
``1 - r = (1 - lr)^2 + (z - 1) lr^2`` a round. Averaging divides the noise:

    1 - r = (1 - lr)^2 + (z - 1) lr^2 / n_W(gamma),    gamma = (1 - lr)^2 / (1 - r)       (1)

How that is solved. With ``n_W = 1 / ((1 - gamma) V)``, V the variance of the random walk, (1) is

    1 - r = (z - 1) lr^2 V(gamma)                                                         (2)
    (z - 1) gamma V(gamma) = ((1 - lr) / lr)^2                                            (3)

The left side of (3) rises from 0 without bound, so gamma is unique for each learning rate; and a
gamma gives lr <= 1 and r directly, so the best learning rate is a minimum over gamma.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isfinite, log, sqrt
from typing import Literal

from ..errors import PlanError
from ..topologies import Topology
from .covariances import covariance_factor
from .neighbors import noise_variance
from .variances import Mode, Variance

__all__ = ["best_learning_rate", "best_rate", "noise_ratio", "quadratic_rate"]

_GRID = 48


def noise_ratio(dimension: int, batch_size: int) -> float:
    """Return z = (1 + B + D) / B of normally distributed data.

    For ``f(x) = (1/2) (a . x)^2`` with a ~ N(0, I), ``dimension`` D, mean over B samples a step.
    """
    if dimension < 1 or batch_size < 1:
        raise PlanError(
            f"dimension is {dimension} and batch_size is {batch_size}, allowed are 1 or more."
        )
    return (1 + batch_size + dimension) / batch_size


def quadratic_rate(
    topology: Topology | Variance,
    noise_ratio: float,
    learning_rate: float,
    method: Literal["fixed-point", "covariance"] = "fixed-point",
    mode: Mode | None = None,
) -> float:
    """Return r: the expected squared error of the workers shrinks by 1 - r a round.

    Parameters
    ----------
    topology : Topology or Variance
        For the fixed point also a :func:`noise_variance`, whose own mode then counts.
    noise_ratio : float
        z >= 1; for normal data see :func:`noise_ratio`.
    learning_rate : float
        Above 0, relative to the curvature: 1 jumps to the minimum when there is no noise.
    method : "fixed-point" or "covariance" (default: "fixed-point")
        Equation (1), or the spectral radius of the exact recursion of the workers' covariance,
        ``C <- W ((1 - lr)^2 C + (z - 1) lr^2 diag C) W^T`` over a period. They agree where all
        nodes look alike under one W, and to about six digits where that changes. Where nodes
        differ the covariance is dense: seconds at 1,000 nodes, minutes where they mix slowly.
    mode : "mean" or "worst", optional
        Of n_W in (1). By default "worst", as in the paper, for one W: where that is symmetric,
        the exact rate lies between the two (derived), near the lower one of "worst". Where W
        changes, "mean": nodes that wait in some of the rounds (base-graph) make "worst" far too
        careful, by a third of the rate at its best, and "mean" is within about 5 % of it.

    Returns
    -------
    float
        At most 1; negative where training diverges.

    Raises
    ------
    PlanError
        For values that cannot be, or a topology too large for the method.
    """
    _check_noise(noise_ratio)
    if not (isfinite(learning_rate) and learning_rate > 0):
        raise PlanError(f"learning_rate is {learning_rate}, allowed is a number above 0.")
    if method == "covariance" and isinstance(topology, Topology):
        return 1.0 - covariance_factor(topology, noise_ratio, learning_rate)
    if method != "fixed-point":
        raise PlanError(
            f"method is {method!r}, allowed are 'fixed-point' and, given a topology, 'covariance'."
        )
    if noise_ratio == 1.0:
        return 1.0 - (1.0 - learning_rate) ** 2
    variance = _as_variance(topology, mode)
    gamma = _gamma(variance, noise_ratio, ((1.0 - learning_rate) / learning_rate) ** 2)
    if gamma > 0.5:  # the same number as (2), exact also for gamma near 1
        return 1.0 - (1.0 - learning_rate) ** 2 / gamma
    return 1.0 - (noise_ratio - 1.0) * learning_rate**2 * variance(gamma).value  # (2)


def best_learning_rate(
    topology: Topology | Variance, noise_ratio: float, mode: Mode | None = None
) -> float:
    """Return the learning rate in (0, 1] with the largest :func:`quadratic_rate`.

    It rises with the effective number of neighbors: from ``1 / z`` alone to
    ``1 / (1 + (z - 1) / n)`` where all average exactly. Parameters as there.
    """
    return _best(topology, noise_ratio, mode)[0]


def best_rate(topology: Topology | Variance, noise_ratio: float, mode: Mode | None = None) -> float:
    """Return r at :func:`best_learning_rate`: the most that the error can shrink a round."""
    return _best(topology, noise_ratio, mode)[1]


def _best(
    topology: Topology | Variance, noise_ratio: float, mode: Mode | None
) -> tuple[float, float]:
    """Return the best learning rate and its r, to about 8 digits."""
    from scipy.optimize import minimize_scalar

    _check_noise(noise_ratio)
    if noise_ratio == 1.0:
        return 1.0, 1.0
    variance = _as_variance(topology, mode)

    def solved(time: float) -> tuple[float, float]:
        gamma = 1.0 - exp(-time)
        v = (noise_ratio - 1.0) * variance(gamma).value
        learning_rate = 1.0 / (1.0 + sqrt(gamma * v))  # (3)
        return learning_rate, v * learning_rate**2  # (2)

    # A grid first, over the walk's memory 1 / (1 - gamma) up to far above the noise ratio's: two
    # time scales in a topology can make two minima.
    times = [log(1e3 * noise_ratio) * i / _GRID for i in range(_GRID + 1)]
    best = min(times, key=lambda time: solved(time)[1])
    step = times[1]
    found = minimize_scalar(
        lambda time: solved(time)[1],
        bounds=(max(best - step, 0.0), best + step),
        method="bounded",
        options={"xatol": 1e-9},
    )
    learning_rate, factor = solved(float(found.x))
    return learning_rate, 1.0 - factor


def _gamma(variance: Variance, noise_ratio: float, ratio: float) -> float:
    """Return the gamma at which ``(z - 1) gamma V(gamma)`` is ``ratio``, (3)."""
    from scipy.optimize import brentq

    if ratio == 0.0:
        return 0.0
    noise, n = noise_ratio - 1.0, variance.num_nodes

    def excess(gamma: float) -> float:
        return log(noise * gamma * variance(gamma).value / ratio)

    # V lies between 1 / (n (1 - gamma)) and 1 / (1 - gamma).
    low, high = ratio / (ratio + noise), ratio / (ratio + noise / n)
    return _between(brentq, excess, low * (1 - 1e-12), min(high * (1 + 1e-12), 1 - 1e-16))


def _between(
    solver: Callable[..., float], function: Callable[[float], float], low: float, high: float
) -> float:
    """Return the root in [low, high], which may be an end of it up to rounding."""
    if function(low) >= 0:
        return low
    if function(high) <= 0:
        return high
    return float(solver(function, low, high, xtol=1e-15, rtol=1e-14))


def _as_variance(topology: Topology | Variance, mode: Mode | None) -> Variance:
    if not isinstance(topology, Topology):
        return topology
    return noise_variance(topology, mode or ("worst" if topology.period == 1 else "mean"))


def _check_noise(noise_ratio: float) -> None:
    if not (isfinite(noise_ratio) and noise_ratio >= 1.0):
        raise PlanError(f"noise_ratio is {noise_ratio}, allowed is a number from 1.")
