"""Whether the in-process and the vectorized runtime compute what the dense definition says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import nn

from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.simulation import InProcessGrid, simulate

__all__ = ["disagreements"]

Vector = NDArray[np.float64]
Pairs = list[tuple[torch.Tensor, torch.Tensor]]
loss = nn.functional.cross_entropy


def disagreements(
    model: nn.Module, pairs: Pairs, strategy: Any, num_rounds: int, rate: float
) -> dict[str, float]:
    """Return the largest difference of any node's final parameters between any two runtimes.

    One full-batch step of SGD a round, in float64 throughout.
    """
    update = _update(model.double(), pairs, rate)
    x0 = nn.utils.parameters_to_vector(model.parameters()).detach().numpy().copy()
    plan = strategy.plan(len(pairs), num_rounds)
    nodes = np.arange(len(pairs)) % plan.num_slots  # node i evaluates the model of slot i mod k
    found = {
        "dense": dense(plan, x0, update)[nodes],
        "in-process": in_process(x0, update, strategy, len(pairs), num_rounds),
    }
    nn.utils.vector_to_parameters(torch.from_numpy(x0.copy()), model.parameters())
    result = simulate(model, loss, pairs, strategy, num_rounds=num_rounds, learning_rate=rate,
                      batch_size=max(len(inputs) for inputs, _ in pairs))  # fmt: skip
    found["vectorized"] = result.models.numpy()[nodes]
    return {
        f"{one}, {other}": float(np.abs(found[one] - found[other]).max())
        for one, other in (
            ("dense", "in-process"),
            ("dense", "vectorized"),
            ("in-process", "vectorized"),
        )
    }


def dense(plan: Plan, x0: Vector, update: Callable[[Vector, int], Vector]) -> Vector:
    """Return Z after the last round: ``H = train(W @ H)`` and nothing else, (k, d)."""
    z = np.tile(x0, (plan.num_slots, 1))
    for round in range(1, plan.num_rounds + 1):
        h = np.stack([update(z[slot], node) for slot, node in enumerate(plan.active(round))])
        z = plan.topology.matrix(round) @ h
    return z


def in_process(
    x0: Vector,
    update: Callable[[Vector, int], Vector],
    strategy: Any,
    num_nodes: int,
    num_rounds: int,
) -> Vector:
    """Return the mixed model that each node evaluates after the last round, (n, d)."""
    models = np.empty((num_nodes, len(x0)))
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        z = msg.content["arrays"]["x"].numpy()
        h = update(z, int(ctxt.node_config["partition-id"]))
        metrics = MetricRecord({"num-examples": 1})
        content = RecordDict({"arrays": ArrayRecord({"x": Array(h)}), "metrics": metrics})
        return Message(content, reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        models[int(ctxt.node_config["partition-id"])] = msg.content["arrays"]["x"].numpy()
        content = RecordDict({"metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=msg)

    with InProcessGrid(app, num_nodes) as grid:
        strategy.start(grid, ArrayRecord({"x": Array(x0.copy())}), num_rounds=num_rounds)
    return models


def _update(model: nn.Module, pairs: Pairs, rate: float) -> Callable[[Vector, int], Vector]:
    """Return ``(z, node) -> h``: a step of ``torch.optim.SGD`` on all samples of the node."""
    parameters = list(model.parameters())

    def update(z: Vector, node: int) -> Vector:
        nn.utils.vector_to_parameters(torch.from_numpy(z.copy()), parameters)
        sgd = torch.optim.SGD(parameters, lr=rate)
        sgd.zero_grad()
        inputs, targets = pairs[node]
        loss(model(inputs), targets).backward()
        sgd.step()
        return nn.utils.parameters_to_vector(parameters).detach().numpy().copy()

    return update
