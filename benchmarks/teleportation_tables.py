"""The tables of the reproduction of Teleportation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import quadratics
from clocks import Point, Run, Scenario, Task, bytes_to, seconds_to
from networks import Outcome, Training
from rich.table import Table

__all__ = ["clocks_table", "networks_table", "quadratics_table", "targets_table"]

Curves = Sequence[Sequence[Point]]
LEFT = {"method", "topology", "scenario"}


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


def clocks_table(results: Sequence[tuple[Run, Curves]], task: Task) -> Table:
    """Return what each tuned method has at the end of the time budget."""
    table = Table(
        title=f"{task.data}, {task.num_nodes} nodes: test accuracy in % at the end of the budget, "
        f"{len(results[0][1])} seeds",
        caption="mean ± standard deviation over the seeds; sent: by all nodes together",
    )
    names = ("scenario", "topology", "method", "k", "lr", "rounds", "served", "worst", "sent")
    for name in names:
        table.add_column(name, justify="left" if name in LEFT else "right", no_wrap=True)
    previous = None
    for run, curves in results:
        last = [curve[-1] for curve in curves if curve]
        cells = ["diverged", "", "", ""]
        if len(last) == len(curves):
            cells = [
                f"{np.mean([point.rounds for point in last]):.0f}",
                spread([point.served for point in last]),
                spread([point.worst for point in last]),
                megabytes(float(np.mean([point.bytes for point in last]))),
            ]
        known = ("" if run.scenario == previous else run.scenario.name, run.topology, run.method)
        previous = run.scenario
        tuned = (str(run.num_active or task.num_nodes), f"{run.learning_rate:g}")
        table.add_row(*known, *tuned, *cells)
    return table


def targets_table(results: Sequence[tuple[Run, Curves]], target: float) -> Table:
    """Return simulated seconds and bytes until the worst node has the target, and their ratios."""
    table = Table(
        title=f"Until the worst node has {100 * target:g} % test accuracy",
        caption="mean over the seeds; a ratio above 1: Teleportation needs less; "
        "-: some seed does not within the budget",
    )
    names = ("scenario", "topology", "D-SGD", "Teleportation", "ratio")
    for name in (*names, "D-SGD sent", "Teleportation sent", "ratio"):
        table.add_column(name, justify="left" if name in LEFT else "right")
    by_place: dict[tuple[Scenario, str], dict[str, Curves]] = {}
    for run, curves in results:
        by_place.setdefault((run.scenario, run.topology), {})[run.method] = curves
    for (scenario, topology), found in by_place.items():
        curves = [found["D-SGD"], found["Teleportation"]]
        seconds = [_mean([seconds_to(target, curve) for curve in some]) for some in curves]
        sent = [_mean([bytes_to(target, curve) for curve in some]) for some in curves]
        most_sent = _mean([curve[-1].bytes for curve in curves[0] if curve])
        table.add_row(
            scenario.name,
            topology,
            *(f"{value:.0f} s" if np.isfinite(value) else "-" for value in seconds),
            _ratio(*seconds, scenario.budget_s),
            *(megabytes(value) if np.isfinite(value) else "-" for value in sent),
            _ratio(*sent, most_sent),
        )
    return table


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation in per cent."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def megabytes(count: float) -> str:
    """Return bytes in MB, 1e6 bytes."""
    return f"{count / 1e6:.0f} MB"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("inf")


def _ratio(gossip: float, teleportation: float, most: float) -> str:
    """Return how many times as much D-SGD needs; a bound where only it did not get there."""
    if not np.isfinite(teleportation) or not teleportation:
        return "-"
    if np.isfinite(gossip):
        return f"{gossip / teleportation:.2f}"
    return f"> {most / teleportation:.1f}"
