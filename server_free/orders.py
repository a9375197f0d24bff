"""What the ServerApp tells a client and what the client answers: plain values, no weights.

Each order and report is a frozen dataclass that goes through Flower as one record of
scalars, text and bytes (:meth:`to_values`, :func:`read`), so this file knows no Flower.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed_version
from typing import Any, ClassVar, TypeVar

from .errors import PlanError, PlanMismatch

__all__ = [
    "FROM_SCRATCH",
    "INITIAL_RECORD",
    "PROTOCOL",
    "RECORD",
    "Evaluation",
    "Hello",
    "Introduction",
    "Loss",
    "Order",
    "Report",
    "Sealed",
    "Segment",
    "plugin_version",
    "read",
]

RECORD = "flwr-gossip"
"""Key of the plugin's own ConfigRecord in a message, both ways."""

INITIAL_RECORD = "flwr-gossip.initial"
"""Key of the ArrayRecord with the initial arrays in a node's first message."""

PROTOCOL = 3
"""Raised whenever an order, report, plan or sampler changes its meaning."""


@lru_cache(maxsize=1)
def plugin_version() -> str:
    """Return the installed version of flwr-gossip."""
    try:
        return _installed_version("flwr-gossip")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A value that travels in one record."""

    KIND: ClassVar[str] = ""

    def to_values(self) -> dict[str, Any]:
        """Return the fields as scalars, with kind, protocol and plugin version."""
        head: dict[str, Any] = {
            "kind": self.KIND,
            "protocol": PROTOCOL,
            "version": plugin_version(),
        }
        return head | {name: getattr(self, name) for name in _types(type(self))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Sealed):
    """Asks a client who it is and where its peer is."""

    KIND: ClassVar[str] = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Sealed):
    """What a client needs to know to take part in a training.

    ``local`` is the address of an embedded peer host, or "" when the client's own peer
    (``gossip-peer`` in its node-config) serves it. ``addresses`` is a JSON list, node ->
    address of its peer; one entry stands for all nodes. ``plan`` is ``Plan.to_json()``.
    ``resumed`` is the round after which the run goes on with a training that an earlier run began,
    or 0. ``signature`` is a digest of the initial arrays' names, shapes and dtypes. ``travelling``
    is a comma-separated list of further ArrayRecord names, ``codec`` the strategy's argument,
    ``lost`` JSON, node -> reason, of the nodes that are not waited for. ``probe`` is a
    comma-separated list of the nodes whose peers the client is to probe first; ``cut``, as
    ``lost``, names those that this one client does not reach; ``relayed`` is a JSON list of the
    pairs [reader, holder, relay] that it has to do with. Times are in seconds.
    """

    training: str
    key: bytes
    node: int
    plan: str
    addresses: str
    local: str
    resumed: int
    signature: str
    seed: int
    arrays_key: str
    config_key: str
    travelling: str
    codec: str
    lost: str
    silence_s: float
    start_s: float
    ceiling_s: float
    probe: str = ""
    cut: str = "{}"
    relayed: str = "[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Order):
    """Asks a client to run rounds ``first``..``last`` (none when last < first).

    ``digest`` is the fingerprint of what the ServerApp computed for this node. With
    ``sketch`` or ``collect`` the client mixes once more after the last round, for ``slot``,
    and reports a count-sketch of the mixed model, or the mixed model itself.
    """

    KIND: ClassVar[str] = "segment"

    segment: str
    first: int
    last: int
    digest: str
    slot: int
    sketch: bool
    collect: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Order):
    """Asks a client to evaluate the mixed model of ``slot`` after ``round``."""

    KIND: ClassVar[str] = "evaluation"

    round: int
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction(Sealed):
    """Who a client is: the answer to :class:`Hello`.

    ``partition`` and ``num_partitions`` are -1 and ``name`` and ``peer`` "" when the
    node-config does not have them. ``process`` is host name and process id.
    """

    KIND: ClassVar[str] = "introduction"

    partition: int
    num_partitions: int
    name: str
    peer: str
    host: str
    process: int
    simulated: bool
    failure: str = ""


FROM_SCRATCH = "initial arrays"
"""What a loss says was used where nothing else was left."""

NO_LOSSES = '{"texts":[],"rows":[]}'
"""What :meth:`Loss.dump` writes for an empty list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Sealed):
    """What happened in a segment or an evaluation at one node.

    ``rounds`` is a comma-separated list of the rounds completed, in the order of the metric lists;
    ``losses`` a JSON list of :class:`Loss`; ``odd_metrics`` is JSON, metric -> round -> value,
    for metrics that are lists or absent in some rounds; ``failure`` is empty or one sentence;
    ``seconds`` is the wall time spent in the rounds; ``probed`` is ``Probed.dump()``, or "" where
    nothing was probed; ``bytes_relayed`` is the part of ``bytes_fetched`` that came by a relay.
    """

    KIND: ClassVar[str] = "report"

    node: int
    rounds: str = ""
    losses: str = NO_LOSSES
    odd_metrics: str = "{}"
    failure: str = ""
    seconds: float = 0.0
    bytes_fetched: int = 0
    bytes_published: int = 0
    sketch: bytes = b""
    probed: str = ""
    bytes_relayed: int = 0


