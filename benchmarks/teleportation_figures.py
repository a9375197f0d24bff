"""The figures of the reproduction of Teleportation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import clocks
import networks
import numpy as np
import quadratics
from clocks import Point, Run
from networks import Outcome, Training

__all__ = ["draw_clocks", "draw_networks", "draw_quadratics"]


def draw_quadratics(
    tables: Mapping[quadratics.Setting, Mapping[quadratics.Row, Sequence[quadratics.Run]]],
    file: Path,
) -> None:
    """Draw the rounds of each method over the number of nodes, a panel for each setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(tables), 4.6), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    for axis, (setting, runs) in zip(axes, tables.items(), strict=True):
        for topology, line in zip(quadratics.TOPOLOGIES, ("-", "--"), strict=True):
            for method, colour in zip(quadratics.METHODS, ("C1", "C0"), strict=True):
                own = [
                    r for r in runs if (r.method, r.topology) == (method, topology) and r.reached
                ]
                sizes = [row.num_nodes for row in own]
                found = [quadratics.interval([run.rounds for run in runs[row]]) for row in own]
                axis.plot(sizes, [row.exact for row in own], line, color=colour, alpha=0.4)
                means, halves = zip(*found, strict=True) if found else ((), ())
                style = {"fmt": "o" if line == "-" else "s", "color": colour, "ls": ""}
                axis.errorbar(sizes, means, halves, ms=4, label=f"{method}, {topology}", **style)
        axis.set(xscale="log", yscale="log", xlabel="nodes n")
        axis.set_title(f"sigma² = {setting.sigma2:g}, zeta² = {setting.zeta2:g}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"rounds to a mean squared error of {quadratics.TARGET}")
    axes[0].plot([], [], color="grey", alpha=0.6, label="lines: exact expectation")
    axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=110)


def draw_networks(results: Sequence[tuple[Training, Sequence[Outcome]]], file: Path) -> None:
    """Draw the worst node's accuracy over local updates, a panel for each alpha and n."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((t.problem.alpha, t.problem.num_nodes) for t, _ in results))
    columns = min(2, len(panels))
    shape = (-(-len(panels) // columns), columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * shape[0] + 0.6), layout="constrained")
    axes = np.ravel(figure.subplots(*shape, squeeze=False, sharey=True))
    for axis, (alpha, n) in zip(axes, panels, strict=False):
        for training, outcomes in results:
            problem = training.problem
            if (problem.alpha, problem.num_nodes) != (alpha, n):
                continue
            curves = np.array([outcome.curve for outcome in outcomes if outcome.curve])
            style = {
                "color": f"C{networks.TOPOLOGIES.index(problem.topology)}",
                "linestyle": "-" if training.num_active else "--",
            }
            label = f"{training.method}, {problem.topology}"
            if len(curves):
                worst = 100 * curves[:, :, 2]
                axis.plot(curves[0, :, 0], worst.mean(axis=0), label=label, **style)
        axis.set(title=f"Dirichlet {alpha:g}, {n} nodes", xlabel="local updates of all nodes")
        axis.set_ylabel("test accuracy of the worst node in %")
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(file, dpi=110)


def draw_clocks(results: Sequence[tuple[Run, Sequence[Sequence[Point]]]], file: Path) -> None:
    """Draw accuracy over simulated time, and over bytes, a panel for each scenario."""
    file = file.with_suffix("")
    _panels(results, lambda point: point.seconds, "simulated seconds", file.with_suffix(".png"))
    by_bytes = file.with_name(f"{file.name}-bytes.png")
    _panels(results, lambda point: point.bytes / 1e6, "MB sent by all nodes", by_bytes, log=True)


def _panels(
    results: Sequence[tuple[Run, Sequence[Sequence[Point]]]],
    x_of: Callable[[Point], float],
    label: str,
    file: Path,
    log: bool = False,
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    scenarios = list(dict.fromkeys(run.scenario for run, _ in results))
    columns = min(3, len(scenarios))
    rows = -(-len(scenarios) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    handles: dict[str, Line2D] = {}
    for axis, scenario in zip(axes.ravel(), scenarios, strict=False):
        for run, curves in results:
            if run.scenario != scenario or not all(curves):
                continue
            most = min(len(curve) for curve in curves)
            x = np.mean([[x_of(point) for point in curve[:most]] for curve in curves], axis=0)
            worst = np.array([[point.worst for point in curve[:most]] for curve in curves])
            served = np.mean([[point.served for point in curve[:most]] for curve in curves], axis=0)
            colour = "C0" if run.num_active else "C1"
            line = "-" if run.topology == clocks.TOPOLOGIES[0] else "--"
            name = f"{run.method}, {run.topology}: worst node"
            (handles[name],) = axis.plot(x, 100 * worst.mean(axis=0), line, color=colour)
            axis.fill_between(
                x, 100 * worst.min(axis=0), 100 * worst.max(axis=0), color=colour, alpha=0.12, lw=0
            )
            axis.plot(x, 100 * served, line, color=colour, lw=0.7, alpha=0.6)
        axis.set_title(f"data {scenario.name}")
        axis.set_xscale("log" if log else "linear")
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel(label)
    for axis in axes[:, 0]:
        axis.set_ylabel("test accuracy in %")
    handles["thin: served model (mean of all)"] = Line2D([], [], color="grey", lw=0.7)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(file, dpi=110)
