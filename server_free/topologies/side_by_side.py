"""Topologies over disjoint groups of nodes, as one: how candidates train at the same time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import lcm

from ..errors import PlanError
from .base import Row, Topology

__all__ = ["NAME", "parse_side_by_side", "side_by_side"]

NAME = "side-by-side"

FromSpec = Callable[[str, int], Topology]


def side_by_side(spec: str, sizes: Sequence[int], from_spec: FromSpec) -> Topology:
    """Return W = diag(W_1, ..., W_m): group g is ``from_spec(spec, sizes[g])`` for itself.

    The groups are consecutive nodes and never exchange anything. The period is the groups' least
    common multiple. Raises ``PlanError`` when there is no group or a size does not fit the spec.
    """
    if not sizes:
        raise PlanError(f"{NAME}: there are no groups, allowed is one or more sizes.")
    groups = [from_spec(spec, size) for size in sizes]
    starts = list(accumulate(sizes, initial=0))
    periods = [group.period for group in groups if group.period is not None]

    def inside(node: int, phase: int) -> tuple[int, Topology, int]:
        place = bisect_right(starts, node) - 1
        period = groups[place].period
        return starts[place], groups[place], phase if period is None else phase % period

    def row(node: int, phase: int) -> Row:
        start, group, own = inside(node, phase)
        return {start + sender: w for sender, w in group.row_of(node - start, own).items()}

    def readers(node: int, phase: int) -> list[int]:
        start, group, own = inside(node, phase)
        return [start + reader for reader in group.readers_of(node - start, own)]

    return Topology(
        f"{NAME}:{'+'.join(map(str, sizes))},{spec}",
        starts[-1],
        lcm(*periods) if len(periods) == len(groups) else None,
        row,
        readers,
        max(group.max_degree for group in groups),
        all(group.symmetric for group in groups),
    )


def parse_side_by_side(argument: str, num_nodes: int, from_spec: FromSpec) -> Topology:
    """Return the topology of ``side-by-side:1+2+4,SPEC``; its sizes add up to ``num_nodes``."""
    listed, comma, spec = argument.partition(",")
    sizes = [int(size) for size in listed.split("+") if size.isdecimal()]
    if not comma or not sizes or "+".join(map(str, sizes)) != listed:
        raise PlanError(
            f"topology '{NAME}:{argument}': write {NAME}:SIZE+SIZE,SPEC, for instance "
            f"{NAME}:1+2+4,ring."
        )
    if sum(sizes) != num_nodes:
        raise PlanError(
            f"topology '{NAME}:{argument}' has {sum(sizes)} nodes, but num_nodes is {num_nodes}."
        )
    return side_by_side(spec, sizes, from_spec)
