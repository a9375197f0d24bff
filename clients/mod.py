"""``gossip_mod``: the one line that makes a Flower ClientApp decentralized.

::

    app = ClientApp(mods=[gossip_mod])

The mod answers the plugin's own messages and leaves all others alone. For a segment it
calls the user's train function once a round with the mixed model, in the record and key
that the function expects, and keeps the weights away from the server.
"""

from __future__ import annotations

import os
import socket
import sys
from logging import ERROR
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.supercore import log

from ..server_free.errors import GossipError, ModError
from ..server_free.orders import (
    RECORD,
    Evaluation,
    Hello,
    Introduction,
    Report,
    Sealed,
    Segment,
    read,
)
from ..server_free.peers.links import describe as describe_peer
from .dialects import dialect_for
from .evaluations import run_evaluation
from .half_done import tell_of_other_strategy
from .placement import Placement, find_placement
from .records import record_of
from .segments import run_segment

__all__ = ["gossip_mod"]

_SERVER = "the ServerApp"


def gossip_mod(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
    """Run the plugin's orders around the user's functions (a Flower mod).

    It must be the first of ``mods``, since what stands before it would see the plugin's
    records. Errors come back as a report with one sentence, so that the metrics of rounds
    already done are kept; an error reply of the user's function or of a later mod is handed
    on as it is.
    """
    record = record_of(msg.content, RECORD, ConfigRecord) if msg.has_content() else None
    if record is None:
        tell_of_other_strategy(msg)
        return call_next(msg, ctxt)
    values = dict(record.items())
    placement = find_placement()
    try:
        _check_outermost(placement)
        if values.get("kind") == Hello.KIND:
            _check_everywhere(placement)
            read(Hello, values, _SERVER)
            return _sealed_reply(msg, introduce(ctxt))
        dialect = dialect_for(placement, values)
        if values.get("kind") == Evaluation.KIND:
            return run_evaluation(read(Evaluation, values, _SERVER), dialect, msg, ctxt, call_next)
        return run_segment(read(Segment, values, _SERVER), dialect, msg, ctxt, call_next)
    except GossipError as error:
        log(ERROR, "gossip_mod: %s", error)
        return _sealed_reply(msg, _failure(values, error))


def introduce(ctxt: Context) -> Introduction:
    """Return who this client is, from its node-config and its peer."""
    config = ctxt.node_config
    local = str(config.get("gossip-peer", ""))
    failure, address = "", ""
    if local:
        try:
            address = describe_peer(local).address
        except GossipError as error:
            failure = str(error)
    return Introduction(
        partition=_index(config.get("partition-id", -1), "partition-id"),
        num_partitions=_index(config.get("num-partitions", -1), "num-partitions"),
        name=str(config.get("peer-name", "")),
        peer=address,
        host=socket.gethostname(),
        process=os.getpid(),
        simulated=_in_ray_worker(),
        failure=failure,
    )


def _index(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModError(f"{field} in node-config is {value!r}, allowed is a whole number from 0.")
    return value


def _in_ray_worker() -> bool:
    """Return whether Flower's simulation runs this ClientApp (Ray is imported there anyway)."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _check_outermost(placement: Placement) -> None:
    if placement.num_mods_before:
        raise ModError(
            f"gossip_mod is not the first mod: {placement.num_mods_before} mod(s) stand before "
            "it and would see the plugin's records. Write ClientApp(mods=[gossip_mod, ...])."
        )


def _check_everywhere(placement: Placement) -> None:
    if not placement.in_mods_of_app(gossip_mod):
        raise ModError(
            "gossip_mod wraps only some of the app's functions; it must wrap all. Write "
            "ClientApp(mods=[gossip_mod]) instead of @app.train(mods=[gossip_mod])."
        )


def _failure(values: dict[str, Any], error: GossipError) -> Sealed:
    if values.get("kind") == Hello.KIND:
        return Introduction(
            partition=-1,
            num_partitions=-1,
            name="",
            peer="",
            host=socket.gethostname(),
            process=os.getpid(),
            simulated=False,
            failure=str(error),
        )
    node = values.get("node", -1)
    return Report(node=node if isinstance(node, int) else -1, failure=str(error))


def _sealed_reply(msg: Message, sealed: Sealed) -> Message:
    return Message(RecordDict({RECORD: ConfigRecord(sealed.to_values())}), reply_to=msg)
