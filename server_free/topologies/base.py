"""The contract of a topology and the two ways to make one from neighbours.

A topology answers for one node at a time, so a row costs O(degree) whatever
the number of nodes; the (n, n) matrix is built only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError

__all__ = ["Topology", "check_doubly_stochastic", "check_sums", "circulant", "undirected"]

Row = dict[int, float]

_TOLERANCE = 1e-9


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
    period : int
        Number of phases, at least 1.
    row_of : callable
        ``(node, phase) -> {sender: weight}``, the node itself included, sums to 1.
    readers_of : callable
        ``(node, phase) -> receivers``: who gives this node a positive weight, the
        node itself excluded.
    payload : bytes (default: b"")
        The topology itself, where it is not a formula.
    """

    spec: str
    num_nodes: int
    period: int
    row_of: Callable[[int, int], Row] = field(repr=False, compare=False)
    readers_of: Callable[[int, int], Iterable[int]] = field(repr=False, compare=False)
    payload: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.num_nodes, int) or self.num_nodes < 1:
            raise PlanError(
                f"{self.spec}: num_nodes is {self.num_nodes!r}, allowed is a whole number from 1."
            )
        if self.period < 1:
            raise PlanError(f"{self.spec}: period is {self.period}, allowed is 1 or more.")

    def phase(self, round: int) -> int:
        """Return the phase, 0..period-1, that round ``round`` (from 1) uses."""
        if round < 1:
            raise PlanError(f"round is {round}; rounds count from 1.")
        return (round - 1) % self.period

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

    def _checked(self, node: int) -> int:
        if not 0 <= node < self.num_nodes:
            raise PlanError(
                f"node is {node}, allowed is 0..{self.num_nodes - 1} for topology {self.spec!r}."
            )
        return node


def undirected(spec: str, num_nodes: int, neighbors: Callable[[int], Iterable[int]]) -> Topology:
    """Make a static topology with Metropolis-Hastings weights from symmetric neighbours.

    ``W[i, j] = 1 / (1 + max(deg_i, deg_j))`` for neighbours, the rest on the diagonal,
    which makes W symmetric and doubly stochastic (Xiao & Boyd, 2004).
    """

    def others(node: int) -> frozenset[int]:
        return frozenset(neighbors(node)) - {node}

    # Kept, since a node of low degree may have neighbours of high degree: a star's centre.
    @cache
    def degree(node: int) -> int:
        return len(others(node))

    def row(node: int, _phase: int) -> Row:
        mine = others(node)
        weights = {j: 1.0 / (1 + max(len(mine), degree(j))) for j in mine}
        weights[node] = 1.0 - sum(weights.values())
        return weights

    return Topology(spec, num_nodes, 1, row, lambda node, _phase: others(node))


def circulant(spec: str, num_nodes: int, phases: Sequence[Mapping[int, float]]) -> Topology:
    """Make a topology in which node i receives from i + shift, the same for all nodes.

    Parameters
    ----------
    phases : sequence of {shift: weight}
        One entry a phase; weights non-negative with sum 1, so that each W is a convex
        combination of permutations and hence doubly stochastic.
    """
    for phase, shifts in enumerate(phases):
        if min(shifts.values()) < 0 or abs(sum(shifts.values()) - 1.0) > _TOLERANCE:
            raise PlanError(f"{spec}: the weights of phase {phase} are not non-negative with sum 1")

    def row(node: int, phase: int) -> Row:
        weights: Row = {}
        for shift, weight in phases[phase].items():
            sender = (node + shift) % num_nodes
            weights[sender] = weights.get(sender, 0.0) + weight
        return weights

    def readers(node: int, phase: int) -> set[int]:
        return {(node - shift) % num_nodes for shift in phases[phase]} - {node}

    return Topology(spec, num_nodes, len(phases), row, readers)


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
