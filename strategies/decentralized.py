"""The base of all decentralized strategies: Flower's ``start`` contract, round by segment."""

from __future__ import annotations

import math
import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from logging import INFO, WARNING
from typing import Any, ClassVar, Unpack

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from ..server_free.coding import Codec
from ..server_free.counts import check_count
from ..server_free.errors import PlanError
from ..server_free.models import Model
from ..server_free.plans import Plan
from .assignments import Assignment, EvaluateFn, check_arguments
from .attendance import Attendance
from .checkpoints import open_checkpoint
from .client_errors import why_unevaluated
from .dispatch import Dispatch
from .metrics import evaluate_metrics, lacking, train_metrics
from .pacing import Pacer
from .planes import Plane, open_plane
from .recording import Recording, settings_of
from .results import GossipResult
from .resuming import described
from .run_log import log_end, log_round, log_start
from .server_evaluation import evaluate_at_server, evaluate_served
from .settings import Options, Settings
from .training import Training, mean_of, to_record

__all__ = ["Decentralized"]


class Decentralized(Strategy):
    """A serverless strategy: subclasses say only who is active and along which topology.

    The ServerApp sends each active node one message a segment of rounds; the models go from
    client to client. See :class:`Settings` for the options.
    """

    metrics_at_end: ClassVar[bool] = False
    """Whether it is known only at the end of a training which metrics are its result's."""

    def __init__(self, **options: Unpack[Options]) -> None:
        self.settings = Settings.of(options)
        self._training: Training | None = None

    @property
    def codec(self) -> Codec:
        """How models travel between clients."""
        return Codec(self.settings.codec)

    @abstractmethod
    def plan(self, num_nodes: int, num_rounds: int) -> Plan:
        """Return the plan for ``num_nodes`` nodes; ``PlanError`` when it does not fit them."""

    # --- Flower's contract ------------------------------------------------------------------

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
    ) -> GossipResult:
        """Train for ``num_rounds`` rounds of local training and exchange.

        Parameters
        ----------
        grid : Grid
            Flower's, in a simulation or a deployment, or an ``InProcessGrid``.
        initial_arrays : ArrayRecord
            The model that all slots start from; sent once to each node.
        num_rounds : int (default: 3)
            Rounds of local training and exchange; many of them travel in one Flower message.
        timeout : float (default: 3600)
            Seconds to wait for the replies to one Flower message.
        train_config, evaluate_config : ConfigRecord, optional
            What the user's functions get; "server-round" is set to the round in each.
        evaluate_fn : callable, optional
            ``(round, arrays) -> MetricRecord | None`` on the mean of the fetched models, with
            the initial arrays at round 0 and then at every evaluation round.

        Returns
        -------
        GossipResult
            Flower's ``Result`` and what only a decentralized training has.

        Raises
        ------
        PlanError, RosterError, ModError, ModelError, RunError, CheckpointError, PeerUnreachable,
        NoNodesLeft
            Each names the field or node, the value, and what to do.
        """
        num_rounds = check_count("num_rounds", num_rounds, least=0)
        check_arguments(
            *(grid, initial_arrays, timeout),
            train_config=train_config,
            evaluate_config=evaluate_config,
        )
        log_start(type(self).__name__, num_rounds, initial_arrays)
        self.summary()
        began = time.monotonic()
        train = ConfigRecord() if train_config is None else train_config
        evaluate = ConfigRecord() if evaluate_config is None else evaluate_config
        recording = Recording(type(self).__name__, self.settings)
        with closing(recording), open_checkpoint(recording.settings) as checkpoint:
            assignment = Assignment(
                *(initial_arrays, num_rounds, timeout, train, evaluate, evaluate_fn),
                *(recording, checkpoint),
            )
            result = self._done(assignment)
            if result is None:
                result = self._carry_out(assignment.attendance(grid, self.settings), assignment)
        log_end(result, time.monotonic() - began)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages of the segment that starts with ``server_round``."""
        return self._current.segment(server_round, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Put the segment's train metrics into the result, round by round.

        Returns the mean of the models that came with the replies, if any, and the metrics of
        the segment's last round.
        """
        training = self._current
        replies = list(replies)
        aggregate = self.settings.train_metrics_aggr_fn or train_metrics
        last: MetricRecord | None = None
        key = self.settings.weighted_by_key
        for round, records in training.metrics_by_round(replies).items():
            last = aggregate(list(records.values()), key)
            told = training.result.train_metrics_clientapp
            told[round] = last
            if len(told) == 1 and (line := lacking(list(records.values()), key)):
                log(WARNING, "%s", line)
        return (mean_of(training.served) if training.served else None), last

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages that ask the sampled nodes to evaluate a mixed model."""
        if self.settings.fraction_evaluate == 0.0:
            return []
        training = self._current
        return training.dispatch.evaluate(training.plan, server_round, config)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return the metrics over the nodes: mean, weighted mean, minimum and maximum."""
        training = self._current
        answered = [reply.content for reply in replies if not reply.has_error()]
        contents = [
            content
            for content in answered
            if isinstance(record := content.get("metrics"), MetricRecord) and record
        ]
        if not contents:
            return None
        aggregate = self.settings.evaluate_metrics_aggr_fn or evaluate_metrics
        metrics = aggregate(contents, self.settings.weighted_by_key)
        training.result.evaluate_metrics_clientapp[server_round] = metrics
        return metrics

    def summary(self) -> None:
        """Log the options of the strategy."""
        settings = self.settings
        log(INFO, "\t├──> %s", self.describe())
        log(INFO, "\t├──> Evaluation: fraction %.2f", settings.fraction_evaluate)
        log(INFO, "\t├──> Codec: %s", self.codec.describe())
        log(INFO, "\t├──> Peer timeout: %g s", settings.peer_timeout)
        log(INFO, "\t└──> Seed: %d", settings.seed)

    @abstractmethod
    def describe(self) -> str:
        """Return one line on who is active and along which topology."""

    def initialize_parameters(self, client_manager: object) -> None:
        """Refuse Flower's old ServerApp, which calls this first, with what to write instead."""
        raise PlanError(
            f"{type(self).__name__} needs Flower's ServerApp of today; instead of server_fn write "
            "app = ServerApp() and @app.main() above def main(grid, context), which calls "
            "strategy.start(grid=grid, initial_arrays=ArrayRecord(...), num_rounds=...)."
        )

    # --- the run ----------------------------------------------------------------------------

    def _done(self, assignment: Assignment) -> GossipResult | None:
        """Return the result of an earlier run that has come to its end.

        Raises ``CheckpointError`` if that was not a run like this one.
        """
        checkpoint, saved, rounds = assignment.checkpoint, assignment.saved, assignment.num_rounds
        if checkpoint is None or saved is None:
            return None
        plan = self.plan(len(saved.roster), rounds)
        checkpoint.check(saved, self._described(plan), assignment.initial, rounds)
        if saved.last < rounds:
            return None
        log(INFO, "The run in %s has done all its %d rounds.", checkpoint.folder, rounds)
        return saved.result

    def _described(self, plan: Plan) -> dict[str, Any]:
        return described(type(self).__name__, self.settings, plan)

    def _carry_out(self, attendance: Attendance, assignment: Assignment) -> GossipResult:
        """Train by the strategy's one plan."""
        plan = self.plan(len(attendance.members), assignment.num_rounds)
        if assignment.saved:
            plan = replace(plan, live=assignment.saved.plan.live)
        with self._opened(attendance, plan, assignment) as training:
            if not (assignment.saved and assignment.saved.last):
                evaluate, initial = assignment.evaluate_fn, assignment.initial
                evaluate_at_server(training.result, evaluate, 0, initial)
            self._run(training, assignment)
        return training.result

    @contextmanager
    def _opened(
        self, attendance: Attendance, plan: Plan, assignment: Assignment
    ) -> Iterator[Training]:
        members, initial, saved = attendance.members, assignment.initial, assignment.saved
        concurrent = getattr(attendance.grid, "max_workers", 1) >= plan.num_nodes
        training_id, key = secrets.token_hex(16), secrets.token_bytes(32)
        model: Model = {name: array.numpy() for name, array in initial.items()}
        resumed = 0
        if saved:
            training_id, model, resumed = saved.training, saved.initial, saved.last
            initial = to_record(model)
        serving = assignment.evaluate_fn is not None
        with open_plane(
            members, training_id, key, model, concurrent, assignment.store, resumed
        ) as plane:
            log(INFO, "%d nodes, runtime: %s", len(members), plane.kind)
            timeout_s = assignment.timeout_s
            training = Training(
                plan=plan,
                attendance=attendance,
                dispatch=Dispatch(
                    self.settings, attendance, plane, initial, training_id, key, timeout_s, resumed
                ),
                pacer=self._pacer(plan.num_rounds, timeout_s, serving, plane),
                wants_models=self._wants_models(plan, serving),
                last=resumed,
                result=saved.result if saved else GossipResult(arrays=initial),
            )
            training.result.failures = attendance.failures
            self._training = training
            try:
                with assignment.recording.of(training, self._named(), self.metrics_at_end):
                    yield training
            finally:
                training.result.plan = training.plan
                training.result.failures = attendance.failures
                self._training = None

    def _named(self) -> dict[str, Any]:
        return {
            "name": type(self).__name__,
            "description": self.describe(),
            "settings": settings_of(self.settings),
        }

    def _wants_models(self, plan: Plan, serving: bool) -> Callable[[int], bool]:
        """Return whether the server fetches models after a round at which nodes report."""
        return lambda round: serving or round == plan.num_rounds

    def _evaluate_every(self, num_rounds: int) -> int:
        return self.settings.evaluate_every or max(1, math.ceil(num_rounds / 10))

    def _pacer(self, num_rounds: int, timeout: float, serving: bool, plane: Plane) -> Pacer:
        """Return how the run is cut: at evaluation rounds, if anybody evaluates."""
        every = self._evaluate_every(num_rounds)
        evaluating = serving or self.settings.fraction_evaluate > 0
        fixed = self.settings.rounds_per_message
        if plane.sequential:
            if fixed is not None and fixed > 1:
                log(INFO, "Clients may run one after another here: rounds_per_message is 1.")
            fixed = 1
        return Pacer(num_rounds, every if evaluating else None, fixed, timeout)

    def _run(self, training: Training, assignment: Assignment) -> None:
        checkpoint = assignment.checkpoint
        if assignment.saved:
            training.announce(assignment.train)
        elif checkpoint:
            checkpoint.begin(training, self._described(training.plan))
        if training.plan.num_rounds:
            training.probe(assignment.train)
        rounds, first = training.plan.num_rounds, training.last + 1
        while first <= rounds:
            self._run_segment(training, first, assignment.train)
            stop = training.is_stop(training.last)
            if stop:
                self._fetch_models(training, assignment.train)
            log_round(training)
            assignment.recording.rounds(training)
            if stop:
                self._run_evaluation(training, assignment)
            assignment.recording.segment()
            if checkpoint:
                checkpoint.save(training)
            first = training.last + 1

    def _run_segment(self, training: Training, first: int, config: ConfigRecord) -> None:
        training.take_back()
        grid, arrays = training.attendance.grid, training.result.arrays
        replies = training.exchange(list(self.configure_train(first, arrays, config, grid)))
        last = training.last
        if first == training.dispatch.resumed + 1:
            training.check_resumed()
        training.pacer.measured(last - first + 1, training.segment_s())
        self.aggregate_train(first, replies)
        training.attendance.check_alive()

    def _fetch_models(self, training: Training, config: ConfigRecord) -> None:
        """Get the models that the segment could not hand over, or whose holders are lost."""
        if training.sequential:
            training.exchange(training.mix_after(config))
        lost = set(training.served_slots()) - training.served.keys()
        if lost and training.attendance.live:
            training.exchange(training.fetch(lost, config))
        training.close_segment()

    def _run_evaluation(self, training: Training, assignment: Assignment) -> None:
        """Let nodes and server evaluate after the round that the training has come to."""
        round, grid = training.last, training.attendance.grid
        arrays, config = training.result.arrays, assignment.evaluate
        messages = list(self.configure_evaluate(round, arrays, config, grid))
        if messages:
            replies = training.exchange(messages)
            metrics = self.aggregate_evaluate(round, replies)
            training.attendance.check_alive()
            if metrics is None:
                why = why_unevaluated(training.failures_in(replies))
                log(WARNING, "no node evaluated after round %d: %s", round, why)
            else:
                log(INFO, "\t└──> Evaluation: %s", dict(metrics))
        evaluate_served(training, assignment.evaluate_fn)

    @property
    def _current(self) -> Training:
        if self._training is None:
            raise PlanError(
                f"{type(self).__name__} works only inside its start(...): call that itself, a "
                "strategy wrapped around it cannot."
            )
        return self._training
