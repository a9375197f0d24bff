"""What a client update costs in this process, next to Flower's own simulation of the same app.

One Flower app (benchmarks/in_process_app) runs three models and trainings on 1,000 nodes with
FedAvg, with Gossip on a ring and with Teleportation, each in Flower's simulation and in an
InProcessGrid. A round counts from its first message to the aggregate of its replies, so neither
Ray's start nor the first contact with the nodes counts; the first round is left out. Updates a
second are the median over the rounds, CPU milliseconds (of all processes together) are those of one
update. The ratios are of updates a second: "to same" to the same strategy in Flower's simulation,
"to FedAvg" to FedAvg there, which mixes nothing and keeps no models. FedAvg in this process shows
what Flower's own messages and records and the train function cost. The model has 650 parameters in
2 tensors, or 50,826 in 6. A round of FedAvg goes to some of the nodes only; how many hardly changes
what an update costs.

On two idle cores, with 650 parameters, two runs gave: 27 and 49 times as many updates a second with
Gossip as in Flower's simulation (48 and 66 times less CPU time), 23 and 21 times with Teleportation
(31 and 24), 11 and 20 times with FedAvg (12 and 24). With 50,826 parameters 20, 15 and 14 times,
and with a torch training of these 8, 5 and 7 times: that training takes most of the time then.
Against Flower's FedAvg, Gossip and Teleportation make 7 to 9 times as many (4.5 with torch):
Flower's messages and records and the train function alone cost 0.4 to 0.5 ms CPU time, as FedAvg in
this process shows, and mixing and keeping models 0.3 to 0.8 ms more.

    python benchmarks/in_process.py [--quick] [--nodes N] [--sampled S] [--rounds R]
        [--cases linear,mlp,mlp-torch]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent / "in_process_app"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from in_process_app.client_app import app as client_app
from in_process_app.task import CASES, NUM_ACTIVE, Measured, Play, measure

from flwr_gossip.server_free.simulation import InProcessGrid
from local_flower import run_app, simulation_superlink

APP = Path(__file__).parent / "in_process_app"
LIMIT_S = 1800.0

STRATEGIES = ("FedAvg", "Gossip", "Teleportation")
TELEPORTATION_TIMES = 10
"""Its rounds are short: so many more are measured."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an update costs: how many a second in the median round, and CPU milliseconds."""

    speed: float
    cpu_ms: float

    @staticmethod
    def of(measured: Measured) -> Cost:
        """Return it from what the rounds took."""
        rounds = zip(measured.updates, measured.seconds, strict=True)
        speed = median(updates / seconds for updates, seconds in rounds)
        return Cost(speed, 1e3 * measured.cpu_s / sum(measured.updates))


def by_flower(plays: list[Play], nodes: int, sampled: int) -> dict[Play, Cost]:
    """Carry out all trainings in one run of Flower's simulation."""
    with simulation_superlink(nodes) as link:
        file = link.home / "result.json"
        config: dict[str, str | int | float | bool] = {
            "plays": ",".join(map(str, plays)),
            "sampled": sampled,
            "result-file": str(file),
        }
        run_app(APP, link, config, timeout_s=LIMIT_S)
        found = json.loads(file.read_text())
    return {play: Cost.of(Measured(**found[str(play)])) for play in plays}


def in_process(play: Play, nodes: int, sampled: int) -> Cost:
    """Carry out a training in this process."""
    with InProcessGrid(client_app, nodes) as grid:
        return Cost.of(measure(play, grid, sampled))


def plays_of(case: str, fedavg: int, gossip: int, teleportation: int) -> list[Play]:
    """Return the trainings of a case, given their rounds."""
    rounds = (fedavg, gossip, teleportation)
    return [Play(case, name, times) for name, times in zip(STRATEGIES, rounds, strict=True)]


def add_rows(table: Table, case: str, flower: list[Cost], ours: list[Cost]) -> None:
    """Add a case: each strategy in both runtimes, and its ratios to Flower's."""
    shown = f"{CASES[case].num_parameters:,}, {CASES[case].training}"
    for runtime, costs in (("Flower", flower), ("in-process", ours)):
        for name, cost, same in zip(STRATEGIES, costs, flower, strict=True):
            ratios = f"{cost.speed / same.speed:.1f}", f"{cost.speed / flower[0].speed:.1f}"
            values = f"{cost.speed:,.0f}", f"{cost.cpu_ms:.2f}", *ratios
            table.add_row(shown, f"{runtime}: {name}", *values)
    table.add_section()


def parsed() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--sampled", type=int, default=100, help="nodes in a round of FedAvg")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="the smallest model only, 2 rounds")
    options = parser.parse_args()
    options.cases = [name for name in options.cases.split(",") if name in CASES]
    if options.quick:
        options.cases, options.rounds = options.cases[:1], 2
    return options


def main() -> None:
    """Measure and print one table."""
    options = parsed()
    rounds, nodes, sampled = options.rounds, options.nodes, options.sampled
    console = Console()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(
        f"{nodes:,} nodes; in a round: FedAvg {sampled}, Gossip all (ring), "
        f"Teleportation {NUM_ACTIVE}. {os.cpu_count()} cores, load average before: {load}",
        highlight=False,
    )
    flower_rounds = rounds, max(1, rounds // 4), 4 * rounds
    theirs = {case: plays_of(case, *flower_rounds) for case in options.cases}
    flower = by_flower([play for plays in theirs.values() for play in plays], nodes, sampled)
    table = Table("model, training", "runtime", "updates/s", "CPU ms", "to same", "to FedAvg")
    for case, plays in theirs.items():
        ours = plays_of(case, rounds, rounds, TELEPORTATION_TIMES * rounds)
        costs = [in_process(play, nodes, sampled) for play in ours]
        add_rows(table, case, [flower[play] for play in plays], costs)
    console.print(table)


if __name__ == "__main__":
    main()
