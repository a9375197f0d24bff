"""Train two numpy arrays on a node's own data, and test them."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_numpy import task
from flwr_gossip.clients import gossip_mod

app = ClientApp(mods=[gossip_mod])


@app.train()
def train(msg: Message, context: Context):
    """Take some steps of gradient descent on the node's images."""
    images, labels, _, _ = load_node_data(context)
    arrays = msg.content["arrays"].to_numpy_ndarrays()
    arrays, loss = task.train(arrays, images, labels, msg.content["config"]["lr"])
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(labels)})
    content = {"arrays": ArrayRecord(arrays), "metrics": metrics}
    return Message(content=RecordDict(content), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Test the model on images of all ten digits."""
    _, _, images, labels = load_node_data(context)
    accuracy = task.accuracy(msg.content["arrays"].to_numpy_ndarrays(), images, labels)
    metrics = MetricRecord({"accuracy": accuracy, "num-examples": len(labels)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)


def load_node_data(context):
    """Return the data of the node that runs this."""
    return task.load_data(
        context.node_config["partition-id"], context.node_config["num-partitions"]
    )
