"""One training as the ServerApp sees it: who is live, what to ask next, what came back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
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
from flwr.serverapp import Grid
from flwr.supercore import log

from ..server_free import models
from ..server_free.errors import GossipError, NoNodesLeft, PeerUnreachable
from ..server_free.mixing import mix
from ..server_free.models import Model
from ..server_free.orders import (
    INITIAL_RECORD,
    RECORD,
    Evaluation,
    Loss,
    Report,
    Segment,
    read,
)
from ..server_free.plans import Plan
from ..server_free.schedules import sample
from ..server_free.sketches import estimate
from .exchange import exchange, push
from .metrics import per_round
from .pacing import Pacer
from .planes import Plane
from .results import GossipResult
from .roster import Member, hello, introduction
from .settings import Settings

__all__ = ["Training"]

_START_S = 120.0
"""How long a live peer may wait for its client to start: message pick-up and a new process."""

_SEQUENTIAL_START_S = 2.0
"""The same where all clients of earlier rounds have ended before a message is sent."""

_GRACE_S = 5.0
"""How long to wait for the reply of a node that its neighbours reported dead."""

_MAX_FETCHED = 16


@dataclass(slots=True)
class Training:
    """The state of one run of a strategy.

    Parameters
    ----------
    settings, grid, plane, members, plan, initial
        What the run works with; ``members`` is node -> member.
    timeout_s : float
        Deadline for the replies to one Flower message.
    serving : bool
        Whether an ``evaluate_fn`` wants the mean model at every evaluation round.
    pacer : Pacer
        Where segments end.
    """

    settings: Settings
    grid: Grid
    plane: Plane
    members: list[Member]
    plan: Plan
    initial: ArrayRecord
    id: str
    key: bytes
    timeout_s: float
    serving: bool
    pacer: Pacer
    result: GossipResult = field(default_factory=GossipResult)
    live: set[int] = field(default_factory=set)
    started: set[int] = field(default_factory=set)
    segment: Segment | None = None
    reports: dict[int, Report] = field(default_factory=dict)
    served: dict[int, Model] = field(default_factory=dict)
    greetings: dict[str, Message] = field(default_factory=dict)
    _signature: str = ""

    def __post_init__(self) -> None:
        self.live = self.live or set(range(len(self.members)))
        initial = {name: array.numpy() for name, array in self.initial.items()}
        self._signature = models.digest(models.signature(initial))

    def is_stop(self, round: int) -> bool:
        """Return whether nodes evaluate and report after ``round``; the last is always one."""
        stops = self.pacer.stops
        return round == self.plan.num_rounds or (stops is not None and round % stops == 0)

    def wants_models(self, round: int) -> bool:
        """Return whether the server fetches models after ``round``, a stop."""
        return self.serving or round == self.plan.num_rounds

    # --- orders -----------------------------------------------------------------------------

    def segment_messages(
        self, first: int, last: int, config: ConfigRecord, *, sketch: bool, collect: bool
    ) -> list[Message]:
        """Return the messages that ask for rounds first..last, to the nodes active in them.

        With ``last`` < ``first`` no round is played: the holders of round ``last`` mix once
        more, for a sketch or to hand over their model.
        """
        if last >= first:
            self.plan = self.plan.with_live(first, self.live)
        holders = [n for n in self.plan.active(max(last, 1)) if n >= 0]
        wanted = {holders[i] for i in self._served_places(len(holders))} if collect else set()
        asked = self._active_in(first, last) if last >= first else set(holders)
        if not sketch and last < first:
            asked = wanted
        name = secrets.token_hex(4)
        messages = []
        for node in sorted(asked & self.live):
            order = Segment(
                **self._common(node),
                segment=name,
                first=first,
                last=last,
                digest=self.plan.digest(node, first, last),
                sketch=sketch and node in holders,
                collect=node in wanted,
            )
            self.segment = order
            messages.append(self._message(node, order, config, MessageType.TRAIN))
        return messages

    def evaluation_messages(self, round: int, config: ConfigRecord) -> list[Message]:
        """Return the messages that ask the sampled nodes to evaluate after ``round``."""
        candidates = sorted(self.live)
        count = max(1, round_half_up(self.settings.fraction_evaluate * len(candidates)))
        chosen = sample(self.settings.seed + 1, round, len(candidates), count)
        nodes = sorted(candidates[place] for place in chosen)
        orders = {
            node: Evaluation(**self._common(node), round=round, slot=node % self.plan.num_slots)
            for node in nodes
        }
        return [self._message(n, o, config, MessageType.EVALUATE) for n, o in orders.items()]

    def _common(self, node: int) -> dict[str, Any]:
        patience = self.settings.peer_timeout
        start = _SEQUENTIAL_START_S if self.plane.sequential else _START_S
        return {
            "training": self.id,
            "key": self.key,
            "node": node,
            "plan": self.plan.to_json(),
            "addresses": json.dumps(self.plane.addresses),
            "local": self.plane.local,
            "signature": self._signature,
            "seed": self.settings.seed,
            "arrays_key": self.settings.arrayrecord_key,
            "config_key": self.settings.configrecord_key,
            "travelling": ",".join(self.settings.travelling),
            "silence_s": patience,
            "start_s": max(start, patience),
            "ceiling_s": self.timeout_s,
        }

    def _message(
        self, node: int, order: Segment | Evaluation, config: ConfigRecord, kind: str
    ) -> Message:
        content = RecordDict({RECORD: ConfigRecord(order.to_values())})
        content[self.settings.configrecord_key] = config
        if self.plane.host is None and node not in self.started:
            content[INITIAL_RECORD] = self.initial  # once, with the node's first message
            self.started.add(node)
        self._count(content)
        return Message(content, self.members[node].node_id, kind)

    def _active_in(self, first: int, last: int) -> set[int]:
        active: set[int] = set()
        for round in range(first, last + 1):
            active.update(self.plan.active(round))
            if len(active) > len(self.members):  # all nodes and VACANT
                break
        return active

    def _served_places(self, count: int) -> Iterable[int]:
        wanted = min(count, self.settings.fetch_models or _MAX_FETCHED)
        return (place * count // wanted for place in range(wanted))

    # --- replies ----------------------------------------------------------------------------

    def exchange(self, messages: Sequence[Message]) -> list[Message]:
        """Send the messages and return the replies; take in the reports of segments."""
        self.reports = {}
        asked = {message.metadata.dst_node_id for message in messages}
        replies = exchange(
            self.grid,
            messages,
            self.timeout_s,
            given_up=lambda message: self._node_of(message.metadata.dst_node_id) in self._dead(),
            grace_s=_GRACE_S,
            on_reply=self._take_in,
        )
        silent = asked - {reply.metadata.src_node_id for reply in replies}
        for node_id in sorted(silent):
            node = self._node_of(node_id)
            self.lose(node, self._dead().get(node) or f"no reply within {self.timeout_s:g} s")
        return replies

    def _take_in(self, reply: Message) -> None:
        node = self._node_of(reply.metadata.src_node_id)
        if reply.has_error():
            self.lose(node, reply.error.reason or f"error code {reply.error.code}")
            return
        self._count(reply.content)
        if RECORD not in reply.content.config_records:
            self.lose(
                node,
                "its reply has no report: gossip_mod does not wrap this function; write "
                "ClientApp(mods=[gossip_mod]), not only @app.train(mods=[gossip_mod])",
            )
            return
        report = read(Report, dict(reply.content.config_records[RECORD]), f"node {node}")
        self.reports[node] = report
        self.result.losses += Loss.load(report.losses)
        self.result.traffic.bytes_between_clients += report.bytes_fetched
        if report.failure:
            self.lose(node, report.failure)

    def lose(self, node: int, reason: str) -> None:
        """Take ``node`` out of the live ones and say so."""
        log(WARNING, "node %d (%s) failed: %s", node, self.members[node].identity, reason)
        self.result.failures.setdefault(node, []).append(reason)
        self.live.discard(node)

    def _dead(self) -> dict[int, str]:
        """Return the nodes that the reports of this exchange name as dead, with the reason."""
        return {
            loss.holder: loss.reason
            for report in self.reports.values()
            for loss in Loss.load(report.losses)
            if loss.kind in ("unreachable", "silent", "gone", "not-started")
            and loss.holder not in self.reports
        }

    def check_reachable(self) -> None:
        """Raise ``PeerUnreachable`` for every pair that could not talk though both are alive.

        Meant for the first segment: later, an unreachable peer is a loss like any other.
        """
        pairs = {
            (loss.reader, loss.holder): loss.reason
            for report in self.reports.values()
            for loss in Loss.load(report.losses)
            if loss.kind in ("unreachable", "silent") and loss.holder in self.reports
        }
        if pairs:
            lines = [f"node {r} cannot reach node {h}: {why}" for (r, h), why in pairs.items()]
            raise PeerUnreachable(
                "some peers cannot be reached by their neighbours; check --listen, --advertise "
                "and firewalls:\n  " + "\n  ".join(lines)
            )

    def check_alive(self) -> None:
        """Raise ``NoNodesLeft`` with all reasons when no node is live."""
        if self.live:
            return
        lines = [f"node {n}: {reasons[-1]}" for n, reasons in self.result.failures.items()]
        raise NoNodesLeft("no node is left in the training:\n  " + "\n  ".join(lines[:20]))

    def metrics_by_round(self, replies: Iterable[Message]) -> dict[int, list[RecordDict]]:
        """Return round -> the train metrics of the nodes active in it, in node order."""
        found: dict[int, list[tuple[int, RecordDict]]] = {}
        for reply in self._with_reports(replies):
            node = self._node_of(reply.metadata.src_node_id)
            rounds = [int(text) for text in self.reports[node].rounds.split(",") if text]
            stacked = reply.content.metric_records.get("metrics", MetricRecord())
            for round, record in per_round(rounds, stacked).items():
                found.setdefault(round, []).append((node, record))
        pick = sorted(found.items())
        return {t: [r for _, r in sorted(rows, key=lambda row: row[0])] for t, rows in pick}

    def consensus_distance(self) -> float | None:
        """Return the estimate from the sketches in the reports; None without any."""
        sketches = [np.frombuffer(r.sketch, "<f4") for r in self.reports.values() if r.sketch]
        return estimate(sketches) if sketches else None

    def served_models(self, replies: Iterable[Message]) -> dict[int, Model]:
        """Return slot -> mixed model for the nodes that handed theirs over."""
        served: dict[int, Model] = {}
        for reply in self._with_reports(replies):
            record = reply.content.array_records.get(self.settings.arrayrecord_key)
            node = self._node_of(reply.metadata.src_node_id)
            if record and self.segment is not None:
                slot = self.plan.slot(node, self.segment.last)
                if slot is not None:
                    served[slot] = {name: array.numpy() for name, array in record.items()}
        return served

    def _with_reports(self, replies: Iterable[Message]) -> list[Message]:
        return [
            reply
            for reply in replies
            if not reply.has_error() and self._node_of(reply.metadata.src_node_id) in self.reports
        ]

    # --- nodes that come back ---------------------------------------------------------------

    def greet_absent(self) -> None:
        """Take back nodes that answered the last greeting; greet the absent ones again.

        Nothing here waits. A node that came back under another Flower node id is recognised
        by its identity and starts from its neighbours' models.
        """
        for reply in self.grid.pull_messages(list(self.greetings)) if self.greetings else ():
            self.greetings.pop(reply.metadata.reply_to_message_id, None)
            self._welcome(reply)
        if len(self.live) == len(self.members):
            return
        busy = {m.metadata.dst_node_id for m in self.greetings.values()}
        busy |= {self.members[node].node_id for node in self.live}
        absent = [node_id for node_id in self.grid.get_node_ids() if node_id not in busy]
        self.greetings |= push(self.grid, [hello(node_id) for node_id in absent])

    def _welcome(self, reply: Message) -> None:
        try:
            intro = introduction(reply)
        except GossipError as error:
            log(WARNING, "%s", error)
            return
        if intro is None:
            return
        member = Member(reply.metadata.src_node_id, intro)
        known = {m.identity: node for node, m in enumerate(self.members)}
        node = known.get(member.identity)
        if node is None:
            log(WARNING, "%s is not in the roster of this training; ignored.", member.identity)
        elif node not in self.live:
            log(INFO, "node %d (%s) is back.", node, member.identity)
            self._take_back(node, member)

    def _take_back(self, node: int, member: Member) -> None:
        self.members[node] = member
        self.live.add(node)
        self.started.discard(node)
        if self.plane.host is None:
            addresses = list(self.plane.addresses)
            addresses[node] = member.intro.peer
            self.plane = replace(self.plane, addresses=tuple(addresses))

    def _node_of(self, node_id: int) -> int:
        for node, member in enumerate(self.members):
            if member.node_id == node_id:
                return node
        return -1

    def _count(self, content: RecordDict) -> None:
        self.result.traffic.bytes_through_server += content_bytes(content)


def mean_of(served: dict[int, Model]) -> ArrayRecord:
    """Return the mean of the models; bool and integer tensors are those of the lowest slot."""
    weights = dict.fromkeys(served, 1.0 / len(served))
    mean = mix(served, weights, own=min(served))
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in mean.items()})


def content_bytes(content: RecordDict) -> int:
    """Return the bytes that Flower sends for the records: their bodies and the arrays' data."""
    bodies = sum(len(record.deflate()) for record in content.values())
    arrays = (array for record in content.array_records.values() for array in record.values())
    return bodies + sum(len(array.data) for array in arrays)


def round_half_up(value: float) -> int:
    """Return the nearest whole number."""
    return int(value + 0.5)
