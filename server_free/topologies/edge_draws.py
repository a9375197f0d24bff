"""Random edges from a stream of words: D-regular, G(n, p) and small-world graphs.

- D-regular: pairing of stubs after A. Steger & N. Wormald, "Generating random regular graphs
  quickly", Combinatorics, Probability and Computing 8 (1999).
- G(n, p): skipping after V. Batagelj & U. Brandes, "Efficient generation of large random
  networks", Physical Review E 71 (2005).
- Small worlds: rewiring after D. Watts & S. Strogatz, "Collective dynamics of 'small-world'
  networks", Nature 393 (1998).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..draws import Words, below, one_by_one, shuffled, uniforms

__all__ = ["Ints", "independent", "neighbor_lists", "regular", "rewired"]

Ints = NDArray[np.int64]

_LONGEST_GAP = 1 << 16


def regular(num_nodes: int, degree: int, stream: Words) -> Ints:
    """Return the neighbours of each node in a random D-regular graph, (n, D) int64, sorted.

    n D is even and 1 <= D < n. Cost O(n D log(n D)), also where the graph is dense.
    """
    absent = num_nodes - 1 - degree
    if absent >= degree:
        low, high = np.divmod(_paired(num_nodes, degree, stream), num_nodes)
        return neighbor_lists(num_nodes, low, high)[1].reshape(num_nodes, degree)
    # The edges that are not there are fewer, so fewer of them collide.
    joined = np.ones((num_nodes, num_nodes), dtype=bool)
    np.fill_diagonal(joined, False)
    if absent:
        joined[_nodes(num_nodes)[:, None], regular(num_nodes, absent, stream)] = False
    return np.nonzero(joined)[1].reshape(num_nodes, degree)


def independent(num_nodes: int, probability: float, stream: Words) -> tuple[Ints, Ints]:
    """Return the edges (low, high) of G(n, p), each pair of nodes with probability p."""
    starts = _nodes(num_nodes) * (_nodes(num_nodes) - 1) // 2  # the pairs (., j) begin here
    pairs = _picked(num_nodes * (num_nodes - 1) // 2, probability, stream)
    high = np.searchsorted(starts, pairs, side="right") - 1
    return pairs - starts[high], high


def rewired(num_nodes: int, neighbors: int, probability: float, stream: Words) -> tuple[Ints, Ints]:
    """Return the edges (low, high) of a Watts-Strogatz graph, sorted.

    As in the paper: lap by lap, first all edges to the next node, then those to the one after.
    A node that is joined to all others keeps its edges.
    """
    hops = np.repeat(_nodes(neighbors // 2) + 1, num_nodes)
    heads = np.tile(_nodes(num_nodes), neighbors // 2)
    tails = (heads + hops) % num_nodes
    edges = set((np.minimum(heads, tails) * num_nodes + np.maximum(heads, tails)).tolist())
    chosen = uniforms(stream, len(heads)) < probability
    bits = one_by_one(stream)
    degrees = [neighbors] * num_nodes
    for head, tail in zip(heads[chosen].tolist(), tails[chosen].tolist(), strict=True):
        if degrees[head] == num_nodes - 1:
            continue
        other = below(bits, num_nodes)
        while other == head or _edge(head, other, num_nodes) in edges:
            other = below(bits, num_nodes)
        edges.remove(_edge(head, tail, num_nodes))
        edges.add(_edge(head, other, num_nodes))
        degrees[tail] -= 1
        degrees[other] += 1
    low, high = np.divmod(np.sort(np.fromiter(edges, np.int64, len(edges))), num_nodes)
    return low, high


def neighbor_lists(num_nodes: int, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Return where each node's neighbours start, (n + 1,), and all neighbours, each node's sorted.

    Each edge of the simple graph is given once.
    """
    heads, tails = np.concatenate([low, high]), np.concatenate([high, low])
    starts = np.concatenate([[0], np.cumsum(np.bincount(heads, minlength=num_nodes))])
    return starts, np.sort(heads * num_nodes + tails) % num_nodes


def _nodes(number: int) -> Ints:
    return np.arange(number, dtype=np.int64)


def _edge(one: int, other: int, num_nodes: int) -> int:
    return min(one, other) * num_nodes + max(one, other)


def _paired(num_nodes: int, degree: int, stream: Words) -> Ints:
    """Return the edges low * n + high of a random D-regular graph, sorted.

    D stubs a node are paired at random. Pairs that are a loop or an edge already are taken
    apart and paired again; where no two of the stubs left can be joined, all is begun anew.
    """
    while True:
        stubs = np.repeat(_nodes(num_nodes), degree)
        edges = np.empty(0, dtype=np.int64)
        while stubs.size:
            ends = np.sort(shuffled(stream, stubs).reshape(-1, 2))
            pairs = ends[:, 0] * num_nodes + ends[:, 1]
            fresh = np.zeros(len(pairs), dtype=bool)
            fresh[np.unique(pairs, return_index=True)[1]] = True
            fresh &= (ends[:, 0] != ends[:, 1]) & ~_in_sorted(pairs, edges)
            edges = np.sort(np.concatenate([edges, pairs[fresh]]), kind="stable")
            stubs = ends[~fresh].ravel()
            if not fresh.any() and not _can_be_joined(stubs, edges, num_nodes, degree):
                break
        else:
            return edges


def _can_be_joined(stubs: Ints, edges: Ints, num_nodes: int, degree: int) -> bool:
    """Return whether two different nodes that have stubs left are not joined yet."""
    nodes = np.unique(stubs)
    if len(nodes) > degree + 1:
        return True
    first, second = np.triu_indices(len(nodes), 1)
    return not _in_sorted(nodes[first] * num_nodes + nodes[second], edges).all()


def _in_sorted(values: Ints, found: Ints) -> NDArray[np.bool_]:
    """Return which of ``values`` are in ``found``, which is sorted."""
    places = np.searchsorted(found, values)
    inside = places < len(found)
    inside[inside] = found[places[inside]] == values[inside]
    return inside


def _picked(population: int, probability: float, stream: Words) -> Ints:
    """Return which of ``range(population)`` are picked, each with the probability, sorted.

    Skips from pick to pick by the geometric law (Batagelj & Brandes 2005). The law is a table
    of products, since logarithms differ in the last bit between processors and versions; a
    longer gap than the table has is taken in several steps.
    """
    longest = min(population, _LONGEST_GAP)
    shares = 1.0 - np.cumprod(np.full(longest, 1.0 - probability))  # P(gap <= 1), P(gap <= 2), ...
    picked = [np.empty(0, dtype=np.int64)]
    place = -1
    while place < population - 1:
        expected = int((population - place) * max(probability, 1 / longest))
        drawn = uniforms(stream, min(expected + 16, 1 << 18))
        gaps = np.searchsorted(shares, drawn, side="right")
        places = place + np.cumsum(np.minimum(gaps + 1, longest))
        picked.append(places[(gaps < longest) & (places < population)])
        place = int(places[-1])
    return np.concatenate(picked)
