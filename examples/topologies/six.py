"""The same training on six topologies: one table, one picture, and a folder a run for a report."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from flwr_datasets.partitioner import DirichletPartitioner
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from flwr_gossip.server_free import theory, topologies
from flwr_gossip.server_free.simulation import (
    NodeData,
    SimulationResult,
    plot_histories,
    simulate,
)
from flwr_gossip.strategies import Gossip

SIX = ("alone", "ring", "torus:4x4", "one-peer-exponential", "exponential", "complete")
NUM_NODES = 16
NUM_TEST = 400


@cache
def load_data(alpha: float = 0.1) -> tuple[NodeData, tuple[torch.Tensor, torch.Tensor]]:
    """Return the nodes' digits, most of a few kinds only, and test images of all ten."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = torch.tensor(digits.data[order] / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target[order])
    partitioner = DirichletPartitioner(NUM_NODES, "label", alpha, self_balancing=True, seed=0)
    rows = {"index": list(range(NUM_TEST, len(labels))), "label": labels[NUM_TEST:].tolist()}
    partitioner.dataset = Dataset.from_dict(rows)
    partition = [partitioner.load_partition(node)["index"] for node in range(NUM_NODES)]
    test = images[:NUM_TEST], labels[:NUM_TEST]
    return NodeData.from_partition(images, labels, partition), test


def train(spec: str, num_rounds: int, folder: Path) -> SimulationResult:
    """Train over a topology; everything else is the same for all."""
    data, test = load_data()
    torch.manual_seed(0)
    return simulate(
        nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        cross_entropy,
        data,
        Gossip(spec),
        num_rounds=num_rounds,
        learning_rate=0.3,
        batch_size=16,
        test_data=test,
        evaluate_every=max(1, num_rounds // 20),
        folder=folder,
        progress=False,
    )


def row(spec: str, run: SimulationResult) -> list[str]:
    """Return what theory says of the topology, and what the training showed."""
    topology, last = topologies.from_spec(spec, num_nodes=NUM_NODES), run.history[-1]
    sent = sum(record["bytes"] for record in run.history) / len(run.history) / NUM_NODES
    return [
        spec,
        f"{theory.effective_neighbors(topology, 0.95):.1f}",
        f"{sent / 1e3:.0f}",
        f"{last['test_accuracy']:.3f}",
        f"{last['test_accuracy_min']:.3f}",
        f"{last['consensus_distance']:.2g}",
    ]


def main() -> None:
    """Train six times; print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/topologies"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = {spec: train(spec, options.rounds, options.out / spec.replace(":", "-")) for spec in SIX}
    table = Table(box=None)
    for heading in ("topology", "n_W", "kB a node a round", "mean", "worst", "consensus distance"):
        table.add_column(heading, justify="left" if heading == "topology" else "right")
    for spec, run in runs.items():
        table.add_row(*row(spec, run))
    output = Console()
    (output if output.is_terminal else Console(width=100)).print(table)
    picture = options.out / "accuracy.png"
    plot_histories(runs, title="Gossip on six topologies", path=picture)
    print(f"picture: {picture}\nreport: flwr-gossip report {options.out}/*/")


if __name__ == "__main__":
    main()
