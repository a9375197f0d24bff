"""What the server does: choose a strategy, start it, and keep the final model."""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits.task import Net, load_common_test_data, test

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and save the final model."""
    settings = context.run_config
    strategy = FedAvg(fraction_evaluate=settings["fraction-evaluate"])
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        train_config=ConfigRecord({"lr": settings["learning-rate"]}),
        num_rounds=settings["num-server-rounds"],
        evaluate_fn=global_evaluate,
    )
    torch.save(result.arrays.to_torch_state_dict(), "final_model.pt")
    final = result.evaluate_metrics_serverapp[settings["num-server-rounds"]]
    print(f"accuracy on the common test images: {final['accuracy']:.3f}")


def global_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Test a model on the images that no node trains on."""
    model = Net()
    model.load_state_dict(arrays.to_torch_state_dict())
    loss, accuracy = test(model, load_common_test_data(batch_size=64))
    return MetricRecord({"loss": loss, "accuracy": accuracy})
