"""Topologies from text: ``ring``, ``torus:4x8``, ``random-regular:4,seed=1`` and the like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

from ..errors import PlanError
from . import base_graphs, catalogue, files, random_graphs
from .base import Topology
from .side_by_side import NAME as SIDE_BY_SIDE
from .side_by_side import parse_side_by_side

__all__ = ["SPECS", "from_spec", "maker_of"]

_WHOLE = r"(\d{1,18})"
_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_SEED = r"(?:,seed=(\d{1,19}))?"
_SIDES = rf"{_WHOLE}x{_WHOLE}"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a topology with arguments is written.

    Parameters
    ----------
    arguments, example : str
        What stands behind the colon: the names of the arguments, and values of them.
    pattern : str
        A regular expression with a group for each argument.
    make : callable
        ``(num_nodes, *groups) -> Topology``; a group that may be missing is None then.
    """

    arguments: str
    example: str
    pattern: str
    make: Callable[..., Topology]

    def maker(self, spec: str) -> Callable[[int], Topology]:
        """Return ``num_nodes -> Topology`` for ``spec``, which is ``name:argument``."""
        name, _, argument = spec.partition(":")
        match = re.fullmatch(self.pattern, argument, flags=re.ASCII)
        if match is None:
            seed = " or with ,seed=S behind it" if self.pattern.endswith(_SEED) else ""
            raise PlanError(
                f"topology {spec!r}: write {name}:{self.arguments}{seed}, "
                f"for instance {name}:{self.example}."
            )
        make, groups = self.make, match.groups()
        return lambda num_nodes: make(num_nodes, *groups)


def _with_sides(make: Callable[[int, int], Topology]) -> Callable[..., Topology]:
    """Return the maker of a topology of R rows and C columns, which must be all the nodes."""

    def checked(num_nodes: int, rows: str, columns: str) -> Topology:
        topology = make(int(rows), int(columns))
        return _of_size(topology, num_nodes, f"rows times columns must be {num_nodes}")

    return checked


def _of_size(topology: Topology, num_nodes: int, advice: str) -> Topology:
    if topology.num_nodes != num_nodes:
        raise PlanError(
            f"topology {topology.spec!r} has {topology.num_nodes} nodes, but num_nodes is "
            f"{num_nodes}; {advice}."
        )
    return topology


def _davis(num_nodes: int) -> Topology:
    return _of_size(files.davis_southern_women(), num_nodes, "no other number is possible")


def _random_regular(num_nodes: int, degree: str, seed: str | None) -> Topology:
    return random_graphs.random_regular(num_nodes, int(degree), int(seed or 0))


def _erdos_renyi(num_nodes: int, probability: str, seed: str | None) -> Topology:
    return random_graphs.erdos_renyi(num_nodes, float(probability), int(seed or 0))


def _small_world(num_nodes: int, neighbors: str, probability: str, seed: str | None) -> Topology:
    return random_graphs.small_world(num_nodes, int(neighbors), float(probability), int(seed or 0))


_PLAIN: dict[str, Callable[[int], Topology]] = {
    "alone": catalogue.alone,
    "binary-tree": catalogue.binary_tree,
    "chain": catalogue.chain,
    "complete": catalogue.complete,
    "davis-southern-women": _davis,
    "directed-ring": catalogue.directed_ring,
    "exponential": catalogue.exponential,
    "hypercube": catalogue.hypercube,
    "one-peer-exponential": catalogue.one_peer_exponential,
    "one-peer-hypercube": catalogue.one_peer_hypercube,
    "ring": catalogue.ring,
    "star": catalogue.star,
    "two-cliques": catalogue.two_cliques,
}
_WITH_ARGUMENTS: dict[str, _Form] = {
    "base-graph": _Form("K", "1", _WHOLE, lambda n, k: base_graphs.base_graph(n, int(k))),
    "edges": _Form("FILE", "graph.txt", r"(.+)", lambda n, path: files.from_edge_file(path, n)),
    "erdos-renyi": _Form("P", "0.3", _NUMBER + _SEED, _erdos_renyi),
    "grid": _Form("RxC", "4x8", _SIDES, _with_sides(catalogue.grid)),
    "random-regular": _Form("D", "4", _WHOLE + _SEED, _random_regular),
    "simple-base-graph": _Form(
        "K", "1", _WHOLE, lambda n, k: base_graphs.simple_base_graph(n, int(k))
    ),
    "small-world": _Form("K,P", "4,0.1", f"{_WHOLE},{_NUMBER}{_SEED}", _small_world),
    "torus": _Form("RxC", "4x8", _SIDES, _with_sides(catalogue.torus)),
}
_FORM_OF_NAME: dict[str, str] = {
    **{name: name for name in _PLAIN},
    **{name: f"{name}:{form.arguments}" for name, form in _WITH_ARGUMENTS.items()},
}

SPECS: tuple[str, ...] = tuple(sorted(_FORM_OF_NAME.values()))
"""The forms that :func:`from_spec` understands; and ``side-by-side:SIZE+SIZE,SPEC`` of a search."""


def from_spec(spec: str, num_nodes: int) -> Topology:
    """Return the topology that ``spec`` describes for ``num_nodes`` nodes.

    Raises ``PlanError`` (a ``ValueError``) that names the spec and how it is written, or the
    allowed forms.
    """
    return maker_of(spec)(num_nodes)


def maker_of(spec: str) -> Callable[[int], Topology]:
    """Return ``num_nodes -> Topology`` for ``spec``; ``PlanError`` as :func:`from_spec`.

    What is wrong whatever the number of nodes is told before that is known.
    """
    name, colon, argument = spec.partition(":")
    if name in _PLAIN and not colon:
        return _PLAIN[name]
    if name in _WITH_ARGUMENTS:
        return _WITH_ARGUMENTS[name].maker(spec)
    if name == SIDE_BY_SIDE:
        return partial(parse_side_by_side, argument, from_spec=from_spec)
    close = get_close_matches(name.lower().replace("_", "-"), _FORM_OF_NAME, n=1)
    meant = f" (did you mean {_FORM_OF_NAME[close[0]]!r}?)" if close else ""
    raise PlanError(f"topology {spec!r} is unknown{meant}; allowed are {', '.join(SPECS)}.")
