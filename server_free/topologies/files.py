"""Topologies of graphs that lie in a file: the user's own edges, and one that networkx brings."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ..errors import PlanError
from .base import Topology, check_num_nodes, undirected
from .explicit import from_neighbors

__all__ = ["MOST_BYTES", "davis_southern_women", "from_edge_file"]

MOST_BYTES = 1 << 26
"""The largest edge file that is read: 64 MiB, some five million edges."""


def from_edge_file(path: str | os.PathLike[str], num_nodes: int) -> Topology:
    """Return the Metropolis-Hastings topology of the undirected edges in a text file.

    One edge a line: two nodes, 0..n-1, separated by blanks, a tab or a comma, such as ``0 1``,
    or a CSV file without a header. ``#`` begins a comment. Empty lines, edges that are there
    twice (in either direction) and self loops change nothing. The file is read once, here; the
    topology carries its edges in ``payload``, so no other machine needs the file.

    Parameters
    ----------
    path : str or path
        UTF-8 text of at most ``MOST_BYTES``.
    num_nodes : int
        Number of nodes n; the edges must connect them all.

    Raises
    ------
    PlanError
        Names the file, the line and what is allowed.
    """
    if not isinstance(path, str | os.PathLike):
        raise PlanError(f"edges: path is {path!r}, allowed is the path of a text file.")
    name = os.fsdecode(path)
    spec = f"edges:{name}"
    num_nodes = check_num_nodes(spec, num_nodes)
    neighbors: list[set[int]] = [set() for _ in range(num_nodes)]
    for number, line in enumerate(_lines(name), start=1):
        if edge := _edge(line, num_nodes, f"{name} line {number}"):
            one, other = edge
            neighbors[one].add(other)
            neighbors[other].add(one)
    if num_nodes > 1 and not any(neighbors):
        raise PlanError(f"{name} has no edges; write one a line, two nodes such as '0 1'.")
    return from_neighbors(spec, neighbors)


def davis_southern_women() -> Topology:
    """Return the Davis Southern women network: 32 nodes, 18 women and the 14 events they went to.

    Nodes are in the order of networkx's graph, women first (A. Davis, B. Gardner, M. Gardner,
    "Deep South", 1941). Static, Metropolis-Hastings weights.
    """
    neighbors = _davis()
    return undirected(
        "davis-southern-women",
        len(neighbors),
        lambda node: neighbors[node],
        max(map(len, neighbors)),
    )


@cache
def _davis() -> tuple[frozenset[int], ...]:
    import networkx as nx

    graph = nx.davis_southern_women_graph()
    index = {name: i for i, name in enumerate(graph)}
    return tuple(frozenset(index[other] for other in graph[name]) for name in graph)


def _lines(name: str) -> list[str]:
    """Return the lines of a text file, whatever ends them."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PlanError(
            f"{name!r} cannot be read: {reason}; allowed is a file of edges."
        ) from error
    if len(content) > MOST_BYTES:
        raise PlanError(f"{name} is too large, allowed are {MOST_BYTES} bytes.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError(f"{name} is not text: {error.reason} at byte {error.start}.") from error
    if "\0" in text:
        raise PlanError(f"{name} is not text: it has a zero byte.")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _edge(line: str, num_nodes: int, where: str) -> tuple[int, int] | None:
    """Return the two nodes that a line names; None for a blank line."""
    content = line.partition("#")[0].strip()
    if not content:
        return None
    ends = content.replace(",", " ", 1).split()
    if len(ends) != 2:
        raise PlanError(
            f"{where}: {content[:80]!r} is not an edge; allowed are two nodes of "
            f"0..{num_nodes - 1}, separated by a blank or a comma."
        )
    return _node(ends[0], num_nodes, where), _node(ends[1], num_nodes, where)


def _node(text: str, num_nodes: int, where: str) -> int:
    known = text.isascii() and text.isdigit() and len(text) <= 18 and int(text) < num_nodes
    if not known:
        raise PlanError(f"{where}: node {text[:80]!r} is unknown, allowed are 0..{num_nodes - 1}.")
    return int(text)
