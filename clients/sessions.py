"""One order at work: its plan, its link to the peers, and its gatherer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flwr.app import ConfigRecord, Context, Message

from ..server_free.errors import ModError
from ..server_free.orders import INITIAL_RECORD, RECORD, Evaluation, Order, Segment
from ..server_free.peers.links import INITIAL, Membership, Patience, PeerLink, connect
from ..server_free.plans import Plan
from .gathering import Gatherer
from .records import from_record

__all__ = ["Session", "open_session", "user_config"]


@dataclass(frozen=True, slots=True)
class Session:
    """What the handling of one order works with."""

    plan: Plan
    link: PeerLink
    gatherer: Gatherer


@contextmanager
def open_session(order: Order, msg: Message, ctxt: Context) -> Iterator[Session]:
    """Connect to the own peer for one order; put the initial arrays there if they came along."""
    plan = Plan.from_json(order.plan)
    playing = order if isinstance(order, Segment) and order.last >= order.first else None
    membership = Membership(
        training=order.training,
        key=order.key,
        node=order.node,
        segment=playing.segment if playing else "",
        addresses=tuple(json.loads(order.addresses)),
        first=playing.first if playing else 0,
        last=playing.last if playing else 0,
        known={int(node): reason for node, reason in json.loads(order.lost).items()},
        final=_round_of(order) >= plan.num_rounds,
    )
    patience = Patience(order.silence_s, order.start_s, order.ceiling_s)
    with connect(_own_peer(order, ctxt), membership) as link:
        if INITIAL_RECORD in msg.content.array_records:
            link.publish(INITIAL, from_record(msg.content.array_records[INITIAL_RECORD]), ())
        gatherer = Gatherer(plan, order.node, link, patience, order.signature)
        yield Session(plan, link, gatherer)


def _round_of(order: Order) -> int:
    if isinstance(order, Segment):
        return order.last
    return order.round if isinstance(order, Evaluation) else 0


def user_config(order: Order, msg: Message) -> ConfigRecord:
    """Return the user's own ConfigRecord of the message."""
    records = msg.content.config_records
    if order.config_key in records:
        return records[order.config_key]
    others = [record for key, record in records.items() if key != RECORD]
    return others[0] if others else ConfigRecord()


def _own_peer(order: Order, ctxt: Context) -> str:
    local = order.local or str(ctxt.node_config.get("gossip-peer", ""))
    if not local:
        raise ModError(
            f"node {order.node} has no field gossip-peer in its node-config; start its SuperNode "
            "with 'flwr-gossip supernode', or give --node-config 'gossip-peer=\"unix:PATH\"' with "
            "the local address that 'flwr-gossip peer' prints."
        )
    return local
