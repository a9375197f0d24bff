"""Pictures: one topology as graph, matrix and curve; several topologies as curves.

Needs matplotlib, the extra ``[plots]``; see :mod:`..pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PlanError
from ..pictures import color_of, new_figure
from ..topologies import Topology, from_spec
from .layouts import edges, positions
from .neighbors import effective_neighbors, effective_neighbors_limit, noise_variance
from .panels import draw_graph, draw_matrix
from .variances import Mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Curve",
    "check_drawable",
    "draw_curves",
    "draw_topology",
]

Curve = tuple[str, Topology]
"""A label and the topology whose effective neighbours are drawn under it."""

MEMORIES = np.logspace(0, 4, 25)
"""1 / (1 - gamma), in rounds: where the curves are computed."""
MOST_NODES = 1024
MOST_PHASES = 8

_GREY = "#888888"


def check_drawable(topology: Topology) -> None:
    """Raise ``PlanError`` if the topology has too many nodes for a picture."""
    if topology.num_nodes > MOST_NODES:
        raise PlanError(
            f"{topology.spec} has {topology.num_nodes} nodes; a picture is drawn up to "
            f"{MOST_NODES}."
        )


def draw_topology(topology: Topology, *, gamma: float = 0.95) -> Figure:
    """Draw who averages with whom, W, and the effective number of neighbours over gamma.

    Parameters
    ----------
    topology : Topology
        Up to 1024 nodes; of a period longer than 8 the first 8 rounds are drawn.
    gamma : float (default: 0.95)
        The one that is marked on the curve, at least 0 and below 1.
    """
    check_drawable(topology)
    shown = min(topology.period or 1, MOST_PHASES)
    bands = 1 if shown <= 4 else 2
    across = -(-shown // bands)
    width, height = (8.0, 4.6) if shown == 1 else (max(6.0, 3.1 * across), 5.6 * bands)
    figure = new_figure(width + 5.0, height)
    figure.suptitle(_title(topology), fontsize=13)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(width, 5.0))[0]
    if shown == 1:
        panels = left.subplots(1, 2, width_ratios=(1, 1.1)).reshape(2, 1)
    else:
        panels = left.subplots(2 * bands, across)
    _draw_phases(panels, topology, shown)
    curves = [(topology.spec, topology), ("ring", from_spec("ring", topology.num_nodes))]
    chart = right.subplots()
    chart.set_box_aspect(1.0)
    _draw_curves(chart, curves[: 1 + (topology.spec != "ring")], gamma, worst=True)
    return figure


def draw_curves(curves: Sequence[Curve], *, gamma: float = 0.95, title: str = "") -> Figure:
    """Draw the effective number of neighbours of several topologies over gamma."""
    figure = new_figure(9.5, 6.0)
    axes = figure.subplots()
    _draw_curves(axes, curves, gamma, worst=False)
    axes.set_title(title, fontsize=11)
    return figure


def _title(topology: Topology) -> str:
    period, degree = topology.period, topology.max_degree
    plural = "" if degree == 1 else "s"
    neighbors = f"{'at most ' * (degree > 0)}{degree} neighbour{plural} a round"
    if period is None:
        rounds = "a fresh W each round"
    else:
        rounds = "the same W each round" if period == 1 else f"{period} rounds a period"
        rounds += f", the first {MOST_PHASES} drawn" * (period > MOST_PHASES)
    nodes = f"{topology.num_nodes} node{'s' * (topology.num_nodes != 1)}"
    return f"{topology.spec}, {nodes}: {neighbors}, {rounds}"


def _draw_phases(panels: np.ndarray, topology: Topology, shown: int) -> None:
    """Draw each round's graph and, below it, its matrix."""
    phases = [edges(topology, phase + 1) for phase in range(shown)]
    points = positions(topology, [edge for pair in phases for both in pair for edge in both])
    across = panels.shape[1]
    for axes in panels.ravel()[:]:
        axes.set_axis_off()
    for phase in range(shown):
        band, column = divmod(phase, across)
        graph, matrix = panels[2 * band, column], panels[2 * band + 1, column]
        matrix.set_axis_on()
        draw_graph(graph, topology, phase, points, color_of(phase))
        draw_matrix(matrix, topology, phase)
        arrows = ", sender to receiver" if phases[phase][1] and across < 3 else ""
        name = f"round {phase + 1}" if shown > 1 or topology.period is None else "each round"
        graph.set_title(f"{name}{arrows}", fontsize=10)
        matrix.set_title(f"W of {name}", fontsize=10)


