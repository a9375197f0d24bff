"""Rounds that D-SGD and Teleportation need on the quadratics of :mod:`~.moments`, tuned.

The learning rate is tuned continuously: a number of rounds counts as enough if *some* constant
rate leaves the expected error of a slot below the target then. The search is over (0, 1]: a rate of
1 + a keeps as much of the start as 1 - a does and takes in more noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf, log10

import numpy as np

from ..counts import check_count
from ..errors import PlanError
from ..topologies import Topology
from .moments import Problem, checked_rates
from .rates import candidate_topologies
from .responses import Response, Vector, response

__all__ = ["Tuned", "best_num_active", "rounds_to_reach"]

_PER_DECADE = 10
_ZOOMED = 9
_ZOOMS = 6


@dataclass(frozen=True, slots=True)
class Tuned:
    """How soon a method reaches a target, and with what.

    Parameters
    ----------
    rounds : int or None
        The fewest rounds; None where no learning rate reaches the target in the rounds allowed.
    learning_rate : float or None
        The rate with the least error in that round; None where ``rounds`` is None or 0.
    num_active : int
        Nodes that work in a round: k of Teleportation, n of D-SGD.
    """

    rounds: int | None
    learning_rate: float | None
    num_active: int


def rounds_to_reach(
    target: float,
    topology: Topology,
    *,
    num_nodes: int | None = None,
    learning_rates: Sequence[float] | None = None,
    max_rounds: int = 100_000,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    start: float = 10.0,
) -> Tuned:
    """Return the first round in which the expected error of a slot is below ``target``.

    Parameters
    ----------
    target : float
        Above 0; the error is that of :func:`gossip_errors` or :func:`teleportation_errors`.
    topology : Topology
        Over the nodes, or over the k slots of Teleportation.
    num_nodes : int, optional
        n, for Teleportation; without it the method is D-SGD.
    learning_rates : sequence of float, optional
        The only rates allowed; without them any rate in (0, 1] is.
    max_rounds : int (default: 100_000)
        Give up after so many.
    sigma2, zeta2, start : float
        As in :func:`gossip_moments`.

    Raises
    ------
    PlanError
        For values outside these, and as :func:`response`.
    """
    if not 0.0 < target < inf:
        raise PlanError(f"target is {target}, allowed is a finite number above 0.")
    max_rounds = check_count("max_rounds", max_rounds, least=0)
    slots = topology.num_nodes
    nodes = slots if num_nodes is None else num_nodes
    problem = Problem(nodes, slots, num_nodes is not None, sigma2, zeta2, start)
    rates = None if learning_rates is None else checked_rates(learning_rates)
    if rates is not None and not rates.size:
        raise PlanError("learning_rates is empty, allowed is one or more; leave it out to tune.")
    if start < target:
        return Tuned(0, None, slots)
    search = _Search(problem, response(topology, max_rounds), target, rates)
    rounds = search.first(max_rounds, topology.period or 1)
    return Tuned(rounds, None if rounds is None else search.least(rounds)[1], slots)


def best_num_active(
    target: float,
    topology: str | Callable[[int], Topology],
    num_nodes: int,
    *,
    candidates: Iterable[int] | None = None,
    max_rounds: int = 100_000,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    start: float = 10.0,
) -> Tuned:
    """Return the number of active nodes with which Teleportation reaches ``target`` first.

    The least k wins a tie: it sends least. Where no k reaches the target, ``rounds`` is None.

    Parameters
    ----------
    topology : str or callable
        A spec, or ``k -> Topology`` over k slots.
    candidates : iterable of int, optional
        The k to try, each 1..n. Without it: the powers of two and n itself; sizes that the
        topology cannot have are left out.

    Notes
    -----
    The other parameters are those of :func:`rounds_to_reach`.
    """
    sizes = candidates if candidates is not None else [*_powers_of_two(num_nodes), num_nodes]
    best: Tuned | None = None
    for made in candidate_topologies(topology, num_nodes, sizes, strict=candidates is not None):
        most = max_rounds if best is None or best.rounds is None else best.rounds - 1
        found = rounds_to_reach(
            target,
            made,
            num_nodes=num_nodes,
            max_rounds=most,
            sigma2=sigma2,
            zeta2=zeta2,
            start=start,
        )
        if best is None or found.rounds is not None:
            best = found
    if best is None:
        raise PlanError("there is no candidate to choose the number of active nodes from.")
    return best


def _powers_of_two(limit: int) -> Iterator[int]:
    return (1 << power for power in range(limit.bit_length()))


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for the first round in which a tuned learning rate is good enough.

    Parameters
    ----------
    problem : Problem
    responds : Response
    target : float
        What the error must be below.
    rates : (L,) float64 or None
        The learning rates allowed; None for all of (0, 1].
    """

    problem: Problem
    responds: Response
    target: float
    rates: Vector | None

    def first(self, max_rounds: int, period: int) -> int | None:
        """Return the least t <= ``max_rounds`` in which some rate is enough, None where none is.

        The tuned error falls from period to period but not from phase to phase (an exact average
        may come just before), so each phase is searched by itself, below the best so far.
        """
        doubled = {1 << power for power in range(max_rounds.bit_length())}
        last = range(max(1, max_rounds - period + 1), max_rounds + 1)
        bound = next((t for t in sorted(doubled.union(last)) if self.is_enough(t)), None)
        if bound is None:
            return None
        for phase in range(period):
            bound = self._first_in_phase(phase, period, bound)
        return bound

    def _first_in_phase(self, phase: int, period: int, bound: int) -> int:
        """Return the least t < ``bound`` of a phase that is enough; ``bound`` where none is."""
        last = bound - 1 - (bound - 1 - phase) % period
        if last < 1 or not self.is_enough(last):
            return bound
        enough, too_few = 0, (last - 1) // period + 1  # in periods before ``last``
        while too_few - enough > 1:
            middle = (enough + too_few) // 2
            if self.is_enough(last - middle * period):
                enough = middle
            else:
                too_few = middle
        return last - enough * period

    def is_enough(self, rounds: int) -> bool:
        """Return whether some learning rate brings the error below the target."""
        return any(error < self.target for error, _ in self._zooms(rounds))

    def least(self, rounds: int) -> tuple[float, float]:
        """Return the least error after so many rounds, and the learning rate that leaves it."""
        return min(self._zooms(rounds))

    def _zooms(self, rounds: int) -> Iterator[tuple[float, float]]:
        """Yield the least error and its rate on a grid, then on finer ones around that rate."""
        rates = self._grid(rounds) if self.rates is None else self.rates
        for _ in range(_ZOOMS if self.rates is None else 1):
            errors = self.problem.errors(self.responds, np.array([rounds]), rates)[0]
            least = int(errors.argmin())
            yield float(errors[least]), float(rates[least])
            ends = rates[max(least - 1, 0)], rates[min(least + 1, len(rates) - 1)]
            rates = np.geomspace(*ends, _ZOOMED)

    def _grid(self, rounds: int) -> Vector:
        """Return rates up to 1 from the least that can leave so little of the start."""
        left = min(1.0, self.target / self.problem.start)
        low = max(1.0 - left ** (0.5 / rounds), 1e-4 / rounds)
        return np.geomspace(low, 1.0, 2 + ceil(_PER_DECADE * log10(1.0 / low)))
