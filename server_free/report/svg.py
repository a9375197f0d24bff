"""Pictures as SVG for the page: texts stay texts, and all colours come from its style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .figures import Bars, Cells, Curve, Figure, Graph, Lines, Ticks
from .scales import Scale, scale_of
from .words import number, safe

__all__ = ["MOST_MARKS", "PLACES", "SHADES", "svg"]

PLACES = 8
"""Colours and dashes of runs; they come again after that."""
SHADES = 7
"""Steps of the colours for values."""
MOST_MARKS = 40
"""Points of a curve that are marked each."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 24.0, 10.0, 44.0
_NARROW, _WIDE, _HEIGHT = 360.0, 760.0, 260.0
_MOST_NAMED = 40
_MOST_LETTERS = 32


def svg(figure: Figure) -> str:
    """Return the picture as an ``svg`` element with its title and its description."""
    if isinstance(figure, Lines):
        return _framed(figure, _NARROW, _HEIGHT, _lines(figure))
    if isinstance(figure, Bars):
        return _framed(figure, _WIDE, _HEIGHT, _bars(figure))
    if isinstance(figure, Graph):
        return _framed(figure, _NARROW, _NARROW, _graph(figure))
    return _framed(figure, *_cells_size(figure), _cells(figure))


def _framed(figure: Figure, width: float, height: float, parts: Iterable[str]) -> str:
    name = safe(figure.name)
    body = "".join(parts)
    return (
        f'<svg role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}"><title id="{name}-t">{safe(figure.title)}</title>'
        f'<desc id="{name}-d">{safe(figure.summary)}</desc>{body}</svg>'
    )


