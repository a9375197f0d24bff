"""The ServerApp: choose a strategy by its name, train, and write down how well it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, UserConfig
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from flwr_gossip.strategies import Gossip, Teleportation
from quickstart.counting import CountingGrid
from quickstart.fedavg import FedAvgOverNodes
from quickstart.summary import headline, summarize
from quickstart.task import Net

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy of the run config, or with several of them, one after another."""
    summaries = []
    for name in str(context.run_config["strategy"]).split(","):
        summaries.append(train_with(name, grid, context.run_config))
        print(headline(summaries[-1]), flush=True)
    if path := str(context.run_config["result-file"]):
        Path(path).write_text(json.dumps(summaries, indent=2))


def train_with(name: str, grid: Grid, settings: UserConfig) -> dict[str, Any]:
    """Train for the budget of local updates, the same one whatever the strategy."""
    teleporting = name == "teleportation"
    active = int(settings["num-active" if teleporting else "num-nodes"])
    rate = float(settings["teleportation-learning-rate" if teleporting else "learning-rate"])
    num_rounds = int(settings["local-updates"]) // active
    strategy = choose_strategy(name, settings, num_rounds)
    torch.manual_seed(int(settings["seed"]))
    counting = CountingGrid(grid)
    print(f"{name}: {num_rounds} rounds of {active} nodes", flush=True)
    result = strategy.start(
        grid=counting,
        initial_arrays=ArrayRecord(Net().state_dict()),
        num_rounds=num_rounds,
        train_config=ConfigRecord({"learning-rate": rate}),
    )
    return summarize(name, num_rounds, active, result, counting)


def choose_strategy(name: str, settings: UserConfig, num_rounds: int) -> Strategy:
    """Return the strategy of this name."""
    every = max(1, num_rounds // int(settings["evaluations"]))
    num_nodes = int(settings["num-nodes"])
    if name == "teleportation":
        return Teleportation(
            num_active=int(settings["num-active"]),
            topology=str(settings["topology"]),
            seed=int(settings["seed"]),
            evaluate_every=every,
            min_available_nodes=num_nodes,
        )
    if name in ("gossip", "alone"):
        return Gossip(
            topology="alone" if name == "alone" else str(settings["gossip-topology"]),
            seed=int(settings["seed"]),
            evaluate_every=every,
            min_available_nodes=num_nodes,
        )
    if name == "fedavg":
        return FedAvgOverNodes(num_nodes, evaluate_every=every, num_rounds=num_rounds)
    known = "teleportation, gossip, alone, fedavg"
    raise ValueError(f"run config strategy: {name!r} is not one of {known}")
