"""One training as the ServerApp sees it: what to ask next and what came back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.supercore import log

from ..server_free.errors import CheckpointError, GossipError, ModError, PlanError
from ..server_free.mixing import mix
from ..server_free.models import Model
from ..server_free.orders import FROM_SCRATCH, RECORD, Loss
from ..server_free.plans import VACANT, Plan
from ..server_free.sketches import estimate
from .attendance import Attendance
from .client_errors import reason_of
from .dispatch import Dispatch
from .exchange import exchange
from .hearsay import Hearsay, first_read
from .metrics import per_round
from .pacing import Pacer
from .per_node import PerNode
from .replies import Expected, Reported, read_reply
from .results import GossipResult
from .roster import AWAY
from .sizes import content_bytes

__all__ = ["Served", "Training", "mean_of", "to_record"]

Served = dict[int, Model]
"""Slot -> mixed model."""

_GRACE_S = 5.0
"""How long to wait for the reply of a node that its neighbours reported dead."""

_NOT_TAKEN = (
    "Flower takes no message for it: its SuperNode has left, or Flower's line above says why"
)


@dataclass(slots=True)
class Training:
    """The state of one run of a strategy.

    Parameters
    ----------
    plan : Plan
        Schedule, topology and the live lists so far.
    attendance, dispatch, pacer
        Who is there, what they are told, and where segments end.
    wants_models : callable
        ``round -> bool``: whether the server fetches models after a round at which nodes report.
    last : int
        Last round of the segment at work.
    """

    plan: Plan
    attendance: Attendance
    dispatch: Dispatch
    pacer: Pacer
    wants_models: Callable[[int], bool]
    last: int = 0
    result: GossipResult = field(default_factory=GossipResult)
    reports: dict[int, Reported] = field(default_factory=dict)
    hearsay: Hearsay = field(init=False)
    told: set[Loss] = field(init=False)
    sketches: list[Any] = field(default_factory=list)
    served: Served = field(default_factory=dict)
    per_node: PerNode = field(default_factory=PerNode)

    def __post_init__(self) -> None:
        self.told = set(self.result.losses)  # those of an earlier run too
        self.hearsay = Hearsay(self.attendance.pairs)

    @property
    def sequential(self) -> bool:
        """Whether clients may run one after another."""
        return self.dispatch.plane.sequential

    def is_stop(self, round: int) -> bool:
        """Return whether nodes evaluate and report after ``round``; the last is always one."""
        stops = self.pacer.stops
        return round == self.plan.num_rounds or (stops is not None and round % stops == 0)

    def served_slots(self) -> list[int]:
        """Return the slots whose models the server wants after the segment at work."""
        if not self.wants_models(self.last):
            return []
        return self.dispatch.served_slots(self.plan, self.last)

    def segment(self, first: int, config: ConfigRecord) -> list[Message]:
        """Return the messages for the segment that starts with ``first``, over the live nodes."""
        self.last = last = self.pacer.last_round(first)
        self.sketches, self.served = [], {}
        self.plan = self.plan.with_live(first, self.attendance.live)
        ends = self.is_stop(last) and not self.sequential
        collect = ends and self.wants_models(last)
        return self.dispatch.play(self.plan, first, last, config, ends, collect)

    def probe(self, config: ConfigRecord) -> None:
        """Let nodes probe before round 1 where that has messages of its own.

        Raises ``PeerUnreachable`` where a pair that cannot connect is to end the run.
        """
        pairs = self.attendance.pairs
        nodes = pairs.to_ask(self.plan.num_nodes) & self.attendance.live
        if self.dispatch.plane.deployed and nodes:
            self.exchange(self.dispatch.probe(self.plan, config, nodes))
            self.attendance.check_alive()
            pairs.check(self.attendance.live)

    def mix_after(self, config: ConfigRecord) -> list[Message]:
        """Return the messages that let the holders of the last round mix once more, at a stop."""
        return self.dispatch.mix_after(self.plan, self.last, config, self.served_slots())

    def announce(self, config: ConfigRecord) -> None:
        """Let all nodes register a run that goes on after round ``last``, and probe.

        Their peers hold what it needs, and serve it to nobody who has not the key of this run.
        """
        if self.dispatch.plane.deployed:
            self.exchange(self.dispatch.announce(self.plan, self.last, config))
            self.attendance.check_alive()
            self.attendance.pairs.check(self.attendance.live)

    def fetch(self, slots: Collection[int], config: ConfigRecord) -> list[Message]:
        """Return the messages that ask other nodes for models whose holders are lost."""
        return self.dispatch.fetch(self.plan, self.last, config, slots)

    def exchange(self, messages: Sequence[Message]) -> list[Message]:
        """Send the messages, take in the reports and return the replies."""
        orders = {m.metadata.dst_node_id: m.content[RECORD] for m in messages}
        read = min(map(first_read, orders.values()), default=0)
        self.reports, self.hearsay = {}, Hearsay(self.attendance.pairs, read)
        for message in messages:
            self._count(message.content)
        slots = {node_id: order.get("slot", -1) for node_id, order in orders.items()}
        refused: set[int] = set()
        replies = exchange(
            self.attendance.grid,
            messages,
            self.dispatch.timeout_s,
            given_up=self._are_dead,
            grace_s=_GRACE_S,
            on_reply=lambda reply: self._take_in(reply, slots),
            on_refused=lambda message: refused.add(message.metadata.dst_node_id),
        )
        self._lose_silent(messages, replies, refused)
        self._tell_losses()
        self._tell_pairs()
        self.result.losses += self.hearsay.losses
        return replies

    def _are_dead(self, messages: Iterable[Message]) -> bool:
        """Whether nobody expects a reply to any of these messages any more."""
        dead, node_of = self.hearsay.dead(), self.attendance.node_of
        return all(node_of(message.metadata.dst_node_id) in dead for message in messages)

    def _lose_silent(
        self, messages: Iterable[Message], replies: Iterable[Message], refused: Collection[int]
    ) -> None:
        """Take those who did not answer out of the live nodes."""
        answered = {reply.metadata.src_node_id for reply in replies}
        dead = self.hearsay.dead()
        overdue = f"no reply within timeout={self.dispatch.timeout_s:g} s"
        for message in messages:
            node_id = message.metadata.dst_node_id
            if node_id not in answered:
                node = self.attendance.node_of(node_id)
                why = _NOT_TAKEN if node_id in refused else overdue
                self.attendance.lose(node, dead.get(node, why))

    def _tell_losses(self) -> None:
        """Log whose models did not arrive, one line a node, with the first reason."""
        losses = self.hearsay.losses
        for holder in sorted({loss.holder for loss in losses}):
            own = [loss for loss in losses if loss.holder == holder]
            log(WARNING, "%d models of node %d are missing: %s", len(own), holder, own[0].reason)

    def _tell_pairs(self) -> None:
        """Log the pairs that cannot talk when they have changed, and put them into the result."""
        pairs, live = self.attendance.pairs, self.attendance.live
        level = WARNING if pairs.lost else INFO
        for line in pairs.news(live):
            log(level, line)
        self.result.unreachable = pairs.unreachable(live)

    def _take_in(self, reply: Message, slots: Mapping[int, Any]) -> None:
        """Note what a reply says; ``slots`` is Flower node id -> slot whose model was asked for."""
        node = self.attendance.node_of(reply.metadata.src_node_id)
        if node < 0:
            log(WARNING, "a reply of Flower node %d is not of this training.", node)
            return
        try:
            said = self._read(node, reply)
        except GossipError as error:
            self._failed(node, reply, str(error))
            return
        report, self.reports[node] = said.report, said
        fresh = [loss for loss in dict.fromkeys(said.losses) if loss not in self.told]
        self.told.update(fresh)  # readers tell of a holder's losses too, perhaps much later
        self.hearsay.take(node, fresh, said.probed)
        evaluating = reply.metadata.message_type == MessageType.EVALUATE
        self.per_node.take(node, report, reply.content, evaluating)
        self.result.traffic.bytes_between_clients += report.bytes_fetched
        self.result.traffic.bytes_relayed += report.bytes_relayed
        if said.sketch is not None:
            self.sketches.append(said.sketch)
        if said.model is not None and (slot := int(slots[reply.metadata.src_node_id])) >= 0:
            self.served[slot] = said.model
        if report.failure:
            self._failed(node, reply, report.failure)

    def _read(self, node: int, reply: Message) -> Reported:
        """Return what a reply says; raises the ``GossipError`` of one that says nothing."""
        if reply.has_error():
            raise ModError(reason_of(reply.error))
        self._count(reply.content)
        signature, key = self.dispatch.signature, self.dispatch.settings.arrayrecord_key
        expected = Expected(self.plan.num_nodes, self.last, signature, key)
        return read_reply(node, reply.content, expected)

    def _failed(self, node: int, reply: Message, reason: str) -> None:
        """Note a failure; a node that only failed to evaluate goes on training, as in FedAvg."""
        away = reply.has_error() and reply.error.code in AWAY
        evaluating = reply.metadata.message_type == MessageType.EVALUATE
        if evaluating and not away:
            self.attendance.note(node, reason)
        else:
            self.attendance.lose(node, reason)

    def check_resumed(self) -> None:
        """Raise ``CheckpointError`` if no model of the round after which the run goes on is left.

        Meant for the first segment of such a run: one that is lost is a loss like any other, but
        without any the run would begin again, with the initial arrays.
        """
        resumed = self.dispatch.resumed
        losses = self.hearsay.losses
        lost = {loss.reader_slot for loss in losses if loss.used == FROM_SCRATCH}
        held = {slot for slot, node in enumerate(self.plan.active(resumed + 1)) if node != VACANT}
        if resumed and held <= lost:
            raise CheckpointError(
                f"no peer has a model of round {resumed} any more: {losses[0].reason}. A "
                "peer that is restarted keeps its models with --store DIR. Start a new run, or "
                "bring back the peers' stores."
            )

    def segment_s(self) -> float:
        """Return the wall time of the segment's rounds, in seconds.

        That of the node that began last: the others' clients waited for it at first, which says
        how long processes take to start, not how long rounds take.
        """
        said = self.reports.values()
        to_the_end = [one.report.seconds for one in said if one.rounds[-1:] == (self.last,)]
        return min(to_the_end, default=max((one.report.seconds for one in said), default=0.0))

    def metrics_by_round(self, replies: Iterable[Message]) -> dict[int, dict[int, RecordDict]]:
        """Return round -> node -> its train metrics, in node order.

        Of a node whose metrics cannot be read there are none, and a failure is noted.
        """
        found: dict[int, dict[int, RecordDict]] = {}
        for node, content in self._reported(replies):
            one, record = self.reports[node], content.get("metrics")
            stacked = record if isinstance(record, MetricRecord) else MetricRecord()
            try:
                by_round = per_round(one.rounds, stacked, one.report.odd_metrics)
            except PlanError as error:
                self.attendance.note(node, f"metrics of node {node}: {error}")
                continue
            for round, metrics in by_round.items():
                found.setdefault(round, {})[node] = metrics
        return {t: dict(sorted(found[t].items())) for t in sorted(found)}

    def close_segment(self) -> None:
        """Put consensus distance and mean model of the segment's last round into the result."""
        if self.sketches:
            self.result.consensus_distance[self.last] = estimate(self.sketches)
        if self.served:
            self.result.served_slots = tuple(sorted(self.served))
            self.result.served_round = self.last
            self.result.arrays = mean_of(self.served)

    def failures_in(self, replies: Iterable[Message]) -> list[str]:
        """Return what went wrong at the nodes, from their replies."""
        node_of = self.attendance.node_of
        found = []
        for reply in replies:
            node = node_of(reply.metadata.src_node_id)
            reported = self.reports.get(node)
            if reply.has_error():
                found.append(reason_of(reply.error))
            elif reported is None:
                refused = self.attendance.failures.get(node, ["its reply has no report"])
                found.append(refused[-1])
            elif reported.report.failure:
                found.append(reported.report.failure)
        return found

    def _reported(self, replies: Iterable[Message]) -> list[tuple[int, RecordDict]]:
        pairs = [(self.attendance.node_of(r.metadata.src_node_id), r) for r in replies]
        return [(n, r.content) for n, r in pairs if n in self.reports and not r.has_error()]

    def take_back(self) -> None:
        """Let nodes that answered a greeting take part again from the next segment on."""
        returned = self.attendance.greet_absent()
        self.dispatch.forget(returned)
        self.per_node.returned += returned

    def _count(self, content: RecordDict) -> None:
        self.result.traffic.bytes_through_server += content_bytes(content)


def mean_of(served: Served) -> ArrayRecord:
    """Return the mean of the models; bool and integer tensors are those of the lowest slot."""
    weights = dict.fromkeys(served, 1.0 / len(served))
    return to_record(mix(served, weights, own=min(served)))


def to_record(model: Model) -> ArrayRecord:
    """Return a model as Flower's record."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in model.items()})
