"""1,000 devices, fast, slow and flaky: which strategy to deploy, found without deploying any.

First theory ranks the candidates, as ``flwr-gossip topology`` does; then the best few, and two
others to compare with, train a small model on simulated time. Needs the extra ``[torch]`` and
scikit-learn.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from flwr_gossip.server_free import theory
from flwr_gossip.server_free.simulation import (
    LogNormal,
    Network,
    NodeData,
    OnlineTrace,
    SimulationResult,
    simulate,
)
from flwr_gossip.strategies import Gossip, Teleportation

SLOW, FLAKY = 0.2, 0.2
"""Shares of the devices that take five times as long, and that come and go."""

IMAGES = 24
"""Of a device, from two of the ten digits; test images are of all ten."""

NUM_TEST = 400


GOAL = 0.85
"""Mean test accuracy of the models in use, at which a training counts as done."""

LEARNING_RATE = 0.2

OTHERS = (
    ("Teleportation", "one-peer-exponential", 16),
    ("Teleportation", "one-peer-exponential", 4),
    ("Gossip", "one-peer-exponential", 0),
    ("Gossip", "ring", 0),
)
"""Strategy, topology and active devices of what the best is compared with."""

HEADINGS = ("strategy", "rounds", "minutes", "MB sent", "mean", "worst", "missing")
"""The first three numbers up to GOAL, the last three over the whole training."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices: what they have, how fast they are, and who is there when."""

    data: NodeData
    test: tuple[torch.Tensor, torch.Tensor]
    network: Network


def make_fleet(num_nodes: int, seed: int = 0) -> Fleet:
    """Return devices whose data, speed and presence are drawn from the seed."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    images = torch.tensor(digits.data / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    pool = np.arange(NUM_TEST, len(labels))
    test = images[:NUM_TEST], labels[:NUM_TEST]
    network = Network.mobile(
        compute_s=np.where(rng.random(num_nodes) < SLOW, 10.0, 2.0),
        compute_jitter=LogNormal(1.0, 0.2),
        availability=comings_and_goings(num_nodes, rng),
        seed=seed,
    )
    partition = [two_digits(pool, digits.target, rng) for _ in range(num_nodes)]
    return Fleet(NodeData.from_partition(images, labels, partition), test, network)


def two_digits(
    pool: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the images of one device; another device may have the same ones."""
    wanted = rng.choice(10, size=2, replace=False)
    return rng.choice(pool[np.isin(labels[pool], wanted)], size=IMAGES, replace=False)


def comings_and_goings(num_nodes: int, rng: np.random.Generator) -> OnlineTrace:
    """Return who is online when: most always, the flaky for two minutes and then not for one."""
    intervals: dict[int, list[tuple[float, float]]] = {}
    for node in range(num_nodes):
        if rng.random() >= FLAKY:
            intervals[node] = [(0.0, np.inf)]
            continue
        lengths = rng.exponential(np.tile([120.0, 60.0], 200))
        edges = np.cumsum(lengths)
        intervals[node] = list(zip(edges[1::2], edges[2::2], strict=False))
    return OnlineTrace(intervals)


def candidates(num_nodes: int) -> dict[str, Gossip | Teleportation]:
    """Return the best of theory's with at most two neighbours, and others to compare it with."""
    best = theory.recommend(num_nodes, max_degree=2).best
    several = [(best.strategy, best.spec, best.num_active), *OTHERS]
    return {
        f"{name} {spec}" + (f", {active} active" if name == "Teleportation" else ""): (
            Teleportation(active, spec) if name == "Teleportation" else Gossip(spec)
        )
        for name, spec, active in several
        if active <= num_nodes
    }


def train(fleet: Fleet, strategy: Gossip | Teleportation, num_rounds: int) -> SimulationResult:
    """Train a network with one hidden layer on the devices."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return simulate(
        net,
        cross_entropy,
        fleet.data,
        strategy,
        num_rounds=num_rounds,
        learning_rate=LEARNING_RATE,
        batch_size=8,
        local_steps=4,
        test_data=fleet.test,
        evaluate_every=max(1, num_rounds // 20),
        network=fleet.network,
        peer_timeout=10.0,
        replan_every=10,
    )


def row(label: str, run: SimulationResult) -> list[str]:
    """Return what a training cost until its mean model accuracy was good, and how it ended."""
    evaluated = [record for record in run.history if "test_accuracy" in record]
    reached = [record for record in evaluated if record["test_accuracy"] >= GOAL]
    last = evaluated[-1]
    cost = ["never", "-", "-"]
    if reached:
        until = int(reached[0]["round"])
        sent = sum(record["bytes"] for record in run.history[:until])
        cost = [str(until), f"{reached[0]['seconds'] / 60:.1f}", f"{sent / 1e6:.1f}"]
    missing = sum(record["missing"] for record in run.history)
    accuracies = (last["test_accuracy"], last["test_accuracy_min"])
    return [label, *cost, *(f"{value:.2f}" for value in accuracies), str(missing)]


def main() -> None:
    """Rank, simulate and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=120)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fleet = make_fleet(options.nodes)
    table = Table(
        title=f"{options.nodes} devices, {options.rounds} rounds", title_justify="left", box=None
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for label, strategy in candidates(options.nodes).items():
        table.add_row(*row(label, train(fleet, strategy, options.rounds)))
    output = Console()
    (output if output.is_terminal else Console(width=120)).print(table)


if __name__ == "__main__":
    main()
