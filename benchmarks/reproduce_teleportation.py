"""Teleportation against D-SGD: on quadratics, on neural networks, and by the clock.

Y. Takezawa, S. U. Stich, ICLR 2025, arXiv:2501.15259. Prints the tables and writes figures:

    python benchmarks/reproduce_teleportation.py quadratics [--quick]
    python benchmarks/reproduce_teleportation.py networks --data mnist1d [--quick]
    python benchmarks/reproduce_teleportation.py clocks --data mnist1d [--quick]

``quadratics``: rounds to a target on n = 25 to 1600 nodes, ring and one-peer exponential, several
noise levels, tuned by the exact moments and simulated with ten seeds. ``networks``: equal epochs on
heterogeneous data, learning rates and k tuned the same way for all, three seeds. ``clocks``: the
same in equal simulated time, with slow and fast nodes and links. Minutes each on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import clocks
import networks
import quadratics
from learning_data import NAMES
from networks import Outcome, Problem, Training
from rich.console import Console
from sweeps import sweep
from teleportation_figures import draw_clocks, draw_networks, draw_quadratics
from teleportation_tables import clocks_table, networks_table, quadratics_table, targets_table

SIZES = (25, 100, 400, 1600)
SETTINGS = (
    quadratics.Setting(1.0, 1.0),
    quadratics.Setting(1.0, 0.0),
    quadratics.Setting(0.1, 1.0),
)
ALPHAS = (0.1, 10.0)
NODES = (25, 100)


def simulated(job: tuple[quadratics.Row, int]) -> quadratics.Run:
    """Return one simulated run of a row of the table."""
    return quadratics.measure(*job)


def quadratics_part(arguments: argparse.Namespace, console: Console) -> None:
    """Print a table a setting, and draw rounds over n."""
    sizes = SIZES[:2] if arguments.quick else SIZES
    settings = SETTINGS[:1] if arguments.quick else SETTINGS
    seeds = 3 if arguments.quick else arguments.seeds or 10
    tables = {}
    for setting in settings:
        rows = list(quadratics.rows(sizes, setting))
        jobs = [(row, seed) for row in rows if row.reached for seed in range(seeds)]
        found = sweep(simulated, jobs, "simulating", arguments.workers)
        tables[setting] = runs = {row: [] for row in rows}
        for (row, _), run in zip(jobs, found, strict=True):
            runs[row].append(run)
        console.print(quadratics_table(setting, runs, seeds))
    draw_quadratics(tables, arguments.out / "quadratics.png")


def networks_part(arguments: argparse.Namespace, console: Console) -> None:
    """Print the table of accuracies and draw the learning curves."""
    updates = 2_000 if arguments.quick else arguments.updates
    problems = [
        Problem(arguments.data, alpha, n, topology, updates, arguments.data_dir)
        for alpha in (ALPHAS[:1] if arguments.quick else ALPHAS)
        for n in (NODES[:1] if arguments.quick else NODES)
        for topology in networks.TOPOLOGIES
    ]
    seeds = 1 if arguments.quick else arguments.seeds or 3
    results = networks.tuned(problems, seeds, arguments.workers)
    console.print(networks_table(results, arguments.data, updates, seeds))
    name = arguments.out / f"networks-{arguments.data}"
    name.with_suffix(".json").write_text(json.dumps([_plain(*result) for result in results]))
    draw_networks(results, name.with_suffix(".png"))


def _plain(training: Training, outcomes: Sequence[Outcome]) -> dict[str, object]:
    return asdict(training) | {"outcomes": [asdict(outcome) for outcome in outcomes]}


def clocks_part(arguments: argparse.Namespace, console: Console) -> None:
    """Print what each method reaches in simulated time, and draw it."""
    scenarios, seeds = clocks.SCENARIOS, arguments.seeds or 3
    task = clocks.Task(arguments.data, 32, data_dir=arguments.data_dir)
    if arguments.quick:
        task, seeds = replace(task, num_nodes=8, active=(2,)), 1
        scenarios = tuple(replace(s, budget_s=s.budget_s / 10) for s in scenarios[:2])
    results = clocks.tuned(task, scenarios, seeds, arguments.workers)
    name = arguments.out / f"clocks-{arguments.data}"
    plain = [asdict(run) | {"curves": [list(map(asdict, c)) for c in cs]} for run, cs in results]
    name.with_suffix(".json").write_text(json.dumps(plain))
    console.print(clocks_table(results, task))
    for target in arguments.targets:
        console.print(targets_table(results, target))
    draw_clocks(results, name.with_suffix(".png"))


PARTS = {"quadratics": quadratics_part, "networks": networks_part, "clocks": clocks_part}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", choices=NAMES, default="mnist1d")
    parser.add_argument("--data-dir", help="folder of the files of fashion-mnist or cifar10")
    parser.add_argument("--updates", type=int, default=20_000, help="local updates of all nodes")
    parser.add_argument(
        "--targets", type=float, nargs="+", default=[0.3, 0.4], help="accuracies for clocks"
    )
    parser.add_argument("--seeds", type=int, help="default: 10 for quadratics, 3 for the others")
    parser.add_argument("--workers", type=int, help="processes; default: one for each core")
    parser.add_argument("--quick", action="store_true", help="a small version of the part")
    parser.add_argument("--out", type=Path, default=Path("runs/teleportation"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 120)
    began = time.monotonic()
    PARTS[arguments.part](arguments, console)
    console.print(f"{time.monotonic() - began:.0f} s; figure in {arguments.out}")


if __name__ == "__main__":
    main()
