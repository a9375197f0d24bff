"""The random walk itself, drawn: probes of the mixing energies, and a plain simulation.

Both draw from a generator made from the given seed, so the same call gives the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from .products import mixings
from .variances import Estimate, Mode, check_gamma

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ProbedVariance", "WalkVariance", "num_phases"]

Matrix = NDArray[np.float64]

_WINDOW = 32
_PROBED_NUMBERS = 1_280_000
_MAX_ROUNDS = 2_000
_NEGLIGIBLE = 1e-4


def num_phases(topology: Topology) -> int:
    """Return how many rounds stand for all: a period, or 32 rounds where each draws its own W."""
    return _WINDOW if topology.period is None else topology.period


@dataclass(frozen=True, slots=True)
class ProbedVariance:
    """V by random probes (Hutchinson, 1990): ``|P_k|_F^2 = E |P_k v|^2`` for random signs v.

    The constant vector, whose energy is always 1, is taken out of the probes and added exactly.

    Parameters
    ----------
    num_nodes : int
        Number of nodes n.
    energies : (K, m) float64
        ``|P_k v|^2 / n`` of each probe for k < K; never rising in k.
    """

    num_nodes: int
    energies: Matrix

    @staticmethod
    def of(
        topology: Topology,
        num_probes: int | None = None,
        seed: int = 0,
        max_rounds: int = _MAX_ROUNDS,
    ) -> ProbedVariance:
        """Return V from ``num_probes`` probes, shared out over the phases; O(n) memory each.

        By default 128 probes, fewer beyond 10,000 nodes, 32 from 40,000 on. Follows them until
        what is left cannot change V by 1e-4, at most for ``max_rounds``.
        """
        if num_probes is None:
            num_probes = min(max(_PROBED_NUMBERS // topology.num_nodes, 32), 128)
        if num_probes < 2:
            raise PlanError(f"num_probes is {num_probes}, allowed is 2 or more.")
        phases = mixings(topology, num_phases(topology))
        rng = np.random.default_rng(seed)
        per_phase = max(ceil(num_probes / len(phases)), 2)
        starts = [rng.choice([-1.0, 1.0], (topology.num_nodes, per_phase)) for _ in phases]
        followed = [_followed(phases, i, probes, max_rounds) for i, probes in enumerate(starts)]
        length = max(map(len, followed))
        filled = [np.pad(energy, [(0, length - len(energy)), (0, 0)]) for energy in followed]
        return ProbedVariance(topology.num_nodes, np.concatenate(filled, axis=1))

    def __call__(self, gamma: float) -> Estimate:
        """Return the estimate of V(gamma); its error counts what the series left off could add."""
        check_gamma(gamma)
        powers = gamma ** np.arange(len(self.energies))
        sums = powers @ self.energies
        tail = float(self.energies[-1].mean()) * powers[-1] * gamma / (1.0 - gamma)
        value = 1.0 / self.num_nodes / (1.0 - gamma) + float(sums.mean()) + tail / 2
        error = sqrt(float(sums.var(ddof=1)) / sums.size + (tail / 2) ** 2)
        return Estimate(float(value), float(error / value), "probes")


def _followed(
    phases: list[csr_array | Matrix], start: int, probes: Matrix, max_rounds: int
) -> Matrix:
    """Return ``|W_{s+k} ... W_s v|^2 / n`` without the constant part of v, (K, m)."""
    probes = probes - probes.mean(axis=0)
    energies = []
    for step in range(max_rounds):
        probes = np.asarray(phases[(start + step) % len(phases)] @ probes)
        energies.append(np.einsum("ij,ij->j", probes, probes) / len(probes))
        # From here on the rest is at most this much of the constant part, whatever gamma.
        if float(energies[-1].mean()) * len(probes) < _NEGLIGIBLE:
            break
    return np.stack(energies)


@dataclass(frozen=True, slots=True)
class WalkVariance:
    """Var z measured on simulated walks: the definition itself, the check of all else.

    Parameters
    ----------
    topology : Topology
        Of any kind and size; a step of a walk costs O(n * degree).
    mode : "mean" or "worst"
        Which node's variance. The worst of noisy values lies somewhat above the true worst.
    num_walks : int (default: 64)
        Independent walks, from which the standard error follows.
    num_steps : int (default: 0)
        Steps measured in each, rounded up to whole periods; 0: about ten memories of the walk.
    seed : int (default: 0)
        Of the noise.
    """

    topology: Topology
    mode: Mode = "mean"
    num_walks: int = 64
    num_steps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_walks < 2 or self.num_steps < 0:
            raise PlanError(
                f"num_walks is {self.num_walks} and num_steps is {self.num_steps}, allowed are "
                "2 or more walks and 0 or more steps."
            )

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return self.topology.num_nodes

    def __call__(self, gamma: float) -> Estimate:
        """Return the measured Var z and its standard error over the walks."""
        check_gamma(gamma)
        phases = mixings(self.topology, num_phases(self.topology))
        settled = ceil(log(1e-6) / log(gamma)) if gamma > 0 else 0  # gamma^settled = 1e-6
        periods = ceil((self.num_steps or ceil(10 / (1.0 - gamma))) / len(phases))
        squares = self._squares(phases, gamma, settled, periods * len(phases))
        nodes = squares.mean(axis=1)
        values = squares.mean(axis=0) if self.mode == "mean" else squares[nodes.argmax()]
        error = float(values.std(ddof=1)) / sqrt(self.num_walks)
        return Estimate(float(values.mean()), error / float(values.mean()), "monte-carlo")

    def _squares(
        self, phases: list[csr_array | Matrix], gamma: float, settled: int, measured: int
    ) -> Matrix:
        """Return z^2 averaged over the measured steps, (n, walks)."""
        rng = np.random.default_rng(self.seed)
        z = np.zeros((self.num_nodes, self.num_walks))
        total = np.zeros_like(z)
        for step in range(settled + measured):
            noise = rng.standard_normal(z.shape)
            z = np.asarray(phases[step % len(phases)] @ (sqrt(gamma) * z + noise))
            if step >= settled:
                total += z**2
        return total / measured
