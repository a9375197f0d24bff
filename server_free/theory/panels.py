"""The panels of a picture: one round's graph, and one round's mixing matrix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..topologies import Topology
from .layouts import Edge, edges, is_wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_graph", "draw_matrix"]

Points = NDArray[np.float64]

_MOST_ARROWS = 1500
_MOST_NAMED = 64


def draw_graph(axes: Axes, topology: Topology, phase: int, points: Points, color: str) -> None:
    """Draw who averages with whom in one phase; arrows where an edge goes one way."""
    mutual, single = edges(topology, phase + 1)
    spacing = _spacing(points)
    _draw_lines(axes, topology, points, mutual, color)
    _draw_arrows(axes, points, single, color, 0.32 * spacing)
    _draw_nodes(axes, points, 0.32 * spacing)
    low, high = points.min(axis=0) - 0.6 * spacing, points.max(axis=0) + 0.6 * spacing
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()


def draw_matrix(axes: Axes, topology: Topology, phase: int) -> None:
    """Draw W of one phase; every weight above zero is visible, a darker one is larger."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    matrix = topology.matrix(phase + 1)
    shades = LinearSegmentedColormap.from_list("weights", ["#b8cfe0", "#08306b"])
    image = axes.imshow(
        np.ma.masked_equal(matrix, 0.0),
        cmap=shades,
        vmin=0.0,
        vmax=float(matrix.max()),
        interpolation="nearest",
    )
    axes.set(xlabel="sender", ylabel="receiver")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=8)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.7)
    bar.ax.tick_params(labelsize=7)


def _spacing(points: Points) -> float:
    """Return the distance of the two nearest points, at most 0.5 so that few nodes stay small."""
    apart = [0.5]
    for place in range(1, len(points)):
        apart.append(float(np.linalg.norm(points[:place] - points[place], axis=1).min()))
    return max(min(apart), 0.01)


def _width(count: int) -> float:
    return 1.6 if count <= 50 else 0.9 if count <= 1000 else 0.25


def _draw_lines(
    axes: Axes, topology: Topology, points: Points, mutual: Sequence[Edge], color: str
) -> None:
    """Draw edges that go both ways; those around a torus as a stub at each end."""
    from matplotlib.collections import LineCollection

    bent = _on_circle(points)
    stub = 0.5 * _spacing(points)
    lines = []
    for a, b in mutual:
        if is_wrapped(topology, (a, b)):
            away = (points[a] - points[b]) / np.linalg.norm(points[a] - points[b])
            lines += [np.array([points[a], points[a] + stub * away])]
            lines += [np.array([points[b], points[b] - stub * away])]
        else:
            lines.append(_path(points, a, b, bent))
    width = _width(len(lines))
    axes.add_collection(LineCollection(lines, colors=color, linewidths=width, zorder=1))


def _draw_arrows(
    axes: Axes, points: Points, single: Sequence[Edge], color: str, radius: float
) -> None:
    """Draw edges that go one way, with a head at the receiver unless there are too many."""
    from matplotlib.collections import LineCollection, PolyCollection

    bent = _on_circle(points)
    paths = [_path(points, sender, receiver, bent) for sender, receiver in single]
    width = _width(2 * len(paths))
    axes.add_collection(LineCollection(paths, colors=color, linewidths=width, zorder=1))
    if len(single) <= _MOST_ARROWS:
        heads = [_head(path, radius) for path in paths]
        axes.add_collection(PolyCollection(heads, facecolors=color, edgecolors="none", zorder=2))


def _on_circle(points: Points) -> bool:
    return bool(np.allclose(np.hypot(*points.T), 1.0))


def _path(points: Points, sender: int, receiver: int, on_circle: bool) -> Points:
    """Return the line of an edge; bent to the middle where nodes are on a circle, not adjacent.

    A straight line between near nodes on a circle would run under the nodes between them.
    """
    ends = points[[sender, receiver]]
    hops = abs(sender - receiver)
    if not on_circle or min(hops, len(points) - hops) <= 1:
        return ends
    bent: Points = _bend() @ ends
    return bent


@cache
def _bend() -> Points:
    """Return the shares of both ends in 15 points of an arc that is drawn to the middle."""
    t = np.linspace(0.0, 1.0, 15)[:, None]
    drawn = t * (1 - t) / 2  # a quadratic Bezier curve; its control point is a quarter of each end
    return np.hstack([(1 - t) ** 2 + drawn, t**2 + drawn])


def _head(path: Points, radius: float) -> Points:
    """Return the triangle of an arrow whose tip touches the receiver's circle."""
    size = float(np.clip(0.9 * radius, 0.02, 0.06))
    direction = path[-1] - path[-2]
    direction = direction / np.linalg.norm(direction)
    across = np.array([-direction[1], direction[0]])
    tip = path[-1] - radius * direction
    base = tip - 1.6 * size * direction
    return np.array([tip, base + 0.5 * size * across, base - 0.5 * size * across])


def _draw_nodes(axes: Axes, points: Points, radius: float) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Circle

    named = len(points) <= _MOST_NAMED and radius > 0.025
    circles = PatchCollection(
        [Circle((x, y), radius) for x, y in points],
        facecolors="white" if named else "#222222",
        edgecolors="#222222",
        linewidths=0.8 if named else 0.0,
        zorder=3,
    )
    axes.add_collection(circles)
    if not named:
        return
    # A panel is about 180 points wide and 2.3 units across: two digits fit into a circle.
    size = float(np.clip(180 / 2.3 * radius, 3.5, 9))
    for node, (x, y) in enumerate(points):
        axes.text(x, y, str(node), ha="center", va="center_baseline", zorder=4, fontsize=size)
