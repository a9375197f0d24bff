"""The variance of the averaging random walk: the one quantity that the theory asks of a topology.

Vogels, Hendrikx & Jaggi, "Beyond spectral gap (extended)", arXiv:2301.02151, Section 3: workers
average with their neighbours and add independent unit noise, ``z <- W (sqrt(gamma) z + noise)``.
With the products ``P_k = W_t W_{t-1} ... W_{t-k}`` the variance of node i is

    Var z_i = sum_k gamma^k |row i of P_k|^2,        k = 0, 1, 2, ...

and its mean over the nodes V(gamma) = sum_k gamma^k N_k is the generating function of the *mixing
energies* ``N_k = |P_k|_F^2 / n``, averaged over the phase t. A :class:`Variance` is V as an object:
what costs is done when it is made, so that one serves every gamma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from ..topologies.base import Modes

__all__ = [
    "Estimate",
    "Mode",
    "ModeVariance",
    "NodeVariance",
    "Variance",
    "all_modes",
    "check_gamma",
]

Mode = Literal["mean", "worst"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, how sure it is, and how it was found.

    Parameters
    ----------
    value : float
    relative_error : float
        One standard error as a share of the value; 0 where nothing was drawn at random.
    method : str
        "closed form", "spectrum", "lyapunov", "probes" or "monte-carlo".
    """

    value: float
    relative_error: float
    method: str


class Variance(Protocol):
    """Var z of the random walk as a function of gamma: of the mean node, or of the worst one."""

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""

    def __call__(self, gamma: float) -> Estimate:
        """Return Var z at decay ``gamma`` in [0, 1): from 1 / (n (1 - gamma)) to 1 / (1 - gamma).

        Raises ``PlanError`` for another gamma.
        """


def check_gamma(gamma: float) -> None:
    """Raise ``PlanError`` unless 0 <= gamma < 1: at 1 the walk has no stationary state."""
    if not 0.0 <= gamma < 1.0:
        raise PlanError(
            f"gamma is {gamma}, allowed is 0 <= gamma < 1 (as gamma goes to 1, the effective "
            "number of neighbors goes to the number of nodes that are connected)."
        )


def all_modes(topology: Topology) -> list[Modes] | None:
    """Return the modes of every phase, one entry where W is drawn afresh, None if any is unknown.

    A W that is drawn afresh has the same expected energies in every round.
    """
    found = [topology.modes(round) for round in range(1, (topology.period or 1) + 1)]
    known = [modes for modes in found if modes is not None]
    return known if len(known) == len(found) else None


@dataclass(frozen=True, slots=True)
class ModeVariance:
    """V where all phases are diagonal in one basis: the modes do not meet, so each is a number.

    Parameters
    ----------
    energies : (p, m) float64
        ``|W v|^2`` of each mode v in each phase, in expectation where W is random.
    counts : (m,) float64
        How often each mode occurs; the sum is n.
    method : str
        "closed form" or "spectrum".
    """

    energies: NDArray[np.float64]
    counts: NDArray[np.float64]
    method: str

    @staticmethod
    def of(energies: Sequence[NDArray[np.float64]], method: str) -> ModeVariance:
        """Return V from the energies of each phase, each (n,); equal modes are counted once."""
        stacked = np.minimum(np.stack(energies), 1.0)
        if len(stacked) > 1:
            return ModeVariance(stacked, np.ones(stacked.shape[1]), method)
        distinct, counts = np.unique(stacked[0].round(15), return_counts=True)
        return ModeVariance(distinct[None], counts.astype(np.float64), method)

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return round(float(self.counts.sum()))

    def __call__(self, gamma: float) -> Estimate:
        """Return V(gamma), exact up to rounding, in O(p m)."""
        check_gamma(gamma)
        start, factor = np.zeros(self.counts.size), np.ones(self.counts.size)
        for energy in self.energies:  # one period, as an affine map of the variance before it
            start = energy * (1.0 + gamma * start)
            factor = gamma * energy * factor
        variance = start / (1.0 - factor)  # the fixed point: the same variance a period later
        total = 0.0
        for energy in self.energies:
            variance = energy * (1.0 + gamma * variance)
            total += float(self.counts @ variance)
        return Estimate(total / self.energies.shape[0] / self.num_nodes, 0.0, self.method)


@dataclass(frozen=True, slots=True)
class NodeVariance:
    """The worst node's variance under one symmetric W, from W's eigenvectors.

    Parameters
    ----------
    energies : (n,) float64
        Squared eigenvalues.
    shares : (n, n) float64
        Squared entries of the eigenvectors: node i's share of mode m.
    """

    energies: NDArray[np.float64]
    shares: NDArray[np.float64]

    @staticmethod
    def of(matrix: NDArray[np.float64]) -> NodeVariance:
        """Return the variance under the symmetric ``matrix``, (n, n)."""
        from scipy.linalg import eigh

        values, vectors = eigh(matrix)
        values[-1] = 1.0  # of the constant vector; its rounding would count for gamma near 1
        return NodeVariance(np.minimum(values**2, 1.0), np.square(vectors))

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return self.energies.size

    def __call__(self, gamma: float) -> Estimate:
        """Return max_i Var z_i, exact up to rounding, in O(n^2)."""
        check_gamma(gamma)
        nodes = self.shares @ (self.energies / (1.0 - gamma * self.energies))
        return Estimate(float(nodes.max()), 0.0, "spectrum")
