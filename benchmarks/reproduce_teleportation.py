"""Teleportation against D-SGD: quadratics, and neural networks with heterogeneous data.

Y. Takezawa, S. U. Stich, ICLR 2025, arXiv:2501.15259. Prints the tables and writes figures:

    python benchmarks/reproduce_teleportation.py quadratics [--quick]
    python benchmarks/reproduce_teleportation.py networks --data mnist1d [--quick]

``quadratics``: rounds to a target on n = 25 to 1600 nodes, ring and one-peer exponential, several
noise levels, tuned by the exact moments and simulated with ten seeds. ``networks``: equal epochs,
learning rates and k tuned the same way for all, three seeds. Minutes each on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import quadratics
from learning_data import NAMES
from networks import Outcome, Problem, Training, tuned
from rich.console import Console
from rich.table import Table
from sweeps import sweep

SIZES = (25, 100, 400, 1600)
SETTINGS = (
    quadratics.Setting(1.0, 1.0),
    quadratics.Setting(1.0, 0.0),
    quadratics.Setting(0.1, 10.0),
)
ALPHAS = (0.1, 10.0)
NODES = (25, 100)
TOPOLOGIES = ("ring", "exponential", "base-graph:1")


def simulated(job: tuple[quadratics.Row, int]) -> quadratics.Run:
    """Return one simulated run of a row of the table."""
    return quadratics.measure(*job)


def quadratics_part(arguments: argparse.Namespace, console: Console) -> None:
    """Print a table a setting, and draw rounds over n."""
    sizes = SIZES[:2] if arguments.quick else SIZES
    settings = SETTINGS[:1] if arguments.quick else SETTINGS
    for setting in settings:
        rows = list(quadratics.rows(sizes, setting))
        seeds = range(3 if arguments.quick else arguments.seeds or 10)
        jobs = [(row, seed) for row in rows if row.reached for seed in seeds]
        runs: dict[quadratics.Row, list[quadratics.Run]] = {row: [] for row in rows}
        for (row, _), run in zip(jobs, sweep(simulated, jobs, "simulating"), strict=True):
            runs[row].append(run)
        console.print(quadratics_table(setting, runs, len(seeds)))
    draw_quadratics(list(quadratics.rows(sizes, SETTINGS[0])), arguments.out / "quadratics.png")


def quadratics_table(
    setting: quadratics.Setting, runs: Mapping[quadratics.Row, Sequence[quadratics.Run]], seeds: int
) -> Table:
    """Return predicted and measured rounds with 95 % confidence intervals."""
    table = Table(
        title=f"Rounds to a mean squared error of {quadratics.TARGET}, "
        f"sigma^2 = {setting.sigma2:g}, zeta^2 = {setting.zeta2:g}, {seeds} seeds",
        caption="predicted: exact expectation, lr tuned continuously, k over powers of two and n; "
        "error: measured at the predicted round, in units of the target",
    )
    for name in ("method", "topology", "n", "k", "lr", "predicted", "simulated", "error"):
        table.add_column(name, justify="left" if name in {"method", "topology"} else "right")
    for row, found in runs.items():
        cells = ["", f"> {quadratics.MOST:,}", "", ""]
        if row.reached:
            rounds = quadratics.interval([run.rounds for run in found])
            error = quadratics.interval([run.error / quadratics.TARGET for run in found])
            cells = [
                f"{row.learning_rate:.4f}",
                str(row.exact),
                f"{rounds[0]:.0f} ± {rounds[1]:.0f}",
                f"{error[0]:.2f} ± {error[1]:.2f}",
            ]
        known = (row.method, row.topology, str(row.num_nodes), str(row.num_active))
        table.add_row(*known, *cells)
    return table


def draw_quadratics(rows: Sequence[quadratics.Row], file: Path) -> None:
    """Draw the rounds of each method over the number of nodes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axis = figure.subplots()
    for topology, marker in zip(quadratics.TOPOLOGIES, "os", strict=True):
        for method, colour in zip(quadratics.METHODS, ("C1", "C0"), strict=True):
            own = [row for row in rows if (row.method, row.topology) == (method, topology)]
            sizes, rounds = [row.num_nodes for row in own], [row.exact for row in own]
            label = f"{method}, {topology}"
            axis.plot(sizes, rounds, marker=marker, color=colour, label=label)
    axis.set(xscale="log", yscale="log", xlabel="nodes n", ylabel="rounds to an error of 0.01")
    axis.set_title("Heterogeneous quadratics: Teleportation does not degrade with n")
    axis.legend()
    figure.savefig(file, dpi=130)


