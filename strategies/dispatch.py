"""The messages of a training: what each node is told, and nothing more."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from ..server_free import models
from ..server_free.orders import INITIAL_RECORD, RECORD, Evaluation, Segment
from ..server_free.plans import VACANT, Plan
from ..server_free.schedules import sample
from .attendance import Attendance
from .planes import Plane
from .settings import Settings

__all__ = ["Dispatch"]

_START_S = 120.0
"""How long a live peer may wait for its client to start: message pick-up and a new process."""

_SEQUENTIAL_START_S = 2.0
"""The same where all clients of earlier rounds have ended before a message is sent."""

_MAX_FETCHED = 16

_LOOK_BACK = 70
"""How many rounds before a segment its clients may look at: for their own last model."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a node does after the last round: nothing, or mix ``slot`` once more."""

    slot: int = -1
    sketch: bool = False
    collect: bool = False


@dataclass(slots=True)
class Dispatch:
    """Writes the messages of one training.

    Parameters
    ----------
    settings, attendance, plane, initial, key
        What the training works with.
    training : str
        The training id.
    timeout_s : float
        Deadline for the replies; a node that trains is waited for, inside a segment, for a
        quarter of it.
    resumed : int (default: 0)
        The round after which the run goes on with a training that an earlier run began.
    """

    settings: Settings
    attendance: Attendance
    plane: Plane
    initial: ArrayRecord
    training: str
    key: bytes
    timeout_s: float
    resumed: int = 0
    started: set[int] = field(default_factory=set)
    signature: str = ""

    def __post_init__(self) -> None:
        initial = {name: array.numpy() for name, array in self.initial.items()}
        self.signature = models.digest(models.signature(initial))

    def play(
        self, plan: Plan, first: int, last: int, config: ConfigRecord, sketch: bool, collect: bool
    ) -> list[Message]:
        """Return the messages for rounds first..last, one to each node active in them.

        With ``sketch`` the holders of round ``last`` mix once more and report a sketch of the
        mixed model; with ``collect`` some of them hand it over.
        """
        tasks = {node: Task() for node in self._active_in(plan, first, last)}
        if sketch:
            tasks |= self._mixing(plan, last, self.served_slots(plan, last) if collect else ())
        return self._segments(plan, first, last, config, tasks)

    def announce(self, plan: Plan, last: int, config: ConfigRecord) -> list[Message]:
        """Return messages that ask for nothing but to register this run, one a live node."""
        return self._segments(
            plan, last + 1, last, config, dict.fromkeys(self.attendance.live, Task())
        )

    def mix_after(
        self, plan: Plan, last: int, config: ConfigRecord, slots: Collection[int]
    ) -> list[Message]:
        """Return messages that play no round: the holders of round ``last`` mix once more.

        All report a sketch, those of ``slots`` hand their model over. For runtimes in which they
        cannot do so inside the segment, since clients may run one after another.
        """
        return self._segments(plan, last + 1, last, config, self._mixing(plan, last, slots))

    def probe(self, plan: Plan, config: ConfigRecord, nodes: Iterable[int]) -> list[Message]:
        """Return messages that play no round: the nodes only probe the peers of others."""
        return self._segments(plan, 1, 0, config, {node: Task() for node in nodes})

    def fetch(
        self, plan: Plan, last: int, config: ConfigRecord, slots: Collection[int]
    ) -> list[Message]:
        """Return messages that ask any live nodes for the mixed models of ``slots``.

        For slots whose holder of round ``last`` is lost: a slot outlives its holder.
        """
        live = sorted(self.attendance.live)
        pairs = zip(live, sorted(slots), strict=False)
        tasks = {node: Task(slot=slot, collect=True) for node, slot in pairs}
        return self._segments(plan, last + 1, last, config, tasks)

    def served_slots(self, plan: Plan, round: int) -> list[int]:
        """Return the slots whose models the server fetches: all, or some spread evenly."""
        return self.spread(slot for slot, node in enumerate(plan.active(round)) if node != VACANT)

    def spread(self, slots: Iterable[int]) -> list[int]:
        """Return all of ``slots``, or ``fetch_models`` of them spread evenly."""
        held = list(slots)
        wanted = min(len(held), self.settings.fetch_models or _MAX_FETCHED)
        return [held[place * len(held) // wanted] for place in range(wanted)]

    def evaluate(
        self,
        plan: Plan,
        round: int,
        config: ConfigRecord,
        slot_of: Callable[[int], int] | None = None,
    ) -> list[Message]:
        """Return the messages that ask the sampled nodes to evaluate after ``round``.

        Node i evaluates the model of ``slot_of(i)``, by default slot i mod k: its own in Gossip.
        """
        slot_of = slot_of or (lambda node: node % plan.num_slots)
        live = sorted(self.attendance.live)
        count = max(1, int(self.settings.fraction_evaluate * len(live) + 0.5))
        chosen = sample(self.settings.seed, round, len(live), count, purpose="evaluation")
        shared = self._shared(plan.recent(round - _LOOK_BACK))
        pairs = self._pairs(plan)
        orders = (
            Evaluation(**shared, **pairs(node), node=node, round=round, slot=slot_of(node))
            for node in sorted(live[place] for place in chosen)
        )
        return self._messages(orders, config, MessageType.EVALUATE)

    def forget(self, nodes: Iterable[int]) -> None:
        """Treat nodes that came back as new: their peer may be another one, or be empty."""
        for node in nodes:
            self.started.discard(node)
            self.attendance.pairs.forget(node)
            if self.plane.deployed:
                addresses = list(self.plane.addresses)
                addresses[node] = self.attendance.members[node].intro.peer
                self.plane = replace(self.plane, addresses=tuple(addresses))

    def _segments(
        self, plan: Plan, first: int, last: int, config: ConfigRecord, tasks: Mapping[int, Task]
    ) -> list[Message]:
        """Return one message a live node of ``tasks``."""
        shared = self._shared(plan.recent(first - _LOOK_BACK))
        segment = secrets.token_hex(4)
        pairs = self._pairs(plan)
        orders = (
            Segment(
                **shared,
                **pairs(node),
                node=node,
                segment=segment,
                first=first,
                last=last,
                digest=plan.digest(node, first, last),
                slot=tasks[node].slot,
                sketch=tasks[node].sketch,
                collect=tasks[node].collect,
            )
            for node in sorted(tasks.keys() & self.attendance.live)
        )
        return self._messages(orders, config, MessageType.TRAIN)

    def _pairs(self, plan: Plan) -> Callable[[int], Mapping[str, Any]]:
        """Return node -> what its order says of pairs; nothing where all share one peer."""
        if not self.plane.deployed:
            return lambda node: {}
        return self.attendance.pairs.orders(plan, self.attendance.live)

    @staticmethod
    def _mixing(plan: Plan, round: int, serving: Collection[int]) -> dict[int, Task]:
        """Return holder -> what it does after ``round``: a sketch, and some hand over."""
        return {
            node: Task(slot=slot, sketch=True, collect=slot in serving)
            for slot, node in enumerate(plan.active(round))
            if node != VACANT
        }

    def _shared(self, plan: Plan) -> Mapping[str, Any]:
        """Return what all nodes of one exchange are told alike; written once, not once a node."""
        settings = self.settings
        start_s = _SEQUENTIAL_START_S if self.plane.sequential else _START_S
        return {
            "training": self.training,
            "key": self.key,
            "plan": plan.to_json(),
            "addresses": json.dumps(self.plane.addresses),
            "local": self.plane.local,
            "resumed": self.resumed,
            "signature": self.signature,
            "seed": settings.seed,
            "arrays_key": settings.arrayrecord_key,
            "config_key": settings.configrecord_key,
            "travelling": ",".join(settings.travelling),
            "codec": settings.codec,
            "lost": json.dumps(self.attendance.lost()),
            "silence_s": settings.peer_timeout,
            "start_s": max(start_s, settings.peer_timeout),
            "ceiling_s": self.timeout_s / 4,
        }

    def _messages(
        self, orders: Iterable[Segment | Evaluation], config: ConfigRecord, kind: str
    ) -> list[Message]:
        """Return the messages with the orders, one a node.

        Most values are those of the first order: Flower, which checks what is put into a record,
        need check them only once.
        """
        messages: list[Message] = []
        for order in orders:
            values = order.to_values()
            if not messages:
                first, alike = values, ConfigRecord(values)
            record = alike.copy()
            record.update({k: v for k, v in values.items() if v != first[k]})
            content = RecordDict({RECORD: record, self.settings.configrecord_key: config})
            if self.plane.deployed and order.node not in self.started:
                content[INITIAL_RECORD] = self.initial  # once, with the node's first message
                self.started.add(order.node)
            node_id = self.attendance.members[order.node].node_id
            messages.append(Message(content, node_id, kind))
        return messages

    @staticmethod
    def _active_in(plan: Plan, first: int, last: int) -> set[int]:
        active: set[int] = set()
        for round in range(first, last + 1):
            active.update(plan.active(round))
            if len(active - {VACANT}) == plan.num_nodes:
                break
        return active - {VACANT}
