"""Availability: when a node is online, from exponential on and off times or from a trace.

Offline means switched off or out of reach: the node neither computes nor sends nor receives.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .distributions import uniforms

__all__ = ["Availability", "OnOff", "OnlineTrace"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_EVENTS_A_CELL = 4.0
_AT_ONCE = 8192  # nodes, to bound the memory
_COUNT = 0xFFFFFFFF  # the index that no event has: its draw tells how many there are


class Availability(Protocol):
    """Who is online when: a pure function of (seed, node, time)."""

    def online(self, nodes: Ints, time_s: float, seed: int) -> tuple[Bools, Floats]:
        """Return who of ``nodes`` is online at a time, and until when that surely stays so.

        At that later time, above ``time_s``, it may change or not: ask again.
        """


@dataclass(frozen=True, slots=True)
class OnOff:
    """Every node is online and offline in turn, for times that are exponential and independent.

    Parameters
    ----------
    mean_on_s, mean_off_s : float
        Mean seconds online (> 0, may be infinite) and offline (> 0). A node is online at a
        share ``mean_on_s / (mean_on_s + mean_off_s)`` of all times, time 0 included.

    Notes
    -----
    The same law, without a past to walk through: at the events of a Poisson process of rate
    ``1/mean_on_s + 1/mean_off_s`` the state is drawn afresh, online with that share
    (uniformization; Jensen 1953). The events of each node in each cell of time, about four, are
    drawn on their own, so that to ask about a node costs the same at any time.
    """

    mean_on_s: float
    mean_off_s: float

    def __post_init__(self) -> None:
        if not self.mean_on_s > 0:
            raise PlanError(f"OnOff: mean_on_s is {self.mean_on_s!r}, allowed are seconds above 0.")
        if not 0 < self.mean_off_s < inf:
            raise PlanError(
                f"OnOff: mean_off_s is {self.mean_off_s!r}, allowed are finite seconds above 0; "
                "for nodes that never leave give no availability."
            )

    @property
    def share(self) -> float:
        """The share of time for which a node is online."""
        return (1.0 / self.mean_off_s) / self._rate

    @property
    def _rate(self) -> float:
        return 1.0 / self.mean_on_s + 1.0 / self.mean_off_s

    def online(self, nodes: Ints, time_s: float, seed: int) -> tuple[Bools, Floats]:
        """Return who is online, and until when at least; see :class:`Availability`."""
        parts = [
            self._part(nodes[start : start + _AT_ONCE], time_s, seed)
            for start in range(0, len(nodes), _AT_ONCE)
        ]
        if not parts:
            return np.zeros(0, np.bool_), np.zeros(0)
        return np.concatenate([on for on, _ in parts]), np.concatenate([to for _, to in parts])

    def _part(self, nodes: Ints, time_s: float, seed: int) -> tuple[Bools, Floats]:
        length = _EVENTS_A_CELL / self._rate
        cell = int(time_s // length)
        first = max(0, cell - 1)
        times, states = self._events(nodes, first, cell + 2, seed)
        state = _state_at(times, states, time_s)
        unknown = np.flatnonzero(state < 0)
        while unknown.size and first > 0:  # nothing happened lately: look further back
            last, first = first, max(0, first - 2)
            state[unknown] = _state_at(*self._events(nodes[unknown], first, last, seed), time_s)
            unknown = unknown[state[unknown] < 0]
        state[unknown] = self._initial(nodes[unknown], seed)
        changes = np.where((times > time_s) & (states != state[:, None]), times, inf)
        until = np.minimum(changes.min(axis=1, initial=inf), (cell + 2) * length)
        return state == 1, until

    def _initial(self, nodes: Ints, seed: int) -> NDArray[np.int8]:
        u, _ = uniforms(seed, "online-at-0", nodes)
        return (u < self.share).astype(np.int8)

    def _events(
        self, nodes: Ints, first: int, last: int, seed: int
    ) -> tuple[Floats, NDArray[np.int8]]:
        """Return times and new states of the events in cells first..last-1, sorted by time.

        Both (m, e); a row with fewer than e events ends in infinite times.
        """
        cells = np.arange(first, last)
        counts = _poisson(uniforms(seed, "online", nodes[:, None], cells, _COUNT)[0])
        inside = np.arange(counts.max(initial=0)) < counts[..., None]
        row, cell, index = np.nonzero(inside)
        where, what = uniforms(seed, "online", nodes[row], cells[cell], index)
        shape = (len(nodes), inside[0].size if len(nodes) else 0)
        times, states = np.full(shape, inf), np.zeros(shape, np.int8)
        times[inside.reshape(shape)] = (cells[cell] + where) * (_EVENTS_A_CELL / self._rate)
        states[inside.reshape(shape)] = what < self.share
        order = np.argsort(times, axis=1)
        return np.take_along_axis(times, order, 1), np.take_along_axis(states, order, 1)


class OnlineTrace:
    """Nodes are online in given intervals and offline else.

    Parameters
    ----------
    intervals : mapping of node to iterable of (from_s, to_s)
        From included, to excluded (may be infinite), in any order, not overlapping. A node with
        no interval is never online; a node that is not in the mapping is an error when asked for.
    """

    def __init__(self, intervals: Mapping[int, Iterable[tuple[float, float]]]) -> None:
        self._edges = {node: _edges(node, given) for node, given in intervals.items()}

    @property
    def nodes(self) -> tuple[int, ...]:
        """The nodes of the trace, sorted."""
        return tuple(sorted(self._edges))

    def online(self, nodes: Ints, time_s: float, seed: int = 0) -> tuple[Bools, Floats]:
        """Return who is online, and until when at least; see :class:`Availability`."""
        found = [self._online(int(node), time_s) for node in nodes]
        return np.array([f[0] for f in found], np.bool_), np.array([f[1] for f in found])

    def _online(self, node: int, time_s: float) -> tuple[bool, float]:
        if node not in self._edges:
            raise PlanError(
                f"node {node} is not in the availability trace; give it an interval, "
                "(0, inf) if it never leaves, (0, 0) if it never comes."
            )
        edges = self._edges[node]
        place = bisect_right(edges, time_s)
        return place % 2 == 1, edges[place] if place < len(edges) else inf


def _edges(node: int, given: Iterable[tuple[float, float]]) -> tuple[float, ...]:
    """Return the times at which a node comes, leaves, comes, ..., rising."""
    edges: list[float] = []
    for start, end in sorted(given):
        if not 0 <= start <= end or start == inf:
            raise PlanError(
                f"node {node} is online from {start} s to {end} s; allowed are 0 <= from <= to."
            )
        if edges and start < edges[-1]:
            raise PlanError(
                f"node {node} is online from {start} s on, but already until {edges[-1]} s; "
                "allowed are intervals that do not overlap."
            )
        if start == end:
            continue
        if edges and start == edges[-1]:
            edges[-1] = end
        else:
            edges += [start, end]
    return tuple(edges)


def _state_at(times: Floats, states: NDArray[np.int8], time_s: float) -> NDArray[np.int8]:
    """Return the state after the last event up to ``time_s``, (m,); -1 where there is none."""
    past = (times <= time_s).sum(axis=1)
    if not times.shape[1]:
        return np.full(len(times), -1, np.int8)
    latest = np.take_along_axis(states, np.maximum(past - 1, 0)[:, None], 1)[:, 0]
    return np.where(past > 0, latest, np.int8(-1))


def _poisson(u: Floats) -> Ints:
    """Return Poisson counts with mean ``_EVENTS_A_CELL`` for uniform numbers, by inversion."""
    terms = [np.exp(-_EVENTS_A_CELL)]
    for count in range(1, 40):  # what lies beyond has probability 1e-25
        terms.append(terms[-1] * _EVENTS_A_CELL / count)
    return np.searchsorted(np.cumsum(terms), u, side="right")