@dataclass(frozen=True, slots=True)
class Loss:
    """One model that did not arrive: who missed what, why, and what the row became.

    ``slot`` is the slot whose h of ``round`` was missing, ``holder`` the node that held it,
    ``reader`` the node that wanted it for slot ``reader_slot``; ``used`` says what was mixed
    instead ("rest of the row", "slot 3 of round 11 from node 5", "own model of round 9",
    ``FROM_SCRATCH``).
    """

    round: int
    slot: int
    holder: int
    reader: int
    reader_slot: int
    kind: str
    reason: str
    used: str

    @staticmethod
    def dump(losses: list[Loss]) -> str:
        """Return the losses as JSON; each text, which many losses may share, stands there once."""
        if not losses:
            return NO_LOSSES
        texts = list(dict.fromkeys(t for loss in losses for t in (loss.reason, loss.used)))
        place = {text: index for index, text in enumerate(texts)}
        rows = [
            [getattr(loss, name) for name in _PLAIN] + [place[loss.reason], place[loss.used]]
            for loss in losses
        ]
        return json.dumps({"texts": texts, "rows": rows}, separators=(",", ":"))

    @staticmethod
    def load(text: str) -> list[Loss]:
        """Return the losses that :meth:`dump` wrote."""
        try:
            content = json.loads(text)
            texts = content["texts"]
            rows = [[*row[:-2], *(texts[place] for place in row[-2:])] for row in content["rows"]]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise PlanError(f"these are not losses: {error}") from error
        for row in rows:
            if list(map(type, row)) != _LOSS_TYPES:
                raise PlanError(f"these are not losses: {row!r:.200} is none")
        return [Loss(*row) for row in rows]


_PLAIN = ("round", "slot", "holder", "reader", "reader_slot", "kind")
_LOSS_TYPES = [int] * 5 + [str] * 3

T = TypeVar("T", bound=Sealed)


def read(kind: type[T], values: Mapping[str, Any], sender: str) -> T:
    """Return the order or report in ``values``.

    Raises ``PlanMismatch`` when ``sender`` speaks another protocol, ``PlanError`` when a
    field is missing or of the wrong type.
    """
    if values.get("protocol") != PROTOCOL:
        raise PlanMismatch(
            f"{sender} runs flwr-gossip {values.get('version', '?')} (protocol "
            f"{values.get('protocol', '?')}), this side {plugin_version()} (protocol {PROTOCOL}); "
            "install the same version on both."
        )
    if values.get("kind") != kind.KIND:
        raise PlanError(f"{sender} sent a {values.get('kind')!r}, expected is {kind.KIND!r}.")
    taken = {}
    for name, wanted in _types(kind).items():
        if name not in values:
            raise PlanError(f"the {kind.KIND} of {sender} has no field {name!r}.")
        value = taken[name] = values[name]
        # To Python a bool is an int; a field is one or the other.
        if type(value) not in wanted and (isinstance(value, bool) or not isinstance(value, wanted)):
            raise PlanError(
                f"field {name!r} of the {kind.KIND} of {sender} is {type(value).__name__}, "
                f"allowed is {wanted[0].__name__}."
            )
    return kind(**taken)


def _types(kind: type[Sealed]) -> dict[str, tuple[type, ...]]:
    """Return field -> the types that its value may have, its own first."""
    if kind not in _types_of:
        _types_of[kind] = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    return _types_of[kind]


_types_of: dict[type[Sealed], dict[str, tuple[type, ...]]] = {}

_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "bytes": (bytes,),
}