class _Frame:
    """The rectangle that the data are drawn in, and how values become places in it."""

    def __init__(self, width: float, height: float, x: Scale, y: Scale) -> None:
        self.left, self.right = _LEFT, width - _RIGHT
        self.top, self.bottom = _TOP, height - _BOTTOM
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        return self.left + self._x.share(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - self._y.share(value) * (self.bottom - self.top)

    def axes(self, x_ticks: Ticks, y_ticks: Ticks, x_label: str, y_label: str, grid: bool) -> str:
        """Return ticks, their texts, lines behind the data and the names of the axes."""
        parts = []
        for value, text in y_ticks:
            y = self.y(value)
            line = f'<path class="grid" d="M{self.left:g} {y:.1f}H{self.right:g}"/>' if grid else ""
            parts.append(
                f'{line}<text x="{self.left - 6:g}" y="{y + 4:.1f}" class="e">{safe(text)}</text>'
            )
        for value, text in x_ticks:
            x = self.x(value)
            parts.append(
                f'<path class="axis" d="M{x:.1f} {self.bottom:g}v4"/>'
                f'<text x="{x:.1f}" y="{self.bottom + 17:g}" class="m">{safe(text)}</text>'
            )
        x_name, y_name = safe(_short(x_label)), safe(_short(y_label))
        middle, centre = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        parts.append(
            f'<path class="axis" d="M{self.left:g} {self.top:g}V{self.bottom:g}H{self.right:g}"/>'
            f'<text x="{middle:g}" y="{self.bottom + 36:g}" class="m">{x_name}</text>'
            f'<text transform="translate(12 {centre:g}) rotate(-90)" class="m">{y_name}</text>'
        )
        return "".join(parts)


def _short(text: str) -> str:
    return (
        text
        if len(text) <= _MOST_LETTERS
        else text[: _MOST_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
    )


def _lines(figure: Lines) -> Iterable[str]:
    bands = [v for curve in figure.curves for v in (*curve.low, *curve.high)]
    x = scale_of((v for curve in figure.curves for v in curve.x), zero=not figure.dots)
    if figure.dots:
        x = Scale(0.0, 100.0)
    y = scale_of([*(v for curve in figure.curves for v in curve.y), *bands], figure.log)
    frame = _Frame(_NARROW, _HEIGHT, x, y)
    yield frame.axes(
        tuple(x.ticks(5)), tuple(y.ticks(6)), figure.x_label, figure.y_label, grid=True
    )
    yield from (_band(frame, curve) for curve in figure.curves if curve.low)
    for curve in figure.curves:
        yield _curve(frame, curve, figure.dots)


def _band(frame: _Frame, curve: Curve) -> str:
    known = [
        (x, low, high)
        for x, low, high in zip(curve.x, curve.low, curve.high, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    ]
    there = [f"{frame.x(x):.1f} {frame.y(high):.1f}" for x, _, high in known]
    back = [f"{frame.x(x):.1f} {frame.y(low):.1f}" for x, low, _ in reversed(known)]
    d = "M" + "L".join(there + back) + "Z"
    return f'<path class="band f{curve.place % PLACES}" d="{d}"/>' if known else ""


def _curve(frame: _Frame, curve: Curve, dots: bool) -> str:
    places = [(frame.x(x), frame.y(y)) for x, y in zip(curve.x, curve.y, strict=True)]
    known = [(x, y) for x, y in places if math.isfinite(x) and math.isfinite(y)]
    colour = curve.place % PLACES
    marks = known if dots or len(known) <= MOST_MARKS else []
    size = 2.2 if len(known) > 60 else 3
    points = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>' for x, y in marks)
    group = f'<g class="f{colour}">{points}</g>' if points else ""
    if dots:
        return group
    return f'<path class="line c{colour}" d="{_path(places)}"/>{group}'


def _path(places: list[tuple[float, float]]) -> str:
    """Return a line through the points, broken where one is not known."""
    parts, pen = [], "M"
    for x, y in places:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _bars(figure: Bars) -> Iterable[str]:
    total = len(figure.groups)
    y = scale_of((v for _, values in figure.series for v in values), zero=True)
    frame = _Frame(_WIDE, _HEIGHT, Scale(0.0, float(total)), y)
    step = max(1, -(-total // 16))
    ticks = tuple((i + 0.5, figure.groups[i]) for i in range(0, total, step))
    yield frame.axes(ticks, tuple(y.ticks(5)), figure.x_label, figure.y_label, grid=True)
    wide = min(40.0, 0.8 * (frame.x(1) - frame.x(0)) / len(figure.series))
    zero = frame.y(max(0.0, y.low))
    for place, (_, values) in enumerate(figure.series):
        shift = (place - len(figure.series) / 2) * wide
        bars = "".join(
            f"M{frame.x(i + 0.5) + shift:.1f} {zero:.1f}V{frame.y(v):.1f}"
            f"h{0.92 * wide:.1f}V{zero:.1f}Z"
            for i, v in enumerate(values)
            if math.isfinite(v) and v > 0
        )
        yield f'<path class="f{place}" d="{bars}"/>'


def _graph(figure: Graph) -> Iterable[str]:
    total = len(figure.points)
    radius = max(2.5, min(14.0, 300.0 / max(1, total)))
    half, room = _NARROW / 2, _NARROW / 2 - radius - 4
    places = [(half + room * x, half - room * y) for x, y in figure.points]
    lines = "".join(
        f"M{places[a][0]:.1f} {places[a][1]:.1f}L{places[b][0]:.1f} {places[b][1]:.1f}"
        for a, b in figure.edges
    )
    thin = " thin" if len(figure.edges) > 200 else ""
    yield f'<path class="edge{thin}" d="{lines}"/>'
    if figure.arrows:
        yield f'<path class="head" d="{_heads(figure, places, radius)}"/>'
    for node, (x, y) in enumerate(places):
        value = figure.values[node]
        shade = _shade(value, figure.low, figure.high)
        told = (
            f"{figure.names[node]}: {number(value)}" if math.isfinite(value) else figure.names[node]
        )
        text = ""
        if total <= _MOST_NAMED:
            text = f'<text x="{x:.1f}" y="{y + 4:.1f}" class="m on{shade}">{node}</text>'
        yield (
            f'<g><title>{safe(told)}</title><circle class="node v{shade}" cx="{x:.1f}" '
            f'cy="{y:.1f}" r="{radius:.1f}"/>{text}</g>'
        )


def _shade(value: float, low: float, high: float) -> str:
    """Return the step of a value's colour, "n" where there is none."""
    if not math.isfinite(value):
        return "n"
    return str(
        min(SHADES - 1, int(SHADES * (value - low) / (high - low))) if high > low else SHADES // 2
    )


def _heads(figure: Graph, places: list[tuple[float, float]], radius: float) -> str:
    """Return a triangle at the receiver of each edge."""
    parts = []
    for a, b in figure.edges:
        (x0, y0), (x1, y1) = places[a], places[b]
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        tip = (x1 - dx * radius, y1 - dy * radius)
        base = (tip[0] - 8 * dx, tip[1] - 8 * dy)
        parts.append(
            f"M{tip[0]:.1f} {tip[1]:.1f}L{base[0] - 3.5 * dy:.1f} {base[1] + 3.5 * dx:.1f}"
            f"L{base[0] + 3.5 * dy:.1f} {base[1] - 3.5 * dx:.1f}Z"
        )
    return "".join(parts)


def _cells_size(figure: Cells) -> tuple[float, float]:
    """Return the size of a raster; a square one has square cells."""
    if figure.columns == figure.rows and figure.columns > 12:
        return _NARROW, _NARROW
    return _WIDE, _TOP + _BOTTOM + min(420.0, max(60.0, 20.0 * figure.rows))


def _cells(figure: Cells) -> Iterable[str]:
    width, height = _cells_size(figure)
    frame = _Frame(width, height, Scale(0.0, float(figure.columns)), Scale(float(figure.rows), 0.0))
    step = (frame.bottom - frame.top) / figure.rows
    for layer in figure.layers:
        inset, tall = step * (1 - layer.height) / 2, step * layer.height
        cells = "".join(
            f"M{frame.x(c):.1f} {frame.y(r) + inset:.1f}H{frame.x(c + n):.1f}"
            f"v{tall:.1f}H{frame.x(c):.1f}Z"
            for c, r, n in layer.cells
        )
        yield f'<path class="{layer.tone}" fill-opacity="{layer.strength:g}" d="{cells}"/>'
    yield frame.axes(figure.x_ticks, figure.y_ticks, figure.x_label, figure.y_label, grid=False)
