"""The search for the number of active nodes, as a strategy.

Y. Takezawa, S. U. Stich, "Scalable Decentralized Learning with Teleportation", ICLR 2025,
arXiv:2501.15259, Algorithm 2: candidates train at the same time on disjoint groups of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from logging import INFO, WARNING
from typing import ClassVar, Unpack

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.supercore import log

from ..server_free.errors import PlanError
from ..server_free.plans import Plan
from ..server_free.searches import Candidate, Pass, Search
from .assignments import Assignment
from .attendance import Attendance
from .decentralized import Decentralized
from .metrics import train_metrics
from .results import SearchResult, TrafficTotal, Trial
from .server_evaluation import evaluate_served
from .settings import Options
from .specs import checked_spec
from .training import Training, mean_of

__all__ = ["TeleportationSearch"]

_USUAL_METRICS = ("loss", "eval_loss", "eval-loss", "test_loss", "val_loss")


class TeleportationSearch(Decentralized):
    """Teleportation that finds its number of active nodes within 2T rounds.

    Candidates are the powers of two up to n. All whose sum is at most n train at the same time on
    disjoint groups of nodes for ``num_rounds`` rounds; the largest, where it is left over, in a
    second pass (Algorithm 2). After the last round of a pass the sampled nodes evaluate each of
    its candidates, node i the model of slot (i mod k); the best one's models are the result.

    Parameters
    ----------
    topology : str (default: "one-peer-exponential")
        Spec of the topology over a candidate's slots; it must do for 1, 2, 4, ... slots.
    metric : str, optional
        What decides: a metric of the evaluate function, its plain mean over the nodes. Default:
        the first of "loss", "eval_loss", "eval-loss", "test_loss", "val_loss" that is there. With
        ``fraction_evaluate=0`` it is a metric of ``evaluate_fn`` on the mean model.
    maximize : bool (default: False)
        Whether larger is better, as for an accuracy; it needs a ``metric``.
    try_all : bool (default: False)
        Make k = n a candidate where n is not a power of two, in a further pass. Under strong
        heterogeneity it can be clearly better.
    learning_rates : sequence of float (default: ())
        Search these too: every pass runs once with each, as ``config["lr"]``.
    learning_rate_key : str (default: "lr")
        The key of the train config that holds the learning rate.
    **options
        See :class:`flwr_gossip.strategies.Settings`; ``evaluate_every`` is by default the end of a
        pass.

    Examples
    --------
    ::

        result = TeleportationSearch().start(grid=grid, initial_arrays=arrays, num_rounds=100)
        print(result.num_active, result.trials)
    """

    metrics_at_end: ClassVar[bool] = True

    def __init__(
        self,
        topology: str = "one-peer-exponential",
        *,
        metric: str | None = None,
        maximize: bool = False,
        try_all: bool = False,
        learning_rates: Sequence[float] = (),
        learning_rate_key: str = "lr",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        if self.settings.checkpoint or self.settings.resume:
            raise PlanError("a search writes no checkpoints: leave checkpoint and resume out.")
        self.codec.refuse_feedback("the holders of Teleportation's slots change each round")
        if maximize and metric is None:
            raise PlanError(
                "maximize is True and metric is None, which means a loss: name what is to be "
                "large, for instance metric='accuracy'."
            )
        self.topology = checked_spec(topology)
        self.metric = metric
        self.maximize = maximize
        self.try_all = try_all
        self.learning_rates = _checked_rates(learning_rates)
        self.learning_rate_key = learning_rate_key
        self._trials: list[tuple[Candidate, Trial]] = []
        self._result = SearchResult()

    def search(self, num_nodes: int) -> Search:
        """Return the passes over ``num_nodes`` nodes, as a pure description."""
        return Search(num_nodes, self.topology, self.settings.seed, self.try_all)

    def plan(self, num_nodes: int, num_rounds: int) -> Plan:
        """Return the plan of the first pass; ``search(num_nodes)`` has them all."""
        return self.search(num_nodes).passes(num_rounds)[0].plan

    def describe(self) -> str:
        """Return one line on who is active."""
        rates = f", learning rates {list(self.learning_rates)}" if self.learning_rates else ""
        return f"Search for the number of active nodes, topology: {self.topology}{rates}"

    # --- the passes -------------------------------------------------------------------------

    def _carry_out(self, attendance: Attendance, assignment: Assignment) -> SearchResult:
        if assignment.num_rounds < 1:
            raise PlanError("num_rounds is 0; a search needs 1 or more to tell candidates apart.")
        if self.settings.fraction_evaluate == 0.0 and assignment.evaluate_fn is None:
            raise PlanError(
                "a search has nothing to choose by: give an evaluate_fn or a fraction_evaluate "
                "above 0."
            )
        passes = self.search(len(attendance.members)).passes(assignment.num_rounds)
        return self._best(
            [
                self._one_pass(attendance, one, rate, assignment)
                for rate in self.learning_rates or (None,)
                for one in passes
            ]
        )

    def _one_pass(
        self, attendance: Attendance, one: Pass, rate: float | None, assignment: Assignment
    ) -> SearchResult:
        """Train the candidates of a pass; its result is that of the best of them."""
        sizes = [candidate.num_active for candidate in one.candidates]
        log(INFO, "Candidates %s%s", sizes, "" if rate is None else f", learning rate {rate:g}")
        if rate is not None:
            config = ConfigRecord({**assignment.train, self.learning_rate_key: rate})
            assignment = replace(assignment, train=config)
        self._trials = [(one_k, Trial(one_k.num_active, rate)) for one_k in one.candidates]
        with self._opened(attendance, one.plan, assignment) as training:
            training.result = self._result = result = SearchResult(
                arrays=assignment.initial, learning_rate=rate
            )
            self._run(training, assignment)
        result.trials = tuple(trial for _, trial in self._trials)
        return result

    def _best(self, results: Sequence[SearchResult]) -> SearchResult:
        """Return the best pass's result with the trials, losses and traffic of all."""
        best = min(results, key=lambda result: min(self._rank(trial) for trial in result.trials))
        log(INFO, "Best number of active nodes: %d (%s)", best.num_active, best.metric)
        return replace(
            best,
            trials=tuple(trial for result in results for trial in result.trials),
            losses=[loss for result in results for loss in result.losses],
            traffic=sum((result.traffic for result in results), TrafficTotal()),
        )

    def _rank(self, trial: Trial) -> float:
        """Return what is smallest for the best trial."""
        if not math.isfinite(trial.value):
            return math.inf
        return -trial.value if self.maximize else trial.value

    # --- one pass ---------------------------------------------------------------------------

    def _wants_models(self, plan: Plan, serving: bool) -> Callable[[int], bool]:
        return lambda round: False  # the best candidate's are fetched once it is known

    def _evaluate_every(self, num_rounds: int) -> int:
        return self.settings.evaluate_every or num_rounds

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Put the segment's train metrics into the trials, round by round."""
        training = self._current
        aggregate = self.settings.train_metrics_aggr_fn or train_metrics
        for round, records in training.metrics_by_round(list(replies)).items():
            active = training.plan.active(round)
            for candidate, trial in self._trials:
                nodes = {active[slot] for slot in candidate.slots}
                own = [record for node, record in records.items() if node in nodes]
                if own:
                    trial.train_metrics[round] = aggregate(own, self.settings.weighted_by_key)
        return None, None

    def _fetch_models(self, training: Training, config: ConfigRecord) -> None:
        """Fetch nothing: the models of one candidate are wanted, once all are judged."""

    def _run_evaluation(self, training: Training, assignment: Assignment) -> None:
        """Judge the candidates; after the last round the best one's models are the result."""
        for candidate, trial in self._trials:
            self._judge(training, assignment, candidate, trial)
            training.attendance.check_alive()
        if training.last == assignment.num_rounds:
            candidate, trial = min(self._trials, key=lambda pair: self._rank(pair[1]))
            self._serve(training, assignment, candidate, trial)

    def _judge(
        self, training: Training, assignment: Assignment, candidate: Candidate, trial: Trial
    ) -> None:
        """Put the validation metrics of a candidate after this round into its trial."""
        if self.settings.fraction_evaluate > 0.0:
            metrics = self._evaluated_by_nodes(training, assignment, candidate)
        else:
            metrics = self._evaluated_at_server(training, assignment, candidate)
        if metrics is None:
            trial.value = math.nan
            log(WARNING, "k=%d was not evaluated after round %d.", trial.num_active, training.last)
            return
        self._result.metric = self._deciding(metrics)
        trial.value = float(str(metrics[self._result.metric]))
        trial.evaluate_metrics[training.last] = metrics
        log(INFO, "\t└──> k=%d: %s", trial.num_active, dict(metrics))

    def _evaluated_by_nodes(
        self, training: Training, assignment: Assignment, candidate: Candidate
    ) -> MetricRecord | None:
        messages = training.dispatch.evaluate(
            training.plan, training.last, assignment.evaluate, candidate.slot_of
        )
        return self.aggregate_evaluate(training.last, training.exchange(messages))

    def _evaluated_at_server(
        self, training: Training, assignment: Assignment, candidate: Candidate
    ) -> MetricRecord | None:
        self._fetch(training, assignment, candidate)
        if not training.served or assignment.evaluate_fn is None:
            return None
        return assignment.evaluate_fn(training.last, mean_of(training.served))

    def _deciding(self, metrics: MetricRecord) -> str:
        """Return the metric that decides; ``PlanError`` when it is not there."""
        wanted = _USUAL_METRICS if self.metric is None else (self.metric,)
        found = next((name for name in wanted if name in metrics), None)
        if found is None or isinstance(metrics[found], list):
            raise PlanError(
                f"metric is {self.metric!r}, allowed is a number that the evaluation returns: "
                f"{sorted(metrics)}. Name the one that decides, for instance "
                f"TeleportationSearch(metric={min(metrics, default='loss')!r})."
            )
        return found

    def _fetch(self, training: Training, assignment: Assignment, candidate: Candidate) -> None:
        """Have some or all of the candidate's models fetched into ``training.served``."""
        training.served = {}
        slots = training.dispatch.spread(candidate.slots)
        training.exchange(training.fetch(slots, assignment.train))

    def _serve(
        self, training: Training, assignment: Assignment, candidate: Candidate, trial: Trial
    ) -> None:
        """Make the candidate's models and metrics the result of this pass."""
        self._fetch(training, assignment, candidate)
        training.sketches = []  # of all candidates: their distance from each other says nothing
        training.per_node.metrics.clear()  # of the candidate that was judged last
        training.close_segment()
        result = self._result
        result.num_active, result.slots = candidate.num_active, candidate.slots
        result.train_metrics_clientapp = trial.train_metrics
        if self.settings.fraction_evaluate > 0.0:
            result.evaluate_metrics_clientapp = trial.evaluate_metrics
            evaluate_served(training, assignment.evaluate_fn)
        else:
            result.evaluate_metrics_serverapp = trial.evaluate_metrics


def _checked_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Return the learning rates; ``PlanError`` unless all are positive numbers."""
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise PlanError(f"learning_rates has {rate!r}, allowed are finite numbers above 0.")
    return tuple(float(rate) for rate in rates)
