"""Pictures drawn by matplotlib, for PNG files: papers, slides, messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..pictures import new_figure
from .figures import Bars, Cells, Figure, Graph, Lines
from .style import LIGHT, SHADED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

__all__ = ["drawn"]

_DASHES = ("-", "--", ":", "-.")
_TONES = {"active": LIGHT[0], "cell": LIGHT[0], "missing": "#c03a00", "absent": "#7a7f88"}
_MOST_NAMED = 40


def drawn(picture: Figure) -> Drawing:
    """Return the picture as a matplotlib figure, with its title and a legend."""
    size = (9.0, 4.0) if picture.wide else (5.2, 4.2)
    figure = new_figure(*size)
    axes = figure.subplots()
    axes.set_title(_plain(picture.title), fontsize=11)
    if isinstance(picture, Lines):
        _draw_lines(picture, axes)
    elif isinstance(picture, Bars):
        _draw_bars(picture, axes)
    elif isinstance(picture, Graph):
        _draw_graph(picture, axes)
    else:
        _draw_cells(picture, axes)
    return figure


def _draw_lines(picture: Lines, axes: Axes) -> None:
    for curve in picture.curves:
        color = LIGHT[curve.place % len(LIGHT)]
        label = _plain(curve.label)
        if picture.dots:
            axes.plot(curve.x, curve.y, ".", color=color, label=label)
            continue
        axes.plot(curve.x, curve.y, _DASHES[curve.place % 4], color=color, label=label)
        if curve.low:
            axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.2, linewidth=0)
    if picture.log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    _labelled(picture, axes)
    if len(picture.curves) > 1:
        axes.legend(fontsize=8)


def _draw_bars(picture: Bars, axes: Axes) -> None:
    total, wide = len(picture.groups), 0.8 / len(picture.series)
    for place, (label, values) in enumerate(picture.series):
        shift = (place - (len(picture.series) - 1) / 2) * wide
        axes.bar([i + shift for i in range(total)], values, wide, color=LIGHT[place], label=label)
    step = max(1, -(-total // 16))
    axes.set_xticks(range(0, total, step), picture.groups[::step])
    axes.margins(y=0.2)
    _labelled(picture, axes)
    axes.legend(fontsize=8, ncols=2)


def _draw_graph(picture: Graph, axes: Axes) -> None:
    from matplotlib.colors import ListedColormap

    for a, b in picture.edges:
        (x0, y0), (x1, y1) = picture.points[a], picture.points[b]
        axes.plot([x0, x1], [y0, y1], color="#8a8f98", linewidth=0.8, zorder=1)
    xs, ys = zip(*picture.points, strict=True)
    colors = [0.5 if math.isnan(value) else value for value in picture.values]
    known = picture.low <= picture.high
    marks = axes.scatter(
        xs,
        ys,
        s=max(12.0, min(260.0, 6000.0 / len(xs))),
        c=colors if known else "#e4e7eb",
        cmap=ListedColormap(SHADED) if known else None,
        vmin=picture.low if known else None,
        vmax=picture.high if known else None,
        edgecolors="black",
        linewidths=0.8,
        zorder=2,
    )
    if known:
        axes.figure.colorbar(marks, ax=axes, shrink=0.7, label=_plain(picture.value_label))
    for node, (x, y) in enumerate(picture.points if len(xs) <= _MOST_NAMED else ()):
        axes.annotate(
            str(node), (x, y), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=7
        )
    axes.set_aspect("equal")
    axes.margins(0.12)
    axes.set_axis_off()


def _draw_cells(picture: Cells, axes: Axes) -> None:
    from matplotlib.patches import Patch

    handles = []
    for layer in picture.layers:
        tone = _TONES[layer.tone]
        by_row: dict[int, list[tuple[float, float]]] = {}
        for column, row, length in layer.cells:
            by_row.setdefault(row, []).append((column, length))
        for row, spans in by_row.items():
            low = row + (1 - layer.height) / 2
            axes.broken_barh(
                spans, (low, layer.height), color=tone, alpha=layer.strength, linewidth=0
            )
        handles.append(Patch(color=tone, alpha=layer.strength, label=layer.label))
    axes.set(xlim=(0, picture.columns), ylim=(picture.rows, 0))
    axes.set_xticks(*zip(*picture.x_ticks, strict=True))
    axes.set_yticks(*zip(*picture.y_ticks, strict=True))
    _labelled(picture, axes)
    axes.legend(handles=handles, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _labelled(picture: Lines | Bars | Cells, axes: Axes) -> None:
    axes.set_xlabel(_plain(picture.x_label))
    axes.set_ylabel(_plain(picture.y_label))


def _plain(text: str) -> str:
    """Return a text that matplotlib draws as it is: no formulas, no control characters."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")
