"""How fast a topology reaches consensus: its spectral gap and its consensus rate.

The spectral gap is what classical analyses of D-SGD rest on (Lian et al. 2017, arXiv:1705.09056);
the consensus rate p is that of Koloskova et al. 2020, arXiv:2003.10422, Assumption 4. How well
workers train together is another question: see :func:`effective_neighbors` (arXiv:2301.02151).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from .products import mixings
from .variances import all_modes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["consensus_rate", "spectral_gap"]

Vector = NDArray[np.float64]

_DENSE = 2_000
_MAX_RESTARTS = 200
_ZERO = 1e-12


def spectral_gap(topology: Topology) -> float:
    """Return 1 - |lambda_2|, from 0 (some nodes never agree) to 1 (the exact average).

    lambda_2 is the eigenvalue of W second in absolute value. With a period p it is
    ``1 - rho(W_p ... W_1 - 11^T / n)^(1 / p)``, rho the spectral radius; where each round draws
    a W of its own, ``1 - sqrt(1 - consensus_rate)``. One node alone has 1: it agrees with itself.

    In closed form where the topology has one, else from W: dense for small n, Lanczos or Arnoldi
    iteration on the sparse matrix for large. Raises ``PlanError`` where a fresh W has no closed
    form or the iteration does not converge.
    """
    if topology.period is None:
        return 1.0 - sqrt(1.0 - consensus_rate(topology))
    modes = all_modes(topology)
    if modes is not None:
        factors = [_cleaned(np.abs(one.eigenvalues)) for one in modes]
        radius = float(reduce(np.multiply, factors)[1:].max(initial=0.0))
    else:
        radius = _Deviation.of(topology).radius()
    return _from_factor(radius ** (1.0 / topology.period))


def consensus_rate(topology: Topology) -> float:
    """Return p, from 0 to 1: ``E |W X - mean|^2 <= (1 - p) |X - mean|^2`` a round.

    With a period the same over rounds 1..period, as the rate of one round:
    ``1 - |W_p ... W_1 - 11^T / n|_2^(2 / p)``. For one symmetric W it is
    ``1 - (1 - spectral_gap)^2``. Raises as :func:`spectral_gap`.
    """
    modes = all_modes(topology)
    if modes is not None:
        factors = [_cleaned(one.energies) for one in modes]
        energy = float(reduce(np.multiply, factors)[1:].max(initial=0.0))
    elif topology.period is None:
        raise PlanError(
            f"topology {topology.spec!r} draws each W afresh and states no modes, so its "
            "expected consensus is not known; estimate effective_neighbors instead."
        )
    else:
        energy = _Deviation.of(topology).norm() ** 2
    return _from_factor(energy ** (1.0 / (topology.period or 1)))


def _cleaned(values: Vector) -> Vector:
    """Return the values with rounding errors set to 0, which a p-th root would blow up."""
    return np.where(values < _ZERO, 0.0, values)


def _from_factor(factor: float) -> float:
    """Return 1 - factor without the signs and digits that come from rounding alone."""
    return 0.0 if factor > 1.0 - _ZERO else 1.0 - factor


@dataclass(frozen=True, slots=True)
class _Deviation:
    """The operator A = W_p ... W_1 - 11^T / n: how a period acts on what nodes disagree in."""

    num_nodes: int
    symmetric: bool
    phases: list[csr_array | Vector]

    @staticmethod
    def of(topology: Topology) -> _Deviation:
        phases = mixings(topology, topology.period or 1)
        return _Deviation(topology.num_nodes, topology.symmetric and len(phases) == 1, phases)

    def __call__(self, x: Vector) -> Vector:
        """Return A x for columns x."""
        x = x - x.mean(axis=0)
        for w in self.phases:
            x = np.asarray(w @ x)
        return x

    def transposed(self, x: Vector) -> Vector:
        """Return A^T x for columns x."""
        for w in reversed(self.phases):
            x = np.asarray(w.T @ x)
        return np.asarray(x - x.mean(axis=0))

    def radius(self) -> float:
        """Return the largest absolute eigenvalue of A."""
        if self.num_nodes == 1:
            return 0.0
        if self.symmetric and self.num_nodes <= _DENSE:
            return float(np.abs(np.linalg.eigvalsh(self(np.eye(self.num_nodes)))).max())
        if self.vanishes():
            return 0.0
        if self.symmetric:
            return self._largest("eigsh", self)
        if self.num_nodes <= _DENSE:
            return float(np.abs(np.linalg.eigvals(self(np.eye(self.num_nodes)))).max())
        return self._largest("eigs", self)

    def norm(self) -> float:
        """Return the largest singular value of A."""
        if self.symmetric or self.num_nodes == 1:
            return self.radius()
        if np.abs(self(self._start())).max() < _ZERO:
            return 0.0
        if self.num_nodes <= _DENSE:
            return float(np.linalg.norm(self(np.eye(self.num_nodes)), 2))
        return sqrt(self._largest("eigsh", lambda x: self.transposed(self(x))))

    def vanishes(self) -> bool:
        """Return whether a power of A is 0, seen from one step to the next on a random vector.

        Rounding turns the zero eigenvalues of such an A into ones of size eps^(1 / power).
        """
        x = self._start()
        for _ in range(64):
            before, x = np.linalg.norm(x), self(x)
            if np.linalg.norm(x) < _ZERO * before:
                return True
            x = x / np.linalg.norm(x)
        return False

    def _start(self) -> Vector:
        x = np.random.default_rng(0).standard_normal(self.num_nodes)
        return np.asarray(x - x.mean())

    def _largest(self, solver: str, action: Callable[[Vector], Vector]) -> float:
        """Return the largest absolute eigenvalue of a map, by "eigsh" if symmetric, or "eigs"."""
        from scipy.sparse import linalg

        size = self.num_nodes
        operator = linalg.LinearOperator((size, size), matvec=action, dtype=np.float64)
        solve = getattr(linalg, solver)
        try:
            # 60 Lanczos vectors where 20 are usual: trees take twenty times fewer steps.
            found = solve(
                operator,
                k=1,
                ncv=60,
                maxiter=_MAX_RESTARTS,
                tol=1e-9,
                v0=self._start(),
                return_eigenvectors=False,
            )
        except linalg.ArpackNoConvergence as error:
            raise PlanError(
                f"the largest eigenvalue of {size} nodes did not converge; the spectral gap is "
                "too small to be told from 0. Take effective_neighbors instead."
            ) from error
        return float(np.abs(found).max())
