"""Topologies over random graphs, drawn from the seed in their spec and from nothing else.

Every node draws the same graph by itself, since no version of numpy or networkx changes the
draws (see :mod:`~..draws`): only the spec travels. The random regular graph that is fresh each
round is that of M. de Vos et al., "Epidemic Learning: Boosting Decentralized Learning with
Randomized Communication", NeurIPS 2023, arXiv:2310.01972 (EL-Oracle).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from math import log
from numbers import Real

import numpy as np

from ..counts import as_count, check_count
from ..draws import check_seed, words
from ..errors import PlanError
from .base import Modes, Row, Topology, undirected
from .edge_draws import Ints, independent, neighbor_lists, regular, rewired
from .explicit import parts

__all__ = ["ATTEMPTS", "erdos_renyi", "random_regular", "small_world"]

ATTEMPTS = 100
"""How many graphs are drawn before a topology that must be connected is given up."""

_KEPT_NEIGHBORS = 1 << 22  # 32 MiB of a topology's latest rounds


def random_regular(num_nodes: int, degree: int, seed: int = 0) -> Topology:
    """Return the topology that draws a new D-regular graph in each round (EL-Oracle).

    Every node averages with D others, W = 1 / (D + 1) on each of them and on itself. In each
    round all nodes have the same chances; for large n all D-regular simple graphs have. The
    graph of a single round need not be connected (with D = 1 it is a matching): models spread
    over the rounds. ``period`` is None. The first row of a round costs O(n D log(n D)), more
    of them O(D) while the round is among the latest, which are kept.

    Raises ``PlanError`` unless 1 <= D < n, n D is even and the seed fits into a message.
    """
    spec = _spec("random-regular", seed, degree)
    alone = ": a single node has no neighbour; use 'alone'"
    num_nodes = check_count(f"{spec}: num_nodes", num_nodes, 2, advice=alone)
    degree = _checked_degree(spec, num_nodes, degree)
    neighbors = _rounds(num_nodes, degree, seed)
    weight = 1.0 / (degree + 1)

    def others(node: int, phase: int) -> list[int]:
        found: list[int] = neighbors(phase + 1)[node].tolist()
        return found

    def row(node: int, phase: int) -> Row:
        return dict.fromkeys([node, *others(node, phase)], weight)

    @cache
    def modes() -> Modes:
        # The nodes are exchangeable, so E[W] and E[W^T W] are a I + (1 - a) J with J = 11^T / n;
        # both have 1 / (D + 1) on the diagonal, hence the same a.
        a = (num_nodes / (degree + 1) - 1) / (num_nodes - 1)
        spectrum = np.array([1.0, *[a] * (num_nodes - 1)])
        return Modes(spectrum.astype(np.complex128), spectrum)

    return Topology(
        spec, num_nodes, None, row, others, degree, symmetric=True, modes_of=lambda _phase: modes()
    )


def erdos_renyi(num_nodes: int, probability: float, seed: int = 0) -> Topology:
    """Return a G(n, p) graph: each of the n (n - 1) / 2 edges is there with probability p.

    Static, Metropolis-Hastings weights, about p (n - 1) neighbours a node. The graph is drawn
    again until it is connected, which is likely for p above ln(n) / n. Cost O(n + edges), here.

    Raises ``PlanError`` unless 0 < p <= 1, and where none of ``ATTEMPTS`` graphs is connected.
    """
    spec = _spec("erdos-renyi", seed, probability)
    num_nodes = check_count(f"{spec}: num_nodes", num_nodes)
    if not _is_probability(probability) or probability == 0:
        raise PlanError(
            f"{spec}: probability is {probability!r}, allowed is a number above 0 and up to 1; "
            "for no edges use 'alone'."
        )
    return _erdos_renyi(num_nodes, float(probability), seed)


def small_world(num_nodes: int, neighbors: int, probability: float, seed: int = 0) -> Topology:
    """Return a Watts-Strogatz graph: a ring with K neighbours a node, partly rewired.

    Each node is joined to the K / 2 nearest on either side; then each edge (i, j), j clockwise
    of i, is replaced with probability p by an edge from i to a node drawn from those that i is
    not joined to. Static, Metropolis-Hastings weights, n K / 2 edges. The graph is drawn again
    until it is connected.

    Raises ``PlanError`` unless K is even and 2 <= K < n (which takes three nodes) and
    0 <= p <= 1, and where none of ``ATTEMPTS`` graphs is connected.
    """
    spec = _spec("small-world", seed, neighbors, probability)
    smallest = ": the smallest ring joins each node to two others"
    num_nodes = check_count(f"{spec}: num_nodes", num_nodes, 3, advice=smallest)
    given = as_count(neighbors)
    if given is None or not 2 <= given < num_nodes or given % 2:
        raise PlanError(
            f"{spec}: neighbors is {neighbors!r}, allowed is an even number from 2 to "
            f"{num_nodes - 1} for {num_nodes} nodes: half of them lie on either side."
        )
    if not _is_probability(probability):
        raise PlanError(f"{spec}: probability is {probability!r}, allowed is a number from 0 to 1.")
    return _small_world(num_nodes, given, abs(float(probability)), seed)  # -0.0 is 0.0


# Graphs are kept for those who ask for the same again: many clients may share a process.


@lru_cache(maxsize=16)
def _rounds(num_nodes: int, degree: int, seed: int) -> Callable[[int], Ints]:
    """Return ``round -> (n, D) neighbours``, which keeps the latest rounds, 4 to 1024 of them."""
    purpose = f"random-regular {num_nodes} {degree}"

    @lru_cache(maxsize=max(4, min(1024, _KEPT_NEIGHBORS // (num_nodes * degree))))
    def neighbors(round: int) -> Ints:
        return regular(num_nodes, degree, words(seed, round, purpose))

    return neighbors


@lru_cache(maxsize=16)
def _erdos_renyi(num_nodes: int, probability: float, seed: int) -> Topology:
    purpose = f"erdos-renyi {num_nodes} {probability!r}"
    return _connected(
        _spec("erdos-renyi", seed, probability),
        num_nodes,
        lambda attempt: independent(num_nodes, probability, words(seed, attempt, purpose)),
        f"for n = {num_nodes} nodes that is likely only for p above ln(n) / n = "
        f"{log(num_nodes) / num_nodes:.3g}, but p is {probability!r}; give a larger p.",
    )


@lru_cache(maxsize=16)
def _small_world(num_nodes: int, neighbors: int, probability: float, seed: int) -> Topology:
    purpose = f"small-world {num_nodes} {neighbors} {probability!r}"
    return _connected(
        _spec("small-world", seed, neighbors, probability),
        num_nodes,
        lambda attempt: rewired(num_nodes, neighbors, probability, words(seed, attempt, purpose)),
        f"n = {num_nodes} nodes with {neighbors} neighbours each often fall apart if edges are "
        f"rewired with p = {probability!r}; give more neighbours or a smaller p.",
    )


def _connected(
    spec: str, num_nodes: int, draw: Callable[[int], tuple[Ints, Ints]], advice: str
) -> Topology:
    """Return the topology of the first graph, ``draw(1)``, ``draw(2)``, ..., that is connected."""
    for attempt in range(1, ATTEMPTS + 1):
        low, high = draw(attempt)
        if not parts(num_nodes, low, high, "weak").any():
            return _static(spec, num_nodes, *neighbor_lists(num_nodes, low, high))
    raise PlanError(f"{spec}: none of {ATTEMPTS} graphs drawn is connected: {advice}")


def _static(spec: str, num_nodes: int, starts: Ints, others: Ints) -> Topology:
    return undirected(
        spec,
        num_nodes,
        lambda node: others[starts[node] : starts[node + 1]].tolist(),
        int(np.diff(starts).max()),
    )


def _spec(form: str, seed: int, *arguments: object) -> str:
    """Return ``form:a,b``, with ``,seed=S`` behind it unless the seed is 0."""
    given = check_seed(seed)
    return f"{form}:{','.join(map(_text, arguments))}" + (f",seed={given}" if given else "")


def _text(argument: object) -> str:
    """Return a number as Python writes it, whatever type of number it is."""
    if (count := as_count(argument)) is not None:
        return str(count)
    return repr(float(argument) if isinstance(argument, Real) else argument)


def _checked_degree(spec: str, num_nodes: int, degree: int) -> int:
    given = as_count(degree)
    if given is None or not 1 <= given < num_nodes:
        hint = "" if degree else "; for no edges use 'alone'"
        raise PlanError(
            f"{spec}: degree is {degree!r}, allowed is a whole number from 1 to "
            f"{num_nodes - 1} for {num_nodes} nodes{hint}."
        )
    if num_nodes * given % 2:
        raise PlanError(
            f"{spec}: degree is {degree} for {num_nodes} nodes, allowed are even degrees where "
            "the number of nodes is odd, since each edge has two ends."
        )
    return given


def _is_probability(value: object) -> bool:
    return (
        isinstance(value, int | float | np.floating)
        and not isinstance(value, bool)
        and bool(0 <= value <= 1)
    )
