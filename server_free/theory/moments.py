"""Exact second moments of D-SGD and Teleportation on quadratics: the error of every round.

Node i has ``f_i(x) = 1/2 |x - b_i|^2``; its gradients carry noise of total variance sigma2, the
optima differ by ``zeta2 = (1/n) sum_i |b_i - mean b|^2``, and all start at one x0. A round is
``h = x - eta (x - b_i + noise)``, then ``x <- W h``; the errors are those of the mixed models x.

In gossip (Lian et al. 2017, arXiv:1705.09056) the difference of a node from the mean stays: a
*drift* of order ``eta^2 zeta2 / (1 - mu)^2`` in each mode mu of W. In Teleportation (Takezawa &
Stich, ICLR 2025, arXiv:2501.15259, Algorithm 1) a slot meets another node each round: *noise* of
order ``eta^2 zeta2 / (1 - mu^2)``, and of the mean over the k slots only ``1 - (k-1)/(n-1)``, since
the nodes are drawn without replacement. Expected values over noise, draws and which node has which
optimum; exact unless :func:`response` needs random probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import ArrayLike

from ..counts import check_count
from ..errors import PlanError
from ..topologies import Topology
from .responses import Counts, Response, Vector, response

__all__ = [
    "Moments",
    "Problem",
    "gossip_errors",
    "gossip_moments",
    "teleportation_errors",
    "teleportation_moments",
]


@dataclass(frozen=True, slots=True)
class Moments:
    """Expected squared distances after each round, (T + 1,) float64 each; entry 0 is the start.

    Parameters
    ----------
    errors : (T + 1,) float64
        ``(1/k) sum_s E |x_s - x*|^2`` over the slots (gossip: nodes), x* the mean of all optima.
    mean_errors : (T + 1,) float64
        ``E |mean x - x*|^2`` of the mean model, which depends on W in no way.
    """

    errors: Vector
    mean_errors: Vector

    @property
    def consensus_distances(self) -> Vector:
        """Return ``(1/k) sum_s E |x_s - mean x|^2``, (T + 1,) float64."""
        return self.errors - self.mean_errors


@dataclass(frozen=True, slots=True)
class Problem:
    """The quadratics and who works on them: what the errors depend on beside W and the rate.

    Parameters
    ----------
    num_nodes : int
        Number of nodes n.
    num_slots : int
        Number of slots k, 1..n: the models there are.
    teleports : bool
        Whether a slot meets a node drawn afresh each round; else slot and node are the same.
    sigma2, zeta2, start : float
        Gradient noise, heterogeneity, and squared distance of x0 to the optimum; not negative.
    """

    num_nodes: int
    num_slots: int
    teleports: bool
    sigma2: float = 1.0
    zeta2: float = 1.0
    start: float = 10.0

    def __post_init__(self) -> None:
        for name in ("sigma2", "zeta2", "start"):
            value = getattr(self, name)
            if not 0.0 <= value < inf:
                raise PlanError(f"{name} is {value}, allowed is a finite number, 0 or more.")
        object.__setattr__(self, "num_nodes", check_count("num_nodes", self.num_nodes))
        if not 1 <= self.num_slots <= self.num_nodes:
            raise PlanError(
                f"the topology has {self.num_slots} slots, allowed are 1..{self.num_nodes}: no "
                f"more than there are nodes (num_nodes is {self.num_nodes})."
            )

    @property
    def spread(self) -> float:
        """Variance of ``b_i - mean b`` in a mode other than the mean: zeta2 n / (n - 1).

        All modes together have n zeta2, shared by n - 1 of them: none is in the mean of all.
        """
        return self.zeta2 * self.num_nodes / max(1, self.num_nodes - 1)

    @property
    def mean_noise(self) -> float:
        """Variance a slot of what moves the mean model: sigma2 + zeta2 (1 - (k-1)/(n-1)).

        Without zeta2 in gossip, where all nodes together have no part in it, as for k = n.
        """
        left_out = self.num_nodes - self.num_slots  # 0 for n = 1: a node is its own mean
        return self.sigma2 + self.zeta2 * left_out / max(1, self.num_nodes - 1)

    def mean_errors(self, rounds: Counts, rates: Vector) -> Vector:
        """Return the expected squared error of the mean model, (R, L)."""
        left = (1.0 - rates) ** (2 * rounds[:, None])
        noise = rates / (2.0 - rates) * (1.0 - left)  # eta^2 (1 + (1 - eta)^2 + ...)
        return np.asarray(self.start * left + noise * self.mean_noise / self.num_slots)

    def errors(self, responds: Response, rounds: Counts, rates: Vector) -> Vector:
        """Return the expected squared error of a slot, (R, L), of rounds (R,) and rates (L,)."""
        mean = self.mean_errors(rounds, rates)
        if self.teleports:
            return mean + (self.sigma2 + self.spread) * responds.noise(rounds, rates)
        noise, drift = responds.noise(rounds, rates), responds.drift(rounds, rates)
        return mean + self.sigma2 * noise + self.spread * drift

    def moments(self, topology: Topology, learning_rate: float, num_rounds: int) -> Moments:
        """Return the moments of rounds 0..num_rounds."""
        num_rounds = check_count("num_rounds", num_rounds, least=0)
        rounds, rates = np.arange(num_rounds + 1), checked_rates(learning_rate)
        errors = self.errors(response(topology, num_rounds), rounds, rates)
        return Moments(errors[:, 0], self.mean_errors(rounds, rates)[:, 0])


def checked_rates(rates: ArrayLike) -> Vector:
    """Return learning rates as (L,) float64; ``PlanError`` unless all lie between 0 and 2."""
    values = np.atleast_1d(np.asarray(rates, dtype=np.float64))
    for value in values.tolist():
        if not (isfinite(value) and 0.0 < value < 2.0):
            raise PlanError(
                f"learning_rate is {value}, allowed is 0 < learning_rate < 2: beyond, the "
                "iteration diverges on f(x) = 1/2 |x - b|^2."
            )
    return values


def gossip_moments(
    topology: Topology,
    learning_rate: float,
    num_rounds: int,
    *,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    start: float = 10.0,
) -> Moments:
    """Return the exact second moments of D-SGD over ``topology``, rounds 0..num_rounds.

    Parameters
    ----------
    topology : Topology
        Over the n nodes.
    learning_rate : float
        eta, the same in all rounds; between 0 and 2.
    sigma2 : float (default: 1.0)
        Expected squared norm of the gradient noise of one node in one round.
    zeta2 : float (default: 1.0)
        Mean squared distance of the nodes' optima to their mean; isotropic, in random order.
    start : float (default: 10.0)
        Squared distance of x0 to the mean of the optima.

    Raises
    ------
    PlanError
        For values outside these, and as :func:`response`.
    """
    nodes = topology.num_nodes
    problem = Problem(nodes, nodes, False, sigma2, zeta2, start)
    return problem.moments(topology, learning_rate, num_rounds)


def teleportation_moments(
    topology: Topology,
    num_nodes: int,
    learning_rate: float,
    num_rounds: int,
    *,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    start: float = 10.0,
) -> Moments:
    """Return the exact second moments of Teleportation: ``topology`` over k slots, n nodes.

    k is ``topology.num_nodes``, at most ``num_nodes``; else as :func:`gossip_moments`.
    """
    problem = Problem(num_nodes, topology.num_nodes, True, sigma2, zeta2, start)
    return problem.moments(topology, learning_rate, num_rounds)


def gossip_errors(
    topology: Topology,
    learning_rate: float,
    num_rounds: int,
    *,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    start: float = 10.0,
) -> Vector:
    """Return the mean squared error of a node in D-SGD, (num_rounds + 1,) float64.

    The ``errors`` of :func:`gossip_moments`, which see.
    """
    settings = {"sigma2": sigma2, "zeta2": zeta2, "start": start}
    return gossip_moments(topology, learning_rate, num_rounds, **settings).errors


def teleportation_errors(
    topology: Topology,
    num_nodes: int,
    learning_rate: float,
    num_rounds: int,
    *,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    start: float = 10.0,
) -> Vector:
    """Return the mean squared error of a slot in Teleportation, (num_rounds + 1,) float64.

    The ``errors`` of :func:`teleportation_moments`, which see.
    """
    settings = {"sigma2": sigma2, "zeta2": zeta2, "start": start}
    return teleportation_moments(topology, num_nodes, learning_rate, num_rounds, **settings).errors
