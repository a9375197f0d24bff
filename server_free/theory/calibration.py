"""Which gamma describes a training: fitted to losses that were measured.

Vogels, Hendrikx & Jaggi, "Beyond spectral gap (extended)", arXiv:2301.02151, Section 5. Complete
graphs of 1, 2, 4, 8, ... workers have that many effective neighbors whatever gamma, so their
losses make a curve loss(n_W). Gamma is such that the losses of other topologies lie on the curve
at their n_W(gamma). One gamma then predicts topologies that were never trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from .neighbors import effective_neighbors, noise_variance
from .variances import Mode, Variance

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

__all__ = ["Calibration", "Fitted", "fit_gamma"]

_GRID = 200
_LONGEST = log(1e5)  # gamma up to 1 - 1e-5
_EDGE = 1e-3
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Fitted:
    """One topology beside the curve of the complete graphs.

    Parameters
    ----------
    topology : Topology
    loss : float
        As measured.
    neighbors : float
        n_W(gamma).
    predicted : float
        The loss of a complete graph of so many workers, by interpolation.
    """

    topology: Topology
    loss: float
    neighbors: float
    predicted: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What :func:`fit_gamma` found.

    Parameters
    ----------
    gamma : float
        The decay at which n_W explains the losses best.
    residual : float
        Root mean square of predicted minus measured losses, in the losses' own unit.
    topologies : tuple of Fitted
        In the order given.
    """

    gamma: float
    residual: float
    topologies: tuple[Fitted, ...]


@dataclass(frozen=True, slots=True)
class _Curve:
    """Loss of complete graphs over log n: monotone pieces, level beyond the ends."""

    pieces: PchipInterpolator
    least: float
    most: float

    def __call__(self, neighbors: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.clip(neighbors, self.least, self.most)
        return np.asarray(self.pieces(np.log(inside)), dtype=np.float64)


def fit_gamma(
    complete_losses: Mapping[int, float],
    losses: Mapping[Topology, float] | Sequence[tuple[Topology, float]],
    mode: Mode = "mean",
) -> Calibration:
    """Return the gamma in (0, 1) at which the topologies' losses lie on the complete graphs' curve.

    Parameters
    ----------
    complete_losses : mapping of int to float
        Number of workers -> loss, for two or more complete graphs; 1 is training alone. Same
        model, data, learning rate and number of steps as the others, at any fixed learning rate.
    losses : mapping of Topology to float, or (topology, loss) pairs
        At least one topology whose n_W depends on gamma (not "complete", not "alone").
    mode : "mean" or "worst" (default: "mean")
        Of n_W.

    Raises
    ------
    PlanError
        For too few or non-finite losses, numbers of workers below 1, losses that do not determine
        gamma, and a result for which the curve would have to be extended.

    Notes
    -----
    Least squares in the losses; the interpolation is monotone between neighbouring points (PCHIP)
    in log n. Warns with ``UserWarning`` where the curve goes up and down (noise in the losses, or
    a learning rate too low for averaging to matter), and where gamma comes out at 0 or 1.
    """
    pairs = list(losses.items()) if isinstance(losses, Mapping) else list(losses)
    curve = _curve(complete_losses)
    _check(pairs)
    measured = np.array([loss for _, loss in pairs])
    variances = [noise_variance(topology, mode) for topology, _ in pairs]

    def squares(time: float) -> float:
        return float(np.square(curve(_neighbors(variances, time)) - measured).sum())

    time = _lowest(squares)
    if not _EDGE < time < _LONGEST - _EDGE:
        warnings.warn(
            f"gamma comes out at {1.0 - exp(-time):.6g}, the end of what is searched: no gamma "
            "explains these losses.",
            stacklevel=2,
        )
    neighbors = _neighbors(variances, time)
    _check_inside(pairs, neighbors, curve)
    fitted = tuple(
        Fitted(topology, loss, float(n), float(predicted))
        for (topology, loss), n, predicted in zip(pairs, neighbors, curve(neighbors), strict=True)
    )
    return Calibration(1.0 - exp(-time), float(np.sqrt(squares(time) / len(pairs))), fitted)


def _neighbors(variances: Sequence[Variance], time: float) -> NDArray[np.float64]:
    """Return n_W of each at gamma = 1 - exp(-time)."""
    return np.array([effective_neighbors(variance, 1.0 - exp(-time)) for variance in variances])


def _lowest(squares: Callable[[float], float]) -> float:
    """Return where the squares are least: on a grid of gammas, then between its points."""
    from scipy.optimize import minimize_scalar

    step = _LONGEST / _GRID
    values = [squares(step * i) for i in range(_GRID + 1)]
    if max(values) - min(values) <= _SAME * max(max(values), 1e-300):
        raise PlanError(
            "losses do not determine gamma: they are equally likely at all of them. Give the loss "
            "of a topology between 'alone' and 'complete', such as a ring, and of complete graphs "
            "up to its number of nodes, whose losses differ."
        )
    best = step * int(np.argmin(values))
    found = minimize_scalar(
        squares,
        bounds=(max(best - step, 0.0), min(best + step, _LONGEST)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(found.x)


def _curve(complete_losses: Mapping[int, float]) -> _Curve:
    from scipy.interpolate import PchipInterpolator

    if len(complete_losses) < 2:
        raise PlanError(
            f"complete_losses has {len(complete_losses)} entries, allowed are two or more "
            "numbers of workers, best 1, 2, 4, ... up to that of the topologies."
        )
    for n, loss in complete_losses.items():
        if n < 1 or not isfinite(n) or not isfinite(loss):
            raise PlanError(
                f"complete_losses has loss {loss} for {n} workers, allowed are finite losses of "
                "1 worker or more."
            )
    workers, values = zip(*sorted(complete_losses.items()), strict=True)
    steps = np.diff(values)
    if steps.max() > 0 > steps.min():
        warnings.warn(
            f"complete_losses {dict(zip(workers, values, strict=True))} rise and fall with the "
            "number of workers, so gamma is uncertain: average over more seeds.",
            stacklevel=3,
        )
    pieces = PchipInterpolator(np.log(workers), np.asarray(values, dtype=np.float64))
    return _Curve(pieces, float(workers[0]), float(workers[-1]))


def _check(pairs: Sequence[tuple[Topology, float]]) -> None:
    if not pairs:
        raise PlanError("losses is empty, allowed are one or more topologies with their loss.")
    for topology, loss in pairs:
        if not isfinite(loss):
            raise PlanError(f"the loss of {topology.spec!r} is {loss}, allowed are finite numbers.")


def _check_inside(
    pairs: Sequence[tuple[Topology, float]], neighbors: NDArray[np.float64], curve: _Curve
) -> None:
    for (topology, _), n in zip(pairs, neighbors, strict=True):
        if not curve.least * (1 - _SAME) <= n <= curve.most * (1 + _SAME):
            raise PlanError(
                f"topology {topology.spec!r} comes out at {n:.3g} effective neighbors, but "
                f"complete_losses covers {curve.least:g} to {curve.most:g} workers; add the "
                f"losses of complete graphs down to 1 and up to {topology.num_nodes} workers."
            )
