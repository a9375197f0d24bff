"""All nodes train and average with log2(n) others; the server keeps the final model."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp

from digits_sklearn.task import initial_arrays
from flwr_gossip.strategies import Gossip

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and save the final model."""
    settings = context.run_config
    result = Gossip("exponential").start(
        grid=grid,
        initial_arrays=ArrayRecord(initial_arrays()),
        train_config=ConfigRecord({"lr": settings["learning-rate"]}),
        num_rounds=settings["num-server-rounds"],
    )
    coefficients, intercepts = result.arrays.to_numpy_ndarrays()
    np.savez("final_model.npz", coefficients=coefficients, intercepts=intercepts)
    final = result.evaluate_metrics_clientapp[settings["num-server-rounds"]]
    print(f"accuracy: mean {final['accuracy']:.3f}, worst node {final['accuracy-min']:.3f}")
