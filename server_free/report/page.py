"""The page: one HTML file that needs no network, no script and no font of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .answers import answers, lead
from .curves import consensus, metric_curves, node_spread, report_metrics, train_curves
from .figures import Bars, Figure, Graph, Lines, Table
from .metric_names import word
from .network import topology_picture
from .presence import presence_picture
from .reading import Reading
from .style import STYLE
from .summary import budget_table, summary_table
from .svg import PLACES, SHADES, svg
from .traffic import bytes_picture, losses_table
from .words import number, safe, slug

__all__ = ["Section", "page", "sections"]

Section = tuple[str, list[Figure], list[tuple[str, Table]]]
"""Heading, pictures, and titled tables."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def sections(readings: Sequence[Reading]) -> list[Section]:
    """Return all pictures of a report, in order; sections with nothing in them are left out."""
    metrics = report_metrics(readings)
    found: list[Section] = []
    for metric, key in zip(metrics, _keys(metrics), strict=True):
        pictures: list[Figure] = [
            *metric_curves(readings, metric, key),
            *node_spread(readings, metric, key),
        ]
        found.append((word(metric).capitalize(), pictures, []))
    found.append(("Training and consensus", [*train_curves(readings), *consensus(readings)], []))
    first = metrics[0] if metrics else None
    for reading in readings:
        title = reading.label if len(readings) > 1 else "Nodes and network"
        losses = losses_table(reading)
        own: list[Figure] = [
            *topology_picture(reading, first),
            *bytes_picture(reading),
            *presence_picture(reading),
        ]
        found.append((title, own, [("Models that did not arrive", losses)] if losses else []))
    return [section for section in found if section[1] or section[2]]


def _keys(metrics: Sequence[str]) -> list[str]:
    """Return a name for each metric's files and anchors, no two alike."""
    slugs = [slug(metric) for metric in metrics]
    return [
        key if slugs.count(key) == 1 else f"{key}-{place}"
        for place, key in enumerate(slugs, start=1)
    ]


def page(readings: Sequence[Reading]) -> str:
    """Return the report of one run or several as HTML."""
    metrics = report_metrics(readings)
    shown = sections(readings)
    title = "Report: " + (readings[0].label if len(readings) == 1 else f"{len(readings)} runs")
    anchors = [
        (heading, f"s{place}-{slug(heading)}") for place, (heading, _, _) in enumerate(shown)
    ]
    links = [("Summary", "summary"), *anchors]
    parts = [
        "<!DOCTYPE html>\n",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{safe(title)}</title><style>{STYLE}</style></head>\n<body>",
        '<a class="skip" href="#main">Skip to the report</a>',
        f'<header><h1>{safe(title)}</h1><p class="lead">{safe(lead(readings))}</p>',
        _answers(readings, metrics[0] if metrics else None),
        '</header>\n<main id="main">',
        '<nav aria-label="Parts of the report"><ul>',
        *(f'<li><a href="#{anchor}">{safe(text)}</a></li>' for text, anchor in links),
        "</ul></nav>\n",
        _summary(readings),
        *(
            _section(section, anchor, readings)
            for section, (_, anchor) in zip(shown, anchors, strict=True)
        ),
        "</main>\n<footer><p>Made by flwr-gossip report from ",
        ", ".join(safe(str(reading.run.folder)) for reading in readings),
        ". Each picture has its numbers in the table below it.</p></footer>\n</body></html>\n",
    ]
    return "".join(parts)


def _answers(readings: Sequence[Reading], metric: str | None) -> str:
    blocks = (
        f"<div><dt>{safe(question)}</dt>{''.join(map(_answer, found))}</div>"
        for question, found in answers(readings, metric)
    )
    return f'<dl class="answers">{"".join(blocks)}</dl>'


def _answer(found: tuple[str, str]) -> str:
    label, text = found
    return f"<dd>{f'<b>{safe(label)}:</b> ' if label else ''}{safe(text)}</dd>"


