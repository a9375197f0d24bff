"""The ClientApp: one cheap local step, numpy only."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_gossip.clients import gossip_mod

app = ClientApp(mods=[gossip_mod])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Move the model a little towards this node's number."""
    model = msg.content["arrays"]["model"].numpy()
    target = np.float32(context.node_config["partition-id"])
    model = model - np.float32(0.1) * (model - target)
    arrays = ArrayRecord({"model": Array(model)})
    metrics = MetricRecord({"distance": float(abs(model[0] - target)), "num-examples": 1})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Return the distance to this node's number."""
    model = msg.content["arrays"]["model"].numpy()
    distance = float(abs(model[0] - context.node_config["partition-id"]))
    metrics = MetricRecord({"distance": distance, "num-examples": 1})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
