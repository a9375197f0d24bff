"""Train a scikit-learn model on a node's own data, and test it."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.metrics import log_loss

from digits_sklearn.task import DIGITS, load_data, make_model
from flwr_gossip.clients import gossip_mod

app = ClientApp(mods=[gossip_mod])


@app.train()
def train(msg: Message, context: Context):
    """Take one pass over the node's images."""
    images, labels, _, _ = load_node_data(context)
    arrays = msg.content["arrays"].to_numpy_ndarrays()
    model = make_model(arrays, msg.content["config"]["lr"])
    model.partial_fit(images, labels, classes=DIGITS)
    loss = log_loss(labels, model.predict_proba(images), labels=DIGITS)
    metrics = MetricRecord({"train_loss": float(loss), "num-examples": len(labels)})
    content = {"arrays": ArrayRecord([model.coef_, model.intercept_]), "metrics": metrics}
    return Message(content=RecordDict(content), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Test the model on images of all ten digits."""
    _, _, images, labels = load_node_data(context)
    model = make_model(msg.content["arrays"].to_numpy_ndarrays())
    accuracy = float(model.score(images, labels))
    metrics = MetricRecord({"accuracy": accuracy, "num-examples": len(labels)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)


def load_node_data(context):
    """Return the data of the node that runs this."""
    return load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
