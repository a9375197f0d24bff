"""The response of a topology that is known by its matrices only, from their products.

For matrices that are directed or change from round to round without commuting. The sums (2) and
(3) of :mod:`~.responses` need no more than the inner products of the P_{t,j} with each other,
which are computed once and serve every learning rate and round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..topologies import Topology
from .products import mixings

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ProductResponse"]

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

_EXACT = 256
_PROBED_NUMBERS = 1 << 18
_KEPT_NUMBERS = 1 << 25
_MOST_PRODUCTS = 2_048
_NEGLIGIBLE = 1e-20


@dataclass(frozen=True, slots=True)
class ProductResponse:
    """The response from the products of matrices that are directed or change without commuting.

    Parameters
    ----------
    spec : str
        The topology's, for errors.
    grams : list of (D, D) float64, one a phase
        ``<P_{t,i} - J, P_{t,j} - J> / k`` for t in that phase and the first D products.
    num_rounds : int
        How many rounds this serves: all that were asked for, unless memory sets a limit.
    """

    spec: str
    grams: list[Vector]
    num_rounds: int

    @staticmethod
    def of(topology: Topology, num_rounds: int) -> ProductResponse:
        """Return the response for rounds 0..``num_rounds``; follows products till they vanish."""
        phases = mixings(topology, topology.period or 1)
        probes = _probes(topology.num_nodes)
        most = min(_MOST_PRODUCTS, _KEPT_NUMBERS // probes.size, max(1, num_rounds))
        found = [_gram(phases, end, probes, most) for end in range(len(phases))]
        is_whole = all(whole for _, whole in found)
        return ProductResponse(
            topology.spec, [gram for gram, _ in found], num_rounds if is_whole else most
        )

    def noise(self, rounds: Counts, rates: Vector) -> Vector:
        """Return the response to noise, (R, L), in O(D L) for each of the first rounds."""
        return self._each(rounds, rates, lambda gram, powers: powers**2 @ gram.diagonal())

    def drift(self, rounds: Counts, rates: Vector) -> Vector:
        """Return the response to fixed differences, (R, L), in O(D^2 L) for each as above."""
        return self._each(
            rounds, rates, lambda gram, powers: np.einsum("lj,lj->l", powers @ gram, powers)
        )

    def _each(
        self, rounds: Counts, rates: Vector, form: Callable[[Vector, Vector], Vector]
    ) -> Vector:
        """Return eta^2 times a form of the Gram matrix that each round sees, (R, L)."""
        if len(rounds) and int(rounds.max()) > self.num_rounds:
            raise PlanError(
                f"topology {self.spec!r} mixes slowly and has neither a closed form nor a single "
                f"symmetric W: its errors are known for up to {self.num_rounds} rounds, not "
                f"{rounds.max()}. Ask for fewer rounds, or simulate it."
            )
        kinds = [self._kind(int(t)) for t in rounds]
        known = {}
        for phase, count in set(kinds):
            powers = (1.0 - rates)[:, None] ** np.arange(count)
            known[phase, count] = form(self.grams[phase][:count, :count], powers)
        return np.stack([known[kind] for kind in kinds]) * np.square(rates)

    def _kind(self, round: int) -> tuple[int, int]:
        """Return the phase of a round and how many products count: all that the response sees."""
        phase = (round - 1) % len(self.grams)
        return phase, min(round, len(self.grams[phase]))


def _probes(num_slots: int) -> Vector:
    """Return U with E[U U^T] = I - J, (k, m) float64: exactly so up to 256 slots (m = k)."""
    if num_slots <= _EXACT:
        probes = np.eye(num_slots)
    else:
        count = max(16, _PROBED_NUMBERS // num_slots)
        signs = np.random.default_rng(0).integers(0, 2, (num_slots, count))
        probes = (2.0 * signs - 1.0) / np.sqrt(count)
    return np.asarray(probes - probes.mean(axis=0))


def _gram(
    phases: list[csr_array | Vector], end: int, probes: Vector, most: int
) -> tuple[Vector, bool]:
    """Return the Gram matrix of the products that end in phase ``end``, by way of P^T U.

    And whether what lies beyond ``most`` products is negligible.
    """
    product, products = probes, []
    for back in range(most):
        product = np.asarray(phases[(end - back) % len(phases)].T @ product)
        products.append(product)
        if np.square(product).sum() < _NEGLIGIBLE * len(product):
            break
    flat = np.reshape(products, (len(products), -1))
    is_whole = bool(np.square(product).sum() < _NEGLIGIBLE * len(product))
    return np.asarray(flat @ flat.T / len(probes)), is_whole