def _draw_curves(axes: Axes, curves: Sequence[Curve], gamma: float, worst: bool) -> None:
    """Draw the curves; with ``worst`` the first also for its worst node, the others grey."""
    most = max(topology.num_nodes for _, topology in curves)
    for place, (label, topology) in enumerate(curves):
        color = _GREY if worst and place else color_of(place)
        style = "--" if place % 2 and not worst else "-"  # so that equal ones are both seen
        mean = _counts(topology, "mean")
        axes.plot(MEMORIES, mean, color=color, linestyle=style, label=label, linewidth=1.8)
        if worst and not place:
            _draw_extremes(axes, topology, label, color, mean)
    for bound, name in ((1, "alone"), (most, f"complete, n = {most}")):
        axes.axhline(bound, color="black", linewidth=0.7, zorder=0)
        _annotate(axes, name, (1.0, bound), ("axes fraction", "data"), (-3, 3), ha="right")
    if (memory := 1 / (1 - gamma)) <= MEMORIES[-1]:
        axes.axvline(memory, color=_GREY, linewidth=0.8, linestyle="--", zorder=0)
        place_of_gamma = (memory, 1.0), ("data", "axes fraction"), (3, -3)
        _annotate(axes, f"$\\gamma$ = {gamma:g}", *place_of_gamma, va="top", color=_GREY)
    _dress_curves(axes, most)


def _draw_extremes(
    axes: Axes, topology: Topology, label: str, color: str, mean: list[float]
) -> None:
    """Draw the worst node's curve where it is another one, and that of infinitely many nodes."""
    try:
        least = _counts(topology, "worst")
    except PlanError:  # too many nodes for the worst one
        least = mean
    if not np.allclose(mean, least, rtol=0.02):
        axes.plot(MEMORIES, least, color=color, linestyle=":", label=f"{label}, worst node")
    kind = topology.spec.partition(":")[0]
    if kind == "ring" or kind == "torus":
        limit = [effective_neighbors_limit(kind, _gamma(memory)) for memory in MEMORIES]
        name = f"{'square ' * (kind == 'torus')}{kind}, infinitely many nodes"
        axes.plot(MEMORIES, limit, color=color, linestyle="-.", linewidth=0.9, label=name)


def _annotate(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    coordinates: tuple[str, str],
    offset: tuple[int, int],
    **style: Any,
) -> None:
    axes.annotate(
        text, place, xycoords=coordinates, xytext=offset, textcoords="offset points", fontsize=8,
        **style,
    )  # fmt: skip


def _dress_curves(axes: Axes, most: int) -> None:
    doublings = [2**power for power in range(0, most.bit_length(), 1 if most <= 256 else 2)]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlim=(1, MEMORIES[-1]), ylim=(0.85, max(most, 2) * 1.35))
    axes.set_xticks([1, 10, 100, 1000, 10000], ["0", "0.9", "0.99", "0.999", "0.9999"])
    axes.set_yticks(doublings, [str(tick) for tick in doublings])
    axes.minorticks_off()
    axes.set_title("effective number of neighbours", fontsize=10)
    axes.set_xlabel("$\\gamma$ (towards 1: small learning rates, late in training)")
    axes.set_ylabel("$n_W(\\gamma)$")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.09))


def _counts(topology: Topology, mode: Mode) -> list[float]:
    variance = noise_variance(topology, mode)
    return [effective_neighbors(variance, _gamma(memory)) for memory in MEMORIES]


def _gamma(memory: float) -> float:
    return 1.0 - 1.0 / float(memory)
