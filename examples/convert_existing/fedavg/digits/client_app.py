"""What every client does: train and test the model that it is given on its own data."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits.task import Net, load_data
from digits.task import test as test_fn
from digits.task import train as train_fn

app = ClientApp()


@app.train()
def train(msg: Message, context: Context):
    """Train the model on local data."""
    model, (trainloader, _) = load_model_and_data(msg, context)
    lr = msg.content["config"]["lr"]
    train_loss = train_fn(model, trainloader, context.run_config["local-epochs"], lr)
    metrics = {"train_loss": train_loss, "num-examples": len(trainloader.dataset)}
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)}
    return Message(content=RecordDict(content), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Test the model on local data."""
    model, (_, testloader) = load_model_and_data(msg, context)
    loss, accuracy = test_fn(model, testloader)
    metrics = {"loss": loss, "accuracy": accuracy, "num-examples": len(testloader.dataset)}
    return Message(content=RecordDict({"metrics": MetricRecord(metrics)}), reply_to=msg)


def load_model_and_data(msg, context):
    """Return the model that came with the message, and the loaders of this node."""
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    node, settings = context.node_config, context.run_config
    return model, load_data(node["partition-id"], node["num-partitions"], settings["batch-size"])
