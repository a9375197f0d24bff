"""The contract of a topology and the ways to make one from neighbours or shifts.

A topology answers for one node at a time, so a row costs O(degree) whatever
the number of nodes; the (n, n) matrix is built only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..counts import check_count
from ..errors import PlanError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "Modes",
    "Shift",
    "Topology",
    "cayley",
    "check_doubly_stochastic",
    "check_num_nodes",
    "check_sums",
    "circulant",
    "undirected",
]

Row = dict[int, float]
Shift = tuple[int, ...]

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Modes:
    """The spectrum of one phase in closed form, in an orthonormal basis that all phases share.

    Parameters
    ----------
    eigenvalues : (n,) complex128
        Of W, the constant vector's 1 first; the expectation where W is drawn afresh.
    energies : (n,) float64
        ``E |W v|^2`` for each basis vector v: ``|eigenvalues|^2`` where W is not random.
    alike : bool
        Whether all nodes look the same, so that a mean over the nodes is the value of each.
    """

    eigenvalues: NDArray[np.complex128]
    energies: NDArray[np.float64]
    alike: bool = True

    @staticmethod
    def of(eigenvalues: NDArray[np.generic], alike: bool = True) -> Modes:
        """Return the modes of a W that is not random."""
        values = np.asarray(eigenvalues, dtype=np.complex128)
        return Modes(values, np.abs(values) ** 2, alike)


@dataclass(frozen=True, slots=True)
class Topology:
    """A (time-varying) doubly stochastic mixing matrix W over ``num_nodes`` nodes.

    ``W[s, r]`` is the weight that receiver s gives sender r. Rounds count from 1 and
    round t uses phase (t - 1) mod ``period``.

    Parameters
    ----------
    spec : str
        The text that :func:`from_spec` understands, or a description in angle brackets
        when the topology is not a formula; then ``payload`` holds it.
    num_nodes : int
        Number of nodes, at least 1.
    period : int or None
        Number of phases, at least 1; None when each round draws a W of its own, from the seed
        in the spec, and phase t - 1 is that of round t alone.
    row_of : callable
        ``(node, phase) -> {sender: weight}``, the node itself included, sums to 1.
    readers_of : callable
        ``(node, phase) -> receivers``: who gives this node a positive weight, the
        node itself excluded.
    max_degree : int
        The most other nodes that a node receives from in a round.
    symmetric : bool
        Whether W is symmetric in every phase.
    payload : bytes (default: b"")
        The topology itself, where it is not a formula.
    modes_of : callable, optional
        ``phase -> Modes``, where the spectrum is known in closed form.
    """

    spec: str
    num_nodes: int
    period: int | None
    row_of: Callable[[int, int], Row] = field(repr=False, compare=False)
    readers_of: Callable[[int, int], Iterable[int]] = field(repr=False, compare=False)
    max_degree: int
    symmetric: bool
    payload: bytes = field(default=b"", repr=False)
    modes_of: Callable[[int], Modes] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", check_num_nodes(self.spec, self.num_nodes))
        if self.period is not None and self.period < 1:
            raise PlanError(f"{self.spec}: period is {self.period}, allowed is 1 or more.")

    def phase(self, round: int) -> int:
        """Return the phase, 0..period-1, that round ``round`` (from 1) uses."""
        if round < 1:
            raise PlanError(f"round is {round}; rounds count from 1.")
        return round - 1 if self.period is None else (round - 1) % self.period

    def weights(self, node: int, round: int) -> Row:
        """Return row ``node`` of W: sender -> weight > 0, itself included, sorted by sender."""
        return dict(sorted(self.row_of(self._checked(node), self.phase(round)).items()))

    def readers(self, node: int, round: int) -> tuple[int, ...]:
        """Return who gives ``node`` a positive weight in this round, itself excluded, sorted."""
        return tuple(sorted(self.readers_of(self._checked(node), self.phase(round))))

    def degree(self, node: int, round: int) -> int:
        """Return how many other nodes ``node`` receives from in this round."""
        return len(self.weights(node, round).keys() - {node})

    def matrix(self, round: int) -> NDArray[np.float64]:
        """Return W of this round, (n, n) float64; rows and columns sum to 1."""
        dense = np.zeros((self.num_nodes, self.num_nodes))
        for node in range(self.num_nodes):
            for sender, weight in self.weights(node, round).items():
                dense[node, sender] = weight
        return dense

    def sparse(self, round: int) -> csr_array:
        """Return W of this round, an (n, n) float64 CSR array; memory O(n * degree)."""
        from scipy.sparse import csr_array

        rows = [self.weights(node, round) for node in range(self.num_nodes)]
        starts = np.cumsum([0, *(len(row) for row in rows)])
        senders = np.fromiter((sender for row in rows for sender in row), np.int64, starts[-1])
        values = np.fromiter((w for row in rows for w in row.values()), np.float64, starts[-1])
        return csr_array((values, senders, starts), shape=(self.num_nodes, self.num_nodes))

    def modes(self, round: int) -> Modes | None:
        """Return the spectrum of this round's W where it is known in closed form, else None."""
        return None if self.modes_of is None else self.modes_of(self.phase(round))

    def _checked(self, node: int) -> int:
        if not 0 <= node < self.num_nodes:
            raise PlanError(
                f"node is {node}, allowed is 0..{self.num_nodes - 1} for topology {self.spec!r}."
            )
        return node


