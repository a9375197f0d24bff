"""What a client update costs in this process, next to Flower's own simulation of the same app.

One Flower app (benchmarks/in_process_app) runs three models and trainings on 1,000 nodes: in
Flower's simulation with FedAvg, and in an InProcessGrid with the same FedAvg, with Gossip on a ring
and with Teleportation. A round counts from its first message to the aggregate of its replies, so
neither Ray's start nor the first contact with the nodes counts; the first round is left out.
Updates a second are the median over the rounds, CPU milliseconds (of all processes together) are
those of one update, the ratio is to Flower's simulation. FedAvg in this process shows what Flower's
own messages and records and the train function cost: it has no models to mix or to keep. The model
has 650 parameters in 2 tensors, or 50,826 in 6. A round of FedAvg goes to some of the nodes only;
how many hardly changes what an update costs.

    python benchmarks/in_process.py [--nodes N] [--sampled S] [--rounds R] [--cases linear,mlp]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent / "in_process_app"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from in_process_app.client_app import app as client_app
from in_process_app.task import (
    CASES,
    Measured,
    Timed,
    TimedGossip,
    TimedTeleportation,
    fedavg,
    play,
)

from flwr_gossip.server_free.simulation import InProcessGrid
from local_flower import run_app, simulation_superlink

APP = Path(__file__).parent / "in_process_app"
NUM_ACTIVE = 16
LIMIT_S = 1800.0


def by_flower(cases: list[str], nodes: int, sampled: int, rounds: int) -> dict[str, Measured]:
    """Run FedAvg on all cases in one run of Flower's simulation."""
    with simulation_superlink(nodes) as link:
        file = link.home / "result.json"
        config: dict[str, str | int | float | bool] = {
            "cases": ",".join(cases),
            "rounds": rounds,
            "sampled": sampled,
            "result-file": str(file),
        }
        run_app(APP, link, config, timeout_s=LIMIT_S)
        found = json.loads(file.read_text())
    return {case: Measured(**found[case]) for case in cases}


def in_process(make: Callable[[], Timed], case: str, nodes: int, rounds: int) -> Measured:
    """Run a strategy on a case in this process."""
    with InProcessGrid(client_app, nodes) as grid:
        return play(make(), grid, case, rounds)


def strategies(nodes: int, sampled: int) -> dict[str, tuple[Callable[[], Timed], int]]:
    """Return name -> how to make a strategy, and how many times the rounds it plays."""
    active = min(NUM_ACTIVE, nodes)
    return {
        "FedAvg": (lambda: fedavg(nodes, sampled), 1),
        "Gossip": (lambda: TimedGossip("ring", fraction_evaluate=0.0), 1),
        "Teleportation": (lambda: TimedTeleportation(active, fraction_evaluate=0.0), 10),
    }


def row(measured: Measured) -> tuple[float, float]:
    """Return updates in a second, the median of the rounds, and CPU milliseconds an update."""
    rounds = zip(measured.updates, measured.seconds, strict=True)
    speed = median(updates / seconds for updates, seconds in rounds)
    return speed, 1e3 * measured.cpu_s / sum(measured.updates)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--sampled", type=int, default=100, help="nodes in a round of FedAvg")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ", ".join(CASES))
    options = parser.parse_args()
    cases = [name for name in options.cases.split(",") if name in CASES]
    console = Console()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(
        f"{options.nodes:,} nodes; in a round: FedAvg {options.sampled}, Gossip all (ring), "
        f"Teleportation {NUM_ACTIVE}. {os.cpu_count()} cores, load average before: {load}",
        highlight=False,
    )
    theirs = by_flower(cases, options.nodes, options.sampled, options.rounds)
    table = Table("parameters", "training", "runtime", "updates/s", "CPU ms", "ratio")
    for case in cases:
        speed, cpu_ms = row(theirs[case])
        rows = {"Flower simulation: FedAvg": (speed, cpu_ms)}
        for name, (make, times) in strategies(options.nodes, options.sampled).items():
            measured = in_process(make, case, options.nodes, times * options.rounds)
            rows[f"in-process: {name}"] = row(measured)
        for name, (ours, cpu_ms) in rows.items():
            model, training = f"{CASES[case].num_parameters:,}", CASES[case].training
            ratio = f"{ours / speed:.1f}"
            table.add_row(model, training, name, f"{ours:,.0f}", f"{cpu_ms:.2f}", ratio)
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    main()
