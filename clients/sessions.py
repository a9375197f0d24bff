"""One order at work: its plan, its link to the peers, and its gatherer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from logging import WARNING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.supercore import log

from ..server_free.choco import Copies
from ..server_free.coding import Codec, Coder, Plain
from ..server_free.errors import ModError
from ..server_free.orders import INITIAL_RECORD, RECORD, Evaluation, Order, Segment
from ..server_free.peers.links import INITIAL, Membership, Patience, PeerLink, connect
from ..server_free.plans import Plan
from ..server_free.reachability import Probed, Relayed
from .gate import Gate
from .gathering import Gatherer
from .records import from_record, record_of, records_of

__all__ = ["Session", "config_in", "open_session", "user_config"]


@dataclass(frozen=True, slots=True)
class Session:
    """What the handling of one order works with."""

    plan: Plan
    link: PeerLink
    gatherer: Gatherer
    probed: str


@contextmanager
def open_session(order: Order, msg: Message, ctxt: Context) -> Iterator[Session]:
    """Connect to the own peer for one order; put the initial arrays there if they came along."""
    common = _read(order.plan, order.addresses, order.lost)
    patience = Patience(order.silence_s, order.start_s, order.ceiling_s)
    playing = order if isinstance(order, Segment) and order.last >= order.first else None
    membership = Membership(
        training=order.training,
        key=order.key,
        node=order.node,
        segment=playing.segment if playing else "",
        addresses=common.addresses,
        first=playing.first if playing else 0,
        last=playing.last if playing else 0,
        known=common.lost,
        final=_round_of(order) >= common.plan.num_rounds,
        cut=_reasons(order.cut),
        relayed=tuple(Relayed(*pair) for pair in json.loads(order.relayed)),
        resumed=order.resumed,
    )
    # For as long as others wait for it, the own peer may be away.
    with connect(_own_peer(order, ctxt), membership, return_s=order.silence_s) as link:
        initial = record_of(msg.content, INITIAL_RECORD, ArrayRecord)
        if initial is not None:
            link.publish(INITIAL, from_record(initial), ())
        del initial  # else it would be held till the segment ends
        gate = Gate(link, patience, order.signature)
        gatherer = Gatherer(common.plan, order.node, link, patience, gate)
        gate.coder = _coder(order, gatherer)
        gatherer.where = f"run={ctxt.run_id} training={order.training}"
        yield Session(common.plan, link, gatherer, _probe(link, order))


def _probe(link: PeerLink, order: Order) -> str:
    """Try to talk to the peers that the order names; return what goes into the report."""
    nodes = [int(node) for node in order.probe.split(",") if node]
    if not nodes:
        return ""
    unreachable = link.probe(nodes)
    for one in unreachable:
        log(WARNING, "gossip_mod: %s", one)
    reached = set(nodes) - {one.holder for one in unreachable}
    return Probed(tuple(sorted(reached)), tuple(unreachable)).dump()


@dataclass(frozen=True, slots=True)
class _Common:
    """What the orders of one exchange tell all nodes alike, read."""

    plan: Plan
    addresses: tuple[str, ...]
    lost: Mapping[int, str]


@lru_cache(maxsize=4)
def _read(plan: str, addresses: str, lost: str) -> _Common:
    """Return it; nodes that run in one process read it once."""
    return _Common(Plan.from_json(plan), tuple(json.loads(addresses)), _reasons(lost))


def _reasons(text: str) -> Mapping[int, str]:
    return {int(node): reason for node, reason in json.loads(text).items()}


def _round_of(order: Order) -> int:
    if isinstance(order, Segment):
        return order.last
    return order.round if isinstance(order, Evaluation) else 0


def user_config(order: Order, msg: Message) -> ConfigRecord:
    """Return the user's own ConfigRecord of the message."""
    records = records_of(msg.content, ConfigRecord)
    if order.config_key in records:
        return records[order.config_key]
    others = [record for key, record in records.items() if key != RECORD]
    return others[0] if others else ConfigRecord()


def config_in(round: int, config: ConfigRecord) -> ConfigRecord:
    """Return a copy of the user's config for ``round``, which the user's function may change."""
    copied = config.copy()
    for key, value in config.items():
        if isinstance(value, list):
            copied[key] = value.copy()
    copied["server-round"] = round
    return copied


def _coder(order: Order, gatherer: Gatherer) -> Coder:
    """Return how the models of this training travel."""
    codec = Codec(order.codec)
    if codec.feeds_back and codec.numbers is not None:
        return Copies(codec.numbers, gatherer.initial)
    return Plain(codec.numbers, order.seed)


def _own_peer(order: Order, ctxt: Context) -> str:
    local = order.local or str(ctxt.node_config.get("gossip-peer", ""))
    if not local:
        raise ModError(
            f"node {order.node} has no field gossip-peer in its node-config; start its SuperNode "
            "with 'flwr-gossip supernode', or give --node-config 'gossip-peer=\"unix:PATH\"' with "
            "the local address that 'flwr-gossip peer' prints."
        )
    return local
