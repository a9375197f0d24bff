"""The search for the number of active nodes in the vectorized runtime.

Y. Takezawa, S. U. Stich, ICLR 2025, arXiv:2501.15259, Algorithm 2. Candidates of a pass never
exchange a model, so each is computed for itself, on the nodes and with the batches that it has when
all train at the same time: the numbers are those of the pass, and one that diverges stops alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..counts import check_count
from ..errors import ModelError, PlanError, one_line
from ..plans import Plan
from ..searches import Candidate, Pass, Search
from ..topologies import from_spec
from .batched import BatchedModel, Loss
from .evaluation import Metric
from .history import SimulationResult
from .node_data import NodeData, checked_pair
from .optimizers import check_number
from .vectorized import Pair, device_of, simulate

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
    learning_rates: Sequence[float] | None = None,
    validation_data: Pair,
    metric: Metric | None = None,
    maximize: bool | None = None,
    **settings: Any,
) -> SearchOutcome:
    """Find the number of active nodes, and the learning rate where several are given.

    Parameters
    ----------
    model, loss, data, num_rounds, **settings
        As in :func:`simulate`; ``num_rounds`` rounds for each candidate.
    strategy : TeleportationSearch, Teleportation("auto") or Search
        Which candidates there are, over which topology.
    learning_rates : sequence of float, optional
        One or more; every candidate is trained with each. By default the strategy's.
    validation_data : (inputs, targets)
        What decides: the mean over a candidate's slots of the metric of its models on these, cast
        as the ``test_data`` of :func:`simulate`.
    metric : callable, optional
        ``(outputs, targets) -> number``; by default the loss. A strategy's own ``metric`` is a name
        in the records of its nodes, which there are none of here.
    maximize : bool, optional
        Whether larger is better; it needs a ``metric``. By default as the strategy says.

    Returns
    -------
    SearchOutcome
        A candidate that diverged has the value NaN and is chosen only when all did.

    Raises
    ------
    PlanError
        For a strategy that does not search, no learning rates, nothing that decides, and as
        :func:`simulate`.
    ModelError
        The metric gives no number on the validation data, and as :func:`simulate`.
    """
    node_data = data if isinstance(data, NodeData) else NodeData.from_pairs(data)
    search = _search(strategy, node_data.num_nodes)
    rounds = check_count("num_rounds", num_rounds)
    if learning_rates is None:
        learning_rates = getattr(strategy, "learning_rates", ())
    if maximize is None:
        maximize = getattr(strategy, "maximize", False)
    rates = _checked_rates(learning_rates)
    if metric is None:
        _check_loss_decides(maximize, getattr(strategy, "metric", None))
    batched = BatchedModel(model, loss, device_of(model, settings.get("device")))
    judge = _Judge.of(batched, validation_data, metric or loss)
    trials = [
        _trial(model, loss, node_data, plan, rate, judge, settings)
        for rate in rates
        for plan in _plans(search, rounds)
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


def _check_loss_decides(maximize: bool, name: str | None) -> None:
    """Raise ``PlanError`` where a default, the smallest loss, is not what the strategy asks for."""
    if maximize or name not in (None, "loss"):
        asked = "the largest loss" if name in (None, "loss") else f"the strategy's {name!r}"
        raise PlanError(
            f"metric is None, and the loss is to be small, not {asked}: pass what decides as "
            "metric=a function (outputs, targets) -> number."
        )


def _checked_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Return the learning rates; ``PlanError`` unless there is one, and all are numbers from 0."""
    if not isinstance(rates, Iterable):
        raise PlanError(f"learning_rates is {rates!r}, allowed is a list of numbers: [{rates!r}].")
    checked = tuple(rates)
    if not checked:
        raise PlanError("there are 0 learning_rates, allowed is 1 or more.")
    for rate in checked:
        check_number("each of learning_rates", rate)
    return checked


@dataclass(frozen=True, slots=True)
class _Judge:
    """What decides: the metric of a model on the validation data."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    metric: Metric

    @staticmethod
    def of(batched: BatchedModel, pair: Pair, metric: Metric) -> _Judge:
        """Return the judge, tried on the untrained model: nobody learns of it after a training."""
        given = NodeData.from_pairs([checked_pair("validation_data", pair)])
        placed = given.placed(batched.start.device, batched.layout.dtype)
        model = batched.model.eval()
        judge = _Judge(model, placed.inputs, placed.targets, metric)
        try:
            judge.value(model.state_dict())
        except Exception as error:
            raise ModelError(
                "the metric gives no number on validation_data with inputs of shape "
                f"{tuple(placed.inputs.shape)} and targets of {tuple(placed.targets.shape)} "
                f"({placed.targets.dtype}): {one_line(error)}"
            ) from error
        return judge

    @torch.no_grad()
    def value(self, state: Mapping[str, Tensor]) -> float:
        """Return the metric of the model that ``state`` is of."""
        self.model.load_state_dict(state)
        return float(self.metric(self.model(self.inputs), self.targets))


def _trial(
    model: nn.Module,
    loss: Loss,
    data: NodeData,
    plan: Plan,
    rate: float,
    judge: _Judge,
    settings: dict[str, Any],
) -> SimulatedTrial:
    result = simulate(
        model, loss, data, plan, num_rounds=plan.num_rounds, learning_rate=rate, **settings
    )
    value = math.nan
    if result.diverged_at is None:
        slots = range(plan.num_slots)
        value = sum(judge.value(result.state_dict(slot)) for slot in slots) / len(slots)
    return SimulatedTrial(plan.num_slots, rate, value, result)
