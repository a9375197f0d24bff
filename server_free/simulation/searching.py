"""The search for the number of active nodes in the vectorized runtime.

Y. Takezawa, S. U. Stich, ICLR 2025, arXiv:2501.15259, Algorithm 2. Candidates of a pass never
exchange a model, so each is computed for itself, on the nodes and with the batches that it has when
all train at the same time: the numbers are those of the pass, and one that diverges stops alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ..errors import PlanError
from ..plans import Plan
from ..searches import Candidate, Pass, Search
from ..topologies import from_spec
from .batched import Loss
from .evaluation import Metric
from .history import SimulationResult
from .node_data import NodeData, as_tensor, checked_pair
from .vectorized import Pair, simulate

__all__ = ["SearchOutcome", "SimulatedTrial", "simulate_search"]


class Searcher(Protocol):
    """What a strategy must have: ``TeleportationSearch`` and ``Teleportation("auto")`` do."""

    def search(self, num_nodes: int) -> Search | None:
        """Return the passes over ``num_nodes`` nodes."""


@dataclass(frozen=True, slots=True)
class SimulatedTrial:
    """One candidate: its validation metric (NaN when it diverged) and its training."""

    num_active: int
    learning_rate: float
    value: float
    result: SimulationResult


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """All candidates in the order of the passes, and the best of them."""

    best: SimulatedTrial
    trials: tuple[SimulatedTrial, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """The slots of one candidate in the schedule of its pass; a schedule of its own."""

    whole: Pass
    candidate: Candidate

    @property
    def num_nodes(self) -> int:
        return self.whole.plan.num_nodes

    @property
    def num_slots(self) -> int:
        return self.candidate.num_active

    def active(self, round: int, live: Sequence[int] | None = None) -> tuple[int, ...]:
        slots = self.candidate.slots
        return self.whole.plan.schedule.active(round, live)[slots.start : slots.stop]


def simulate_search(
    model: nn.Module,
    loss: Loss,
    data: NodeData | Sequence[Pair],
    strategy: Searcher | Search,
    *,
    num_rounds: int,
    learning_rates: Sequence[float],
    validation_data: Pair,
    metric: Metric | None = None,
    maximize: bool = False,
    **settings: Any,
) -> SearchOutcome:
    """Find the number of active nodes, and the learning rate where several are given.

    Parameters
    ----------
    model, loss, data, num_rounds, **settings
        As in :func:`simulate`; ``num_rounds`` rounds for each candidate.
    strategy : TeleportationSearch, Teleportation("auto") or Search
        Which candidates there are, over which topology.
    learning_rates : sequence of float
        One or more; every candidate is trained with each.
    validation_data : (inputs, targets)
        What decides: the mean over a candidate's slots of the metric of its models on these.
    metric : callable, optional
        ``(outputs, targets) -> number``; by default the loss.
    maximize : bool (default: False)
        Whether larger is better.

    Returns
    -------
    SearchOutcome
        A candidate that diverged has the value NaN and is chosen only when all did.

    Raises
    ------
    PlanError
        For a strategy that does not search, no learning rates, and as :func:`simulate`.
    """
    node_data = data if isinstance(data, NodeData) else NodeData.from_pairs(data)
    search = _search(strategy, node_data.num_nodes)
    checked_pair("validation_data", validation_data)
    if num_rounds < 1 or not learning_rates:
        raise PlanError(
            f"num_rounds is {num_rounds} and there are {len(learning_rates)} learning_rates, "
            "allowed are 1 or more of each."
        )
    trials = [
        _trial(model, loss, node_data, plan, rate, validation_data, metric or loss, settings)
        for rate in learning_rates
        for plan in _plans(search, num_rounds)
    ]
    sign = -1.0 if maximize else 1.0
    best = min(trials, key=lambda t: sign * t.value if math.isfinite(t.value) else math.inf)
    return SearchOutcome(best, tuple(trials))


def _search(strategy: Searcher | Search, num_nodes: int) -> Search:
    if isinstance(strategy, Search):
        found: Search | None = strategy
    else:
        found = strategy.search(num_nodes) if hasattr(strategy, "search") else None
    if found is None:
        raise PlanError(
            f"strategy is {strategy!r}, allowed are TeleportationSearch, Teleportation('auto') or "
            "a Search; simulate() runs all others."
        )
    if found.num_nodes != num_nodes:
        raise PlanError(f"the search is over {found.num_nodes} nodes, the data are of {num_nodes}.")
    return found


def _plans(search: Search, num_rounds: int) -> list[Plan]:
    """Return the plan of each candidate for itself."""
    return [
        Plan(from_spec(search.topology, one.num_active), _Part(whole, one), num_rounds)
        for whole in search.passes(num_rounds)
        for one in whole.candidates
    ]


def _trial(
    model: nn.Module,
    loss: Loss,
    data: NodeData,
    plan: Plan,
    rate: float,
    validation: Pair,
    metric: Metric,
    settings: dict[str, Any],
) -> SimulatedTrial:
    result = simulate(
        model, loss, data, plan, num_rounds=plan.num_rounds, learning_rate=rate, **settings
    )
    value = math.nan
    if result.diverged_at is None:
        value = _mean_over_slots(model, result, validation, metric)
    return SimulatedTrial(plan.num_slots, rate, value, result)


@torch.no_grad()
def _mean_over_slots(
    model: nn.Module, result: SimulationResult, pair: Pair, metric: Metric
) -> float:
    device, dtype = result.models.device, result.models.dtype
    inputs, targets = (as_tensor(part) for part in pair)
    inputs = inputs.to(device, dtype) if inputs.is_floating_point() else inputs.to(device)
    judged = deepcopy(model).to(device).eval()
    values = []
    for slot in range(len(result.models)):
        judged.load_state_dict(result.state_dict(slot))
        values.append(float(metric(judged(inputs), targets.to(device))))
    return sum(values) / len(values)
