"""A segment at one client: gather, train, publish, round after round, without the server."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from logging import ERROR
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.supercore import log

from ..server_free.errors import GossipError, PlanMismatch
from ..server_free.models import Model
from ..server_free.orders import RECORD, Loss, Report, Segment, plugin_version
from ..server_free.peers.links import ModelId, Traffic
from ..server_free.sketches import sketch
from .dialects import Dialect, checked_reply
from .gathering import Latest
from .key_errors import explained
from .loss_notes import with_note
from .records import join, report_record, split, to_record
from .sessions import Session, config_in, open_session, user_config

__all__ = ["run_segment"]


class _HandedOn(Exception):
    """The user's function, or a mod behind ours, answered with an error reply."""

    def __init__(self, reply: Message) -> None:
        super().__init__(reply.error.reason)
        self.reply = reply


def run_segment(
    order: Segment, dialect: Dialect, msg: Message, ctxt: Context, call_next: ClientAppCallable
) -> Message:
    """Run the rounds of ``order`` and return the reply for the server.

    The reply holds a report, the metrics as lists with one value a round, and the mixed
    model only where the order asks for it. A failure ends the segment and is told in the
    report; rounds done before it stay done.
    """
    runner = _Runner(order, dialect, msg, ctxt, call_next, user_config(order, msg))
    failure = ""
    try:
        with open_session(order, msg, ctxt) as session:
            runner.run(session)
    except _HandedOn as error:
        # A mod may have built its error on the user's reply; this one answers the message.
        return Message(error.reply.error, reply_to=msg)
    except GossipError as error:
        failure = str(error)
    except Exception as error:
        log(ERROR, "gossip_mod: the train function raised", exc_info=error)
        failure = explained(error, msg.content, "train_config")
    return Message(runner.reply(failure), reply_to=msg)