def networks_part(arguments: argparse.Namespace, console: Console) -> None:
    """Print the table of accuracies and draw the learning curves."""
    updates = 2_000 if arguments.quick else arguments.updates
    problems = [
        Problem(arguments.data, alpha, n, topology, updates, arguments.data_dir)
        for alpha in (ALPHAS[:1] if arguments.quick else ALPHAS)
        for n in (NODES[:1] if arguments.quick else NODES)
        for topology in TOPOLOGIES
    ]
    seeds = 1 if arguments.quick else arguments.seeds or 3
    results = tuned(problems, seeds)
    console.print(networks_table(results, arguments.data, updates, seeds))
    draw_networks(results, arguments.out / f"networks-{arguments.data}.png")


def networks_table(
    results: Sequence[tuple[Training, Sequence[Outcome]]], data: str, updates: int, seeds: int
) -> Table:
    """Return test accuracies: of the served model, and of the worst node."""
    table = Table(
        title=f"{data}: test accuracy in % after {updates} local updates, {seeds} seeds",
        caption="mean ± standard deviation over the seeds; worst: the worst node's own model",
    )
    for name in ("alpha", "n", "topology", "method", "k", "lr", "served", "worst"):
        table.add_column(name, justify="left" if name in {"topology", "method"} else "right")
    for training, outcomes in results:
        problem = training.problem
        table.add_row(
            f"{problem.alpha:g}",
            str(problem.num_nodes),
            problem.topology,
            training.method,
            str(training.num_active or problem.num_nodes),
            f"{training.learning_rate:g}",
            spread([outcome.served for outcome in outcomes]),
            spread([outcome.worst for outcome in outcomes]),
        )
    return table


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation in per cent."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def draw_networks(results: Sequence[tuple[Training, Sequence[Outcome]]], file: Path) -> None:
    """Draw the worst node's accuracy over local updates, a panel for each alpha and n."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((t.problem.alpha, t.problem.num_nodes) for t, _ in results))
    columns = min(2, len(panels))
    shape = (-(-len(panels) // columns), columns)
    figure = Figure(figsize=(5.5 * columns, 4 * shape[0]), layout="constrained")
    axes = np.ravel(figure.subplots(*shape, squeeze=False))
    for axis, (alpha, n) in zip(axes, panels, strict=False):
        for training, outcomes in results:
            problem = training.problem
            if (problem.alpha, problem.num_nodes) != (alpha, n):
                continue
            curves = np.array([outcome.curve for outcome in outcomes if outcome.curve])
            style = {
                "color": f"C{TOPOLOGIES.index(problem.topology)}",
                "linestyle": "-" if training.num_active else "--",
            }
            label = f"{training.method}, {problem.topology}"
            axis.plot(curves[0, :, 0], curves[:, :, 2].mean(axis=0), label=label, **style)
        axis.set(title=f"Dirichlet {alpha:g}, {n} nodes", xlabel="local updates")
        axis.set_ylabel("test accuracy of the worst node")
    axes[0].legend(fontsize=7)
    figure.savefig(file, dpi=130)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("quadratics", "networks"))
    parser.add_argument("--data", choices=NAMES, default="mnist1d")
    parser.add_argument("--data-dir", help="folder of the files of fashion-mnist or cifar10")
    parser.add_argument("--updates", type=int, default=20_000, help="local updates of all nodes")
    parser.add_argument("--seeds", type=int, help="default: 10 for quadratics, 3 for networks")
    parser.add_argument("--quick", action="store_true", help="a small version of the part")
    parser.add_argument("--out", type=Path, default=Path("runs/teleportation"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 110)
    began = time.monotonic()
    part = quadratics_part if arguments.part == "quadratics" else networks_part
    part(arguments, console)
    console.print(f"{time.monotonic() - began:.0f} s; figure in {arguments.out}")


if __name__ == "__main__":
    main()