def _summary(readings: Sequence[Reading]) -> str:
    compared = budget_table(readings)
    second = ""
    if compared:
        second = f"<h3>Under the same budget</h3>{_table(compared, 'Under the same budget')}"
    return (
        '<section aria-labelledby="summary"><h2 id="summary">Summary</h2>'
        f"{_table(summary_table(readings), 'Summary')}{second}</section>\n"
    )


def _section(section: Section, anchor: str, readings: Sequence[Reading]) -> str:
    heading, pictures, tables = section
    figures = "".join(_figure(picture, readings) for picture in pictures)
    titled = "".join(f"<h3>{safe(title)}</h3>{_table(table, title)}" for title, table in tables)
    return (
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{safe(heading)}</h2>'
        f'<div class="figures">{figures}</div>{titled}</section>\n'
    )


def _figure(picture: Figure, readings: Sequence[Reading]) -> str:
    kind, plot = "", ' class="plot"'
    if picture.wide:  # on a phone it scrolls by itself
        kind = f' class="wide{" two" if isinstance(picture, Bars) else ""}"'
        named = f'role="group" aria-label="{safe(picture.title)}, scrolls sideways"'
        plot = f' class="plot scroll" tabindex="0" {named}'
    return (
        f'<figure id="{safe(picture.name)}"{kind}>'
        f"<h3>{safe(picture.title)}</h3><div{plot}>{svg(picture)}</div>"
        f"{_legend(picture, len(readings))}<figcaption>{safe(picture.note)}</figcaption>"
        f"<details><summary>The numbers as a table</summary>"
        f"{_table(picture.table, picture.title, 'scroll tall')}</details></figure>\n"
    )


def _legend(picture: Figure, runs: int) -> str:
    if isinstance(picture, Graph):
        return _shades(picture)
    if isinstance(picture, Lines):
        if runs == 1:
            return ""
        entries = [
            (curve.label, _line_sample(curve.place, picture.dots)) for curve in picture.curves
        ]
    elif isinstance(picture, Bars):
        entries = [
            (label, _box(f"f{place}", 1.0)) for place, (label, _) in enumerate(picture.series)
        ]
    else:
        entries = [(la.label, _box(la.tone, la.strength, la.height)) for la in picture.layers]
    items = "".join(f"<li>{sample}{safe(label)}</li>" for label, sample in entries)
    return f'<ul class="legend">{items}</ul>'


def _line_sample(place: int, dots: bool) -> str:
    colour = place % PLACES
    line = "" if dots else f'<path class="line c{colour}" d="M0 7H32"/>'
    return f'{_SAMPLE}{line}<circle class="f{colour}" cx="16" cy="7" r="3"/></svg>'


def _box(tone: str, strength: float, height: float = 1.0) -> str:
    tall = 12 * height
    look = f'class="{tone}" fill-opacity="{strength:g}"'
    return f'{_SAMPLE}<rect x="4" y="{7 - tall / 2:g}" width="24" height="{tall:g}" {look}/></svg>'


_SAMPLE = '<svg aria-hidden="true" viewBox="0 0 32 14">'


def _shades(picture: Graph) -> str:
    if not picture.low <= picture.high:  # NaN: no values
        return ""
    width = 140 / SHADES
    boxes = "".join(
        f'<rect class="v{s}" x="{s * width:.1f}" width="{width:.1f}" height="12"/>'
        for s in range(SHADES)
    )
    return (
        f'<p class="shades">{safe(picture.value_label)} <span>{number(picture.low)}</span>'
        f'<svg aria-hidden="true" viewBox="0 0 140 12">{boxes}</svg>'
        f"<span>{number(picture.high)}</span></p>"
    )


def _table(table: Table, label: str, kind: str = "scroll") -> str:
    caption = f"<caption>{safe(table.note)}</caption>" if table.note else ""
    head = "".join(f'<th scope="col">{safe(text)}</th>' for text in table.headers)
    body = "".join(map(_row, table.rows))
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{safe(label)}, table">'
        f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: Iterable[str]) -> str:
    first, *others = cells
    return (
        f'<tr><th scope="row">{safe(first)}</th>'
        + "".join(f"<td>{safe(text)}</td>" for text in others)
        + "</tr>"
    )