@dataclass(slots=True)
class _Runner:
    """The state of one segment at one client."""

    order: Segment
    dialect: Dialect
    msg: Message
    ctxt: Context
    call_next: ClientAppCallable
    config: ConfigRecord
    playing: int = 0
    done: list[int] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    sketch: bytes = b""
    served: ArrayRecord | None = None
    seconds: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)
    probed: str = ""

    def run(self, session: Session) -> None:
        """Run all rounds and the last mixing, and keep the accounts even when one fails."""
        self._check_digest(session)
        self.losses, self.probed = session.gatherer.losses, session.probed
        started = time.monotonic()
        try:
            for round in range(self.order.first, self.order.last + 1):
                slot = session.plan.slot(self.order.node, round)
                if slot is not None:
                    self._play(session, round, slot)
            self._mix_once_more(session)
        finally:
            self.seconds = time.monotonic() - started
            self.traffic = session.link.traffic

    def _check_digest(self, session: Session) -> None:
        order = self.order
        computed = session.plan.digest(order.node, order.first, order.last)
        if computed != order.digest:
            theirs = self.msg.content[RECORD].get("version")
            raise PlanMismatch(
                f"node {order.node} (flwr-gossip {plugin_version()}) computes another plan for "
                f"rounds {order.first}..{order.last} than the ServerApp (flwr-gossip {theirs!r}); "
                "install the same version on both."
            )

    def _play(self, session: Session, round: int, slot: int) -> None:
        """Play one round: z, h = train(z), publish h (design: one definition of a round)."""
        self.playing = round
        before = len(self.losses)
        gate = session.gatherer.gate
        trained = self._train(session, slot, round)
        gate.check(trained, "its trained model")
        id = ModelId(round=round, slot=slot, node=self.order.node)
        readers = session.plan.readers(self.order.node, round)
        # That of the last round is read again: by this node, by evaluations, and by readers
        # that a new live list chooses.
        last = round == self.order.last
        message, seen = gate.coder.write(slot, round, trained, whole=last)
        own = [loss for loss in self.losses[before:] if loss.reader == self.order.node]
        message = with_note(message, own)
        session.link.publish(id, message, readers, keep=last)
        session.gatherer.latest = Latest(id, seen, trained)
        if last and session.gatherer.feeds_back:
            session.link.publish(session.gatherer.exact(id), trained, (), keep=True)
        self.done.append(round)
        self.playing = 0

    def _train(self, session: Session, slot: int, round: int) -> dict[str, np.ndarray]:
        """Return h; while the user's function runs, no model is held but that in its message."""
        main, beside = split(session.gatherer.mixed(slot, round - 1), self._travelling())
        session.gatherer.latest = None  # its part is in the mixture
        config = config_in(round, self.config)
        self.msg.content = self.dialect.wrap(main, beside, config, evaluating=False)
        main = {name: np.empty(0, array.dtype) for name, array in main.items()}
        del beside
        reply = checked_reply(self.call_next(self.msg, self.ctxt), "train")
        if reply.has_error():
            raise _HandedOn(reply)
        arrays = _as_given(main, self.dialect.arrays(reply.content, main))
        self.metrics.append(self.dialect.metrics(reply.content))
        return join(arrays, self.dialect.beside(reply.content))

    def _travelling(self) -> tuple[str, ...]:
        return tuple(name for name in self.order.travelling.split(",") if name)

    def _mix_once_more(self, session: Session) -> None:
        """Mix the last round's models where the server wants a sketch or the model."""
        order = self.order
        if not (order.sketch or order.collect):
            return
        main, _ = split(session.gatherer.mixed(order.slot, order.last), ())
        if order.sketch:
            self.sketch = sketch(main, order.seed).astype("<f4").tobytes()
        if order.collect:
            self.served = to_record(main)

    def reply(self, failure: str) -> RecordDict:
        """Return what goes to the server."""
        order = self.order
        regular, odd = stacked(self.done, self.metrics)
        report = Report(
            node=order.node,
            rounds=",".join(map(str, self.done)),
            losses=Loss.dump(self.losses),
            failure=failure and f"{self._where()}: {failure}",
            odd_metrics=odd,
            seconds=self.seconds,
            bytes_fetched=self.traffic.bytes_fetched,
            bytes_published=self.traffic.bytes_published,
            bytes_relayed=self.traffic.bytes_relayed,
            probed=self.probed,
            sketch=self.sketch,
        )
        content = RecordDict({RECORD: report_record(report), "metrics": regular})
        if self.served is not None:
            content[order.arrays_key] = self.served
        return content

    def _where(self) -> str:
        """Return what was being done when it failed."""
        if self.playing:
            return f"round {self.playing}"
        return f"after round {self.order.last}" if self.done else f"before round {self.order.first}"


def stacked(rounds: list[int], metrics: list[dict[str, Any]]) -> tuple[MetricRecord, str]:
    """Return metric -> list with one value a round, and the metrics that do not fit that.

    A metric that is a list, or absent in some rounds, goes into the second value: JSON,
    metric -> round -> value.
    """
    played = metrics[: len(rounds)]
    regular: dict[str, Any] = {}
    odd: dict[str, dict[int, Any]] = {}
    for key in dict.fromkeys(key for one in played for key in one):
        column = {t: one[key] for t, one in zip(rounds, played, strict=True) if key in one}
        if len(column) < len(rounds) or any(isinstance(v, list) for v in column.values()):
            odd[key] = column
        else:
            regular[key] = _one_type(list(column.values()))
    return MetricRecord(regular), json.dumps(odd) if odd else "{}"


def _one_type(values: list[Any]) -> list[Any]:
    """Return ints as they are, and else floats: Flower's lists are of one type."""
    if all(isinstance(value, int) for value in values):
        return values
    return [float(value) for value in values]


def _as_given(given: Model, trained: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the trained arrays in the order, and floats in the dtype, they were given in.

    A numpy train function easily returns float64 for float32; as load_state_dict does, the
    training keeps one dtype.
    """
    names = list(given) if given.keys() == trained.keys() else list(trained)
    return {name: _cast(trained[name], given.get(name)) for name in names}


def _cast(array: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    if given is not None and array.dtype.kind == given.dtype.kind == "f":
        return array.astype(given.dtype, copy=False)
    return array
