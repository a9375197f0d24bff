"""The ClientApp: the quadratic of ``task``, with faults where the train config asks for them."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_gossip.clients import gossip_mod
from gossip_cases.task import PROBE, Vector, local_update, to_record, to_vector

app = ClientApp(mods=[gossip_mod])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Take one step from the given model and report the probe of what was given."""
    node, config = int(context.node_config["partition-id"]), msg.content["config"]
    round = int(config["server-round"])
    z = to_vector(msg.content["arrays"])
    time.sleep(float(config.get("pause", 0.0)))
    h = to_record(local_update(z, node, round))
    for what in faults(config, node, round):
        h = commit(what, h)
    metrics = MetricRecord({"num-examples": node + 1, "node": node, "round": round, **probe(z)})
    return Message(RecordDict({"arrays": h, "metrics": metrics}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Report the probe of the given model."""
    node, round = int(context.node_config["partition-id"]), msg.content["config"]["server-round"]
    z = to_vector(msg.content["arrays"])
    metrics = MetricRecord({"num-examples": node + 1, "node": node, "round": round, **probe(z)})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)


def probe(z: Vector) -> dict[str, float]:
    """Return the first elements as metrics."""
    return {f"z{place:02}": float(value) for place, value in enumerate(z[:PROBE])}


def faults(config: ConfigRecord, node: int, round: int) -> list[str]:
    """Return what goes wrong here and now; the config has ``fault:node:round`` with spaces."""
    wanted = [fault.split(":") for fault in str(config.get("faults", "")).split()]
    return [what for what, where, when in wanted if (int(where), int(when)) == (node, round)]


def commit(what: str, h: ArrayRecord) -> ArrayRecord:
    """Let it go wrong."""
    if what == "raise":
        raise RuntimeError("the disk is full")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "nan":
        return ArrayRecord({**h, "scale": Array(np.array(np.nan, np.float32))})
    if what == "shape":
        return ArrayRecord({**h, "matrix": Array(np.zeros((3, 2), np.float32))})
    if what == "no-arrays":
        return ArrayRecord({})
    raise ValueError(f"there is no fault {what!r}")
