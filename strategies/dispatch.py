"""The messages of a training: what each node is told, and nothing more."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
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
        Deadline for the replies, and so the ceiling of any wait inside a segment.
    """

    settings: Settings
    attendance: Attendance
    plane: Plane
    initial: ArrayRecord
    training: str
    key: bytes
    timeout_s: float
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
        nodes = self._active_in(plan, first, last)
        segment = secrets.token_hex(4)
        holders = set(plan.active(last)) if sketch else set()
        serving = self._serving(plan, last) if collect else set()
        return [
            self._segment(plan, n, segment, first, last, config, n in holders, n in serving)
            for n in sorted(nodes & self.attendance.live)
        ]

    def mix_after(
        self, plan: Plan, last: int, config: ConfigRecord, collect: bool
    ) -> list[Message]:
        """Return messages that play no round: the holders of round ``last`` mix once more.

        For runtimes in which they cannot do so inside the segment, since clients may run one
        after another.
        """
        holders = set(plan.active(last)) & self.attendance.live
        serving = self._serving(plan, last) if collect else set()
        segment = secrets.token_hex(4)
        return [
            self._segment(plan, n, segment, last + 1, last, config, True, n in serving)
            for n in sorted(holders)
        ]

    def evaluate(self, plan: Plan, round: int, config: ConfigRecord) -> list[Message]:
        """Return the messages that ask the sampled nodes to evaluate after ``round``.

        Node i evaluates the model of slot i mod k: its own in Gossip.
        """
        live = sorted(self.attendance.live)
        count = max(1, int(self.settings.fraction_evaluate * len(live) + 0.5))
        chosen = sample(self.settings.seed, round, len(live), count, purpose="evaluation")
        return [
            self._message(
                node,
                Evaluation(**self._common(plan, node), round=round, slot=node % plan.num_slots),
                config,
                MessageType.EVALUATE,
            )
            for node in sorted(live[place] for place in chosen)
        ]

    def forget(self, nodes: Iterable[int]) -> None:
        """Treat nodes that came back as new: their peer may be another one, or be empty."""
        for node in nodes:
            self.started.discard(node)
            if self.plane.host is None:
                addresses = list(self.plane.addresses)
                addresses[node] = self.attendance.members[node].intro.peer
                self.plane = replace(self.plane, addresses=tuple(addresses))

    def _segment(
        self,
        plan: Plan,
        node: int,
        segment: str,
        first: int,
        last: int,
        config: ConfigRecord,
        sketch: bool,
        collect: bool,
    ) -> Message:
        order = Segment(
            **self._common(plan, node),
            segment=segment,
            first=first,
            last=last,
            digest=plan.digest(node, first, last),
            sketch=sketch,
            collect=collect,
        )
        return self._message(node, order, config, MessageType.TRAIN)

    def _common(self, plan: Plan, node: int) -> Mapping[str, Any]:
        settings = self.settings
        start_s = _SEQUENTIAL_START_S if self.plane.sequential else _START_S
        return {
            "training": self.training,
            "key": self.key,
            "node": node,
            "plan": plan.to_json(),
            "addresses": json.dumps(self.plane.addresses),
            "local": self.plane.local,
            "signature": self.signature,
            "seed": settings.seed,
            "arrays_key": settings.arrayrecord_key,
            "config_key": settings.configrecord_key,
            "travelling": ",".join(settings.travelling),
            "silence_s": settings.peer_timeout,
            "start_s": max(start_s, settings.peer_timeout),
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
        return Message(content, self.attendance.members[node].node_id, kind)

    @staticmethod
    def _active_in(plan: Plan, first: int, last: int) -> set[int]:
        active: set[int] = set()
        for round in range(first, last + 1):
            active.update(plan.active(round))
            if len(active - {VACANT}) == plan.num_nodes:
                break
        return active - {VACANT}

    def _serving(self, plan: Plan, round: int) -> set[int]:
        """Return the holders whose models the server fetches: all, or some spread evenly."""
        holders = [node for node in plan.active(round) if node != VACANT]
        wanted = min(len(holders), self.settings.fetch_models or _MAX_FETCHED)
        return {holders[place * len(holders) // wanted] for place in range(wanted)}
