"""The ClientApp: a step that costs almost nothing, or an epoch of a small torch network."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_gossip.clients import gossip_mod

app = ClientApp(mods=[gossip_mod])

SAMPLES, BATCH, FEATURES, CLASSES = 64, 32, 64, 10


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the model as the config says."""
    node = int(context.node_config["partition-id"])
    with_torch = msg.content["config"]["training"] == "torch"
    arrays, loss = (epoch if with_torch else step)(msg.content["arrays"], node)
    metrics = MetricRecord({"loss": loss, "num-examples": SAMPLES})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)


def step(record: ArrayRecord, node: int) -> tuple[ArrayRecord, float]:
    """Move the model a little towards this node's number."""
    target = np.float32(node)
    model = {name: array.numpy() for name, array in record.items()}
    moved = {name: a - np.float32(0.1) * (a - target) for name, a in model.items()}
    return ArrayRecord({name: Array(array) for name, array in moved.items()}), float(target)


def epoch(record: ArrayRecord, node: int) -> tuple[ArrayRecord, float]:
    """Train one epoch on this node's samples by SGD."""
    import torch

    torch.set_num_threads(1)  # as Ray has it for a client with one core
    state = record.to_torch_state_dict()
    shapes = [weight.shape for name, weight in state.items() if name.endswith("weight")]
    layers: list[torch.nn.Module] = []
    for out, into in shapes:
        layers += [torch.nn.Linear(into, out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    model.load_state_dict(state)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    draws = np.random.default_rng(node)
    inputs = torch.from_numpy(draws.standard_normal((SAMPLES, FEATURES), np.float32))
    labels = torch.from_numpy(draws.integers(CLASSES, size=SAMPLES))
    for start in range(0, SAMPLES, BATCH):
        batch = slice(start, start + BATCH)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    return ArrayRecord(model.state_dict()), float(loss.detach())