def undirected(
    spec: str,
    num_nodes: int,
    neighbors: Callable[[int], Iterable[int]],
    max_degree: int,
    modes: Callable[[], Modes] | None = None,
    degree_of: Callable[[int], int] | None = None,
) -> Topology:
    """Make a static topology with Metropolis-Hastings weights from symmetric neighbours.

    ``W[i, j] = 1 / (1 + max(deg_i, deg_j))`` for neighbours, the rest on the diagonal,
    which makes W symmetric and doubly stochastic (Xiao & Boyd, 2004). A row asks for the degrees
    of all its neighbours: where these are many, ``degree_of`` says them without counting.
    """

    def others(node: int) -> frozenset[int]:
        return frozenset(neighbors(node)) - {node}

    # Kept, since a node of low degree may have neighbours of high degree: a star's centre.
    degree = degree_of or cache(lambda node: len(others(node)))

    def row(node: int, _phase: int) -> Row:
        mine = others(node)
        weights = {j: 1.0 / (1 + max(len(mine), degree(j))) for j in mine}
        weights[node] = 1.0 - sum(weights.values())
        return weights

    return Topology(
        spec,
        num_nodes,
        1,
        row,
        lambda node, _phase: others(node),
        max_degree,
        symmetric=True,
        modes_of=None if modes is None else lambda _phase: modes(),
    )


def cayley(spec: str, sides: Sequence[int], phases: Sequence[Mapping[Shift, float]]) -> Topology:
    """Make a topology in which every node receives over the same shifts of a grid that closes.

    Nodes lie on an R x C x ... grid, counted row by row, whose every side closes on itself (a
    Cayley graph of an abelian group), so W's spectrum is the Fourier transform of its weights.

    Parameters
    ----------
    sides : sequence of int
        Lengths of the grid's sides; n is their product.
    phases : sequence of {shift: weight}
        One entry a phase: who is received from, relative to the receiver, one number a side;
        weights non-negative with sum 1, so that each W is a convex combination of permutations
        and hence doubly stochastic.
    """
    num_nodes = prod(sides)
    check_num_nodes(spec, num_nodes)
    for phase, given in enumerate(phases):
        if min(given.values()) < 0 or abs(sum(given.values()) - 1.0) > _TOLERANCE:
            raise PlanError(f"{spec}: the weights of phase {phase} are not non-negative with sum 1")
    strides = [prod(sides[axis + 1 :]) for axis in range(len(sides))]
    wrapped = [_wrapped(given, sides) for given in phases]

    def moved(node: int, shift: Shift, sign: int) -> int:
        return sum(
            (node // stride + sign * step) % side * stride
            for side, stride, step in zip(sides, strides, shift, strict=True)
        )

    def row(node: int, phase: int) -> Row:
        return {moved(node, shift, 1): weight for shift, weight in wrapped[phase].items()}

    def readers(node: int, phase: int) -> set[int]:
        return {moved(node, shift, -1) for shift in wrapped[phase]} - {node}

    @cache
    def modes(phase: int) -> Modes:
        weights = np.zeros(sides)
        for shift, weight in wrapped[phase].items():
            weights[shift] = weight
        return Modes.of(np.fft.fftn(weights).conj().ravel())

    return Topology(
        spec,
        num_nodes,
        len(wrapped),
        row,
        readers,
        max((sum(any(shift) for shift in shifts) for shifts in wrapped), default=0),
        all(_is_even(shifts, sides) for shifts in wrapped),
        modes_of=modes,
    )


def circulant(spec: str, num_nodes: int, phases: Sequence[Mapping[int, float]]) -> Topology:
    """Make a topology in which node i receives from i + shift, the same for all nodes.

    Parameters
    ----------
    phases : sequence of {shift: weight}
        One entry a phase; weights non-negative with sum 1.
    """
    num_nodes = check_num_nodes(spec, num_nodes)
    return cayley(spec, (num_nodes,), [{(s,): w for s, w in shifts.items()} for shifts in phases])


def _wrapped(shifts: Mapping[Shift, float], sides: Sequence[int]) -> dict[Shift, float]:
    """Return the shifts modulo the sides, the weights of those that coincide added."""
    wrapped: dict[Shift, float] = {}
    for shift, weight in shifts.items():
        inside = tuple(step % side for step, side in zip(shift, sides, strict=True))
        wrapped[inside] = wrapped.get(inside, 0.0) + weight
    return wrapped


def _is_even(shifts: Mapping[Shift, float], sides: Sequence[int]) -> bool:
    """Return whether each shift has the weight of its inverse: W is symmetric."""
    inverse = {
        tuple(-step % side for step, side in zip(shift, sides, strict=True)): weight
        for shift, weight in shifts.items()
    }
    return inverse == dict(shifts)


def check_num_nodes(spec: str, num_nodes: int) -> int:
    """Return the number of nodes; ``PlanError`` unless it is a whole number from 1."""
    return check_count(f"{spec}: num_nodes", num_nodes)


def check_doubly_stochastic(matrix: NDArray[np.float64], name: str) -> None:
    """Raise ``PlanError`` unless ``matrix`` is square, non-negative, rows and columns sum to 1."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < 1:
        raise PlanError(f"{name} has shape {matrix.shape}, allowed is (n, n) with n >= 1.")
    check_sums(matrix, matrix.sum(axis=1), matrix.sum(axis=0), name)


def check_sums(
    weights: NDArray[np.float64],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    name: str,
) -> None:
    """Raise ``PlanError`` for the first weight, row sum or column sum that W must not have."""
    bad = weights[~(np.isfinite(weights) & (weights >= 0))]
    if bad.size:
        raise PlanError(f"{name} has an entry of {bad[0]}, allowed are finite values >= 0.")
    for sums, what in ((rows, "row"), (columns, "column")):
        worst = int(np.abs(sums - 1.0).argmax())
        if abs(sums[worst] - 1.0) > _TOLERANCE:
            raise PlanError(
                f"{what} {worst} of {name} sums to {sums[worst]:.12g}, allowed is 1: "
                "a mixing matrix is doubly stochastic."
            )
