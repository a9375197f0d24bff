"""What a picture shows, before it is drawn: the same for SVG in the page and for PNG files.

Each has a title, a sentence for those who do not see it, and its numbers as a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Bars", "Cells", "Curve", "Figure", "Graph", "Layer", "Lines", "Table", "Ticks"]

Floats = tuple[float, ...]
Ticks = tuple[tuple[float, str], ...]
"""(position, text) of each tick."""


@dataclass(frozen=True, slots=True)
class Table:
    """Texts by row; the first column names the row. ``note`` says what is left out."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """One run's line; ``place`` says its colour and dashes, ``low`` and ``high`` are its band."""

    label: str
    place: int
    x: Floats
    y: Floats
    low: Floats = ()
    high: Floats = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """What every picture has.

    ``name`` is for files and anchors, ``summary`` says what is seen, ``note`` what is not shown.
    """

    name: str
    title: str
    summary: str
    table: Table
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(_Named):
    """Curves over a common axis; ``dots`` draws points without lines between them."""

    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log: bool = False
    dots: bool = False
    wide: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(_Named):
    """Bars side by side: one group for each x, one bar in it for each series, from zero."""

    x_label: str
    y_label: str
    groups: tuple[str, ...]
    series: tuple[tuple[str, Floats], ...]
    wide: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(_Named):
    """Nodes at points within [-1, 1], edges between them, nodes coloured by value.

    ``values`` may be NaN, where a node has none; ``low`` and ``high`` are the ends of the colours.
    """

    points: tuple[tuple[float, float], ...]
    edges: tuple[tuple[int, int], ...]
    arrows: bool
    values: Floats
    names: tuple[str, ...]
    value_label: str
    low: float
    high: float
    wide: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Cells of one kind: (column, row, number of columns), and how they look.

    ``tone`` is "active", "missing", "absent" or "cell"; ``strength`` is 0 to 1; ``height`` the
    share of a row that a cell fills, so that kinds are told apart without colours.
    """

    label: str
    tone: str
    cells: tuple[tuple[int, int, int], ...]
    strength: float = 1.0
    height: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells(_Named):
    """A raster: columns to the right, rows downwards."""

    x_label: str
    y_label: str
    columns: int
    rows: int
    layers: tuple[Layer, ...]
    x_ticks: Ticks
    y_ticks: Ticks
    wide: ClassVar[bool] = True


Figure = Lines | Bars | Graph | Cells
