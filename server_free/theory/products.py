"""Products of mixing matrices: the random walk's variance where W has no basis that serves.

For matrices that are directed or change from round to round without commuting. Dense, O(n^3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from .variances import Estimate, Mode, check_gamma

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ProductVariance", "mixings"]

Matrix = NDArray[np.float64]

_MOST_WEIGHTS = 2e7
_NUM_PRODUCTS = 256
_NEGLIGIBLE = 1e-20
_TOLERANCE = 1e-12


def mixings(topology: Topology, num_rounds: int) -> list[csr_array | Matrix]:
    """Return W of rounds 1..num_rounds, (n, n) each: sparse, or dense where that multiplies faster.

    Read from the rows, so O(n * degree) in time and memory. Raises ``PlanError`` for more than
    about ``_MOST_WEIGHTS`` weights in all.
    """
    _check_size(topology, num_rounds)
    sparse = [topology.sparse(round) for round in range(1, num_rounds + 1)]
    return [w.toarray() if w.nnz * 10 > topology.num_nodes**2 else w for w in sparse]


def _check_size(topology: Topology, num_rounds: int) -> None:
    n = topology.num_nodes
    if n * topology.max_degree * num_rounds <= _MOST_WEIGHTS:
        return
    # The most neighbors say little where a few nodes have many: ask some, and take their median.
    degrees = sorted(len(topology.readers(node, 1)) for node in range(0, n, -(-n // 9)))
    weights = n * (1 + degrees[len(degrees) // 2]) * num_rounds
    if weights > _MOST_WEIGHTS:
        raise PlanError(
            f"topology {topology.spec!r} has about {weights:.1g} weights in {num_rounds} rounds, "
            f"allowed are {_MOST_WEIGHTS:.0g} where there is no closed form: it is dense. "
            "Ask for fewer nodes."
        )


@dataclass(frozen=True, slots=True)
class ProductVariance:
    """V from the products themselves, and from a discrete Lyapunov equation for what they leave.

    Parameters
    ----------
    phases : list of (n, n)
        W of each phase.
    energies : (K, n) float64
        ``|row i of P_k|^2`` without its share 1/n of the constant vector, averaged over the
        phases, for k < K; never rising in k.
    mode : "mean" or "worst"
        Which node's variance.
    """

    phases: list[csr_array | Matrix]
    energies: Matrix
    mode: Mode

    @staticmethod
    def of(topology: Topology, mode: Mode, num_products: int = _NUM_PRODUCTS) -> ProductVariance:
        """Return the variance; multiplies at most about ``num_products`` matrices."""
        phases = mixings(topology, topology.period or 1)
        length = max(2 * len(phases), num_products // len(phases))
        by_start = [_energies(phases, start, length) for start in range(len(phases))]
        energies = np.zeros((max(map(len, by_start)), topology.num_nodes))
        for rows in by_start:
            energies[: len(rows)] += rows / len(phases)
        return ProductVariance(phases, energies, mode)

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return int(self.energies.shape[1])

    def __call__(self, gamma: float) -> Estimate:
        """Return Var z, exact up to 1e-12 of it."""
        check_gamma(gamma)
        powers = gamma ** np.arange(len(self.energies))
        nodes = powers @ self.energies
        constant = 1.0 / self.num_nodes / (1.0 - gamma)
        # The rest of the series is at most a geometric one that starts with the last energy.
        tail = float(self.energies[-1].max()) * powers[-1] * gamma / (1.0 - gamma)
        if tail > _TOLERANCE * constant:
            nodes = _stationary(self.phases, gamma)
        node = nodes.mean() if self.mode == "mean" else nodes.max()
        return Estimate(float(node) + constant, 0.0, "lyapunov")


def _energies(phases: list[csr_array | Matrix], start: int, length: int) -> Matrix:
    """Return the squared row norms of W_{s+k} ... W_s - 11^T/n for k = 0, 1, ..., (<= length, n).

    Ends early where the average is exact, as within two periods of a finite-time sequence.
    """
    size = phases[start].shape[0]
    product = np.eye(size) - 1.0 / size
    rows = []
    for step in range(length):
        product = phases[(start + step) % len(phases)] @ product
        rows.append(np.einsum("ij,ij->i", product, product))
        if rows[-1].max() < _NEGLIGIBLE:
            break
    return np.stack(rows)


def _stationary(phases: list[csr_array | Matrix], gamma: float) -> Matrix:
    """Return the variance of each node, its constant part left out, averaged over the phases.

    The covariance obeys ``C_t = W_t (gamma C_{t-1} + I) W_t^T``: over a period the discrete
    Lyapunov equation ``C = A C A^T + B``, solved by doubling (Smith, 1968).
    """
    size = phases[0].shape[0]
    noise = np.eye(size) - 1.0 / size
    covariance, transition = np.zeros((size, size)), noise
    for w in phases:
        covariance = _conjugated(w, gamma * covariance + noise)
        transition = np.sqrt(gamma) * (w @ transition)
    while np.square(transition).sum() > _TOLERANCE * _TOLERANCE:
        covariance = covariance + transition @ covariance @ transition.T
        transition = transition @ transition
    total = np.zeros(size)
    for w in phases:
        covariance = _conjugated(w, gamma * covariance + noise)
        total += covariance.diagonal()
    return total / len(phases)


def _conjugated(w: csr_array | Matrix, covariance: Matrix) -> Matrix:
    """Return W C W^T of a symmetric C."""
    return np.asarray(w @ np.asarray(w @ covariance).T)
