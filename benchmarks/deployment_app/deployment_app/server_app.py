"""The ServerApp: one strategy for a number of rounds, its wall time written down."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_gossip.strategies import Gossip, Teleportation

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train and write the seconds that ``start`` took."""
    config = context.run_config
    strategy = choose(str(config["strategy"]), bool(config["evaluate"]))
    model = np.zeros(int(config["num-parameters"]), dtype=np.float32)
    began = time.monotonic()
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({"model": Array(model)}),
        num_rounds=int(config["rounds"]),
        timeout=600,
    )
    measured = {
        "seconds": time.monotonic() - began,
        "between_clients": getattr(getattr(result, "traffic", None), "bytes_between_clients", 0),
        "losses": len(getattr(result, "losses", [])),
    }
    Path(str(config["result-file"])).write_text(json.dumps(measured))


def choose(name: str, evaluate: bool) -> Strategy:
    """Return the strategy, with its default evaluation or none."""
    fraction = 1.0 if evaluate else 0.0
    if name == "fedavg":
        return FedAvg(fraction_evaluate=fraction, min_available_nodes=4)
    if name == "teleportation":
        return Teleportation(num_active=2, fraction_evaluate=fraction)
    return Gossip("ring", fraction_evaluate=fraction)
