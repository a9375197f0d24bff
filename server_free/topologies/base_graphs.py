"""Base-(k+1) graphs: degree k, and one period is the exact average of any number of nodes.

Y. Takezawa, R. Sato, H. Bao, K. Niwa, M. Yamada, "Beyond Exponential Graph:
Communication-Efficient Topologies for Decentralized Learning via Finite-time Convergence",
NeurIPS 2023, arXiv:2305.11420. Rows are computed from the node's own number alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import isqrt, prod

from ..counts import check_count
from .base import Row, Topology, cayley, check_num_nodes

__all__ = ["base_graph", "simple_base_graph"]

Factors = tuple[int, ...]


def base_graph(num_nodes: int, max_degree: int) -> Topology:
    """Return the Base-(k+1) graph with k = ``max_degree`` (Algorithm 3).

    One period is the exact average, for any number of nodes; it has at most
    2 log_{k+1}(n) + 2 rounds (Theorem 1), and never more than :func:`simple_base_graph`.
    W is symmetric in every phase.

    Where n = p * q, p being the largest divisor without a prime factor above k + 1: p groups of
    q nodes in a row average by the simple graph, then q groups, of one node of each of those,
    by the hyper-hypercube. Where the simple graph of all n is shorter, it is that.
    """
    spec, num_nodes, max_degree = _checked("base-graph", num_nodes, max_degree)
    common = _smooth_part(num_nodes, max_degree + 1)
    if common == num_nodes:
        return _hyper_hypercube(spec, num_nodes, max_degree)
    across, rest = _fewest_factors(common, max_degree + 1), num_nodes // common
    whole, inside = _Blocks.of(num_nodes, max_degree), _Blocks.of(rest, max_degree)
    if whole.period < inside.period + len(across):
        return _mutual(spec, num_nodes, whole.period, whole.row, max_degree)

    def row(node: int, phase: int) -> Row:
        group, place = divmod(node, rest)
        if phase < inside.period:
            found = inside.row(place, phase)
            return {group * rest + other: weight for other, weight in found.items()}
        groups = _averaging(group, across, phase - inside.period)
        return _equal([other * rest + place for other in groups])

    return _mutual(spec, num_nodes, inside.period + len(across), row, max_degree)


def simple_base_graph(num_nodes: int, max_degree: int) -> Topology:
    """Return the Simple Base-(k+1) graph with k = ``max_degree`` (Algorithm 2).

    As :func:`base_graph`, whose groups use it, and within the same 2 log_{k+1}(n) + 2 rounds a
    period: m + 1 + p of them, where (k+1)^p is the largest power up to n, and m = p, or p + 1
    where n >= 2 (k+1)^p. Where n has no prime factor above k + 1 it is the hyper-hypercube.
    """
    spec, num_nodes, max_degree = _checked("simple-base-graph", num_nodes, max_degree)
    if _smooth_part(num_nodes, max_degree + 1) == num_nodes:
        return _hyper_hypercube(spec, num_nodes, max_degree)
    blocks = _Blocks.of(num_nodes, max_degree)
    return _mutual(spec, num_nodes, blocks.period, blocks.row, max_degree)


def _hyper_hypercube(spec: str, num_nodes: int, max_degree: int) -> Topology:
    """Return the k-peer hyper-hypercube (Algorithm 1): one digit of the node's number a phase."""
    factors = _fewest_factors(num_nodes, max_degree + 1)
    sides = factors[::-1] or (1,)  # cayley counts the last side fastest, phases the lowest first
    shifts = [
        [tuple(step * (axis == other) for other in range(len(sides))) for step in range(side)]
        for axis, side in reversed(list(enumerate(sides)))
    ]
    return cayley(spec, sides, [dict.fromkeys(phase, 1.0 / len(phase)) for phase in shifts])


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The simple graph of an n = a_1 (k+1)^p_1 + a_2 (k+1)^p_2 + ..., p_1 > p_2 > ....

    Block l holds a_l parts of (k+1)^p_l nodes in a row. First every block averages itself. Then
    each node of the later blocks meets one of every part of block l, for l = 1, 2, ..., so that
    every part has the mean of all; and averages itself in the phases that follow.

    Parameters
    ----------
    clique : int
        k + 1.
    counts, sizes : tuple of int
        a_l and (k+1)^p_l of each block.
    starts : tuple of int
        The first node of each block, and n.
    of_block, of_part : tuple of tuple of int
        The factors by which a block and each of its parts average themselves.
    """

    clique: int
    counts: tuple[int, ...]
    sizes: tuple[int, ...]
    starts: tuple[int, ...]
    of_block: tuple[Factors, ...]
    of_part: tuple[Factors, ...]

    @staticmethod
    def of(num_nodes: int, max_degree: int) -> _Blocks:
        """Return the blocks of n nodes, one a digit of n in base k + 1, the highest first."""
        clique, powers = max_degree + 1, [1]
        while powers[-1] * clique <= num_nodes:
            powers.append(powers[-1] * clique)
        digits = [(num_nodes // size % clique, size) for size in reversed(powers)]
        counts, sizes = zip(*[(count, size) for count, size in digits if count], strict=True)
        lengths = [count * size for count, size in zip(counts, sizes, strict=True)]
        return _Blocks(
            clique,
            counts,
            sizes,
            tuple(accumulate(lengths, initial=0)),
            tuple(_fewest_factors(length, clique) for length in lengths),
            tuple(_fewest_factors(size, clique) for size in sizes),
        )

    @property
    def period(self) -> int:
        """Number of phases until all nodes have the mean: the first block is done last."""
        return len(self.of_block[0]) + 1 + len(self.of_part[0])

    def row(self, node: int, phase: int) -> Row:
        """Return the row of a node; a block that is done goes on, which keeps its mean."""
        block = bisect_right(self.starts, node) - 1
        meeting = phase - len(self.of_block[0])
        if meeting < 0:
            return self._average(node, self.starts[block], self.of_block[block], phase)
        if meeting < block:
            return self._meet_parts(node, meeting)
        if meeting == block < len(self.sizes) - 1:
            return self._meet_later(node, block)
        factors = self.of_part[block] or self.of_block[block]
        size = prod(factors)
        first = node - (node - self.starts[block]) % size
        return self._average(node, first, factors, meeting - block - 1)

    def _average(self, node: int, first: int, factors: Factors, phase: int) -> Row:
        places = _averaging(node - first, factors, phase)
        return _equal([first + place for place in places])

    def _meet_parts(self, node: int, block: int) -> Row:
        """Return the row of a node of a later block: one partner in every part of ``block``."""
        start, end, size = self.starts[block], self.starts[block + 1], self.sizes[block]
        total = self.starts[-1] - start
        row = dict.fromkeys(range(start + node - end, end, size), size / total)
        return {**row, node: (self.starts[-1] - end) / total}

    def _meet_later(self, node: int, block: int) -> Row:
        """Return the row of a node of ``block``: its partner, or else others without one."""
        start, end, size = self.starts[block], self.starts[block + 1], self.sizes[block]
        total, later = self.starts[-1] - start, self.starts[-1] - end
        part, place = divmod(node - start, size)
        if place < later:
            return {end + place: size / total, node: (total - size) / total}
        spare = size - later
        index = part * spare + place - later
        first = index - index % self.clique
        group = range(first, min(first + self.clique, self.counts[block] * spare))
        return _equal([start + i // spare * size + later + i % spare for i in group])


def _averaging(place: int, factors: Factors, phase: int) -> range:
    """Return the places that agree with ``place`` in all digits but one, of mixed radix."""
    if not factors:
        return range(place, place + 1)
    digit = phase % len(factors)
    side, stride = factors[digit], prod(factors[:digit])
    first = place - place // stride % side * stride
    return range(first, first + side * stride, stride)


def _equal(nodes: list[int]) -> Row:
    return dict.fromkeys(nodes, 1.0 / len(nodes))


def _mutual(
    spec: str, num_nodes: int, period: int, row: Callable[[int, int], Row], max_degree: int
) -> Topology:
    """Make a topology whose every phase is symmetric: who reads a node is whom it reads."""
    return Topology(
        spec,
        num_nodes,
        period,
        row,
        lambda node, phase: row(node, phase).keys() - {node},
        max_degree,
        symmetric=True,
    )


def _checked(form: str, num_nodes: int, max_degree: int) -> tuple[str, int, int]:
    """Return the spec and both numbers; ``PlanError`` unless they are whole, from 1."""
    spec = f"{form}:{max_degree}"
    degree = check_count(f"{spec}: max_degree", max_degree)
    return spec, check_num_nodes(spec, num_nodes), degree


def _smooth_part(number: int, limit: int) -> int:
    """Return the largest divisor of ``number`` without a prime factor above ``limit``."""
    rest = number
    for factor in range(2, min(limit, number) + 1):
        while rest % factor == 0:
            rest //= factor
    return number // rest


def _fewest_factors(number: int, limit: int) -> Factors:
    """Return the fewest factors up to ``limit`` with this product, sorted; of those, the smallest.

    ``number`` has no prime factor above ``limit``. Small factors mean few models in a phase.
    """
    low = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    divisors = sorted({*low, *(number // d for d in low)})
    found: dict[int, Factors] = {1: ()}
    for divisor in divisors[1:]:
        splits = [
            (*found[divisor // last], last)
            for last in divisors
            if 1 < last <= limit and divisor % last == 0 and divisor // last in found
        ]
        if splits:
            found[divisor] = min(splits, key=lambda split: (len(split), sum(split), split))
    return tuple(sorted(found[number]))
