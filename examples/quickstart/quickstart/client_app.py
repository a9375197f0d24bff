"""The ClientApp: an ordinary Flower app, but for ``mods=[gossip_mod]``."""

from __future__ import annotations

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_gossip.clients import gossip_mod
from quickstart.task import Net, NodeData, evaluate, train

app = ClientApp(mods=[gossip_mod])


@app.train()
def train_on_own_data(msg: Message, context: Context) -> Message:
    """Improve the received model on this node's data."""
    settings = context.run_config
    net, data = _net(msg), _data(context)
    config = msg.content["config"]
    node, server_round = context.node_config["partition-id"], config["server-round"]
    loss = train(
        net,
        data.train,
        learning_rate=float(config["learning-rate"]),
        batch_size=int(settings["batch-size"]),
        steps=int(settings["local-steps"]),
        rng=np.random.default_rng([int(settings["seed"]), int(node), int(server_round)]),
    )
    metrics = MetricRecord({"train-loss": loss, "num-examples": len(data.train)})
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate_on_common_and_own_data(msg: Message, context: Context) -> Message:
    """Test the received model on the test set common to all nodes, and on this node's own."""
    net, data = _net(msg), _data(context)
    loss, accuracy = evaluate(net, data.common_test)
    _, local_accuracy = evaluate(net, data.own_test)
    metrics = MetricRecord(
        {
            "loss": loss,
            "accuracy": accuracy,
            "local-accuracy": local_accuracy,
            "num-examples": len(data.own_test),
        }
    )
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)


def _net(msg: Message) -> Net:
    net = Net()
    net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    return net


def _data(context: Context) -> NodeData:
    """Return the node's data, which its state keeps from message to message.

    In a deployment every message meets a new process, and the libraries that split the data
    take seconds to import.
    """
    if "data" not in context.state:
        from quickstart.data import load_node_data

        data = load_node_data(
            node=int(context.node_config["partition-id"]),
            num_nodes=int(context.node_config["num-partitions"]),
            alpha=float(context.run_config["dirichlet-alpha"]),
            seed=int(context.run_config["seed"]),
        )
        context.state["data"] = ArrayRecord(data.to_tensors())
    return NodeData.from_tensors(context.state["data"].to_torch_state_dict())
