"""Reports in tests: sample runs, and pages as a reader without eyes meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

from flwr_gossip.server_free.report import page, read_all
from flwr_gossip.server_free.run_rows import EndRow, EvaluationRow, LossRow, Row, SegmentRow
from flwr_gossip.server_free.runs import RunConfig
from run_samples import sample_config, sample_rows, write_sample

HOSTILE = "<script>alert(1)</script>\"'&\x07\ud800$x_1$]]>"
"""A name that would run, end a tag or break an encoding, were it not escaped."""

_VOID = {"meta", "link", "br", "img", "hr"}


@dataclass
class Element:
    """An element of a page, with its texts and what is in it."""

    tag: str
    attributes: dict[str, str | None]
    inside: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list[Element]:
        """Return the elements of a tag at any depth, in order."""
        found = [self] if self.tag == tag else []
        return found + [inner for element in self.inside for inner in element.all(tag)]

    def words(self) -> str:
        """Return all texts in it."""
        return " ".join([self.text, *(element.words() for element in self.inside)]).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].inside.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


def parsed(html: str) -> Element:
    """Return a page as a tree; every element must be closed, in order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert [element.tag for element in reader.open] == ["document"]
    return reader.open[0]


def page_of(*runs: Path) -> Element:
    """Return the report of some runs as a tree."""
    return parsed(page(read_all(runs)))


def answer(document: Element, question: str) -> str:
    """Return what the head of a report says to a question."""
    blocks = document.all("dl")[0].inside
    return next(b.words() for b in blocks if b.all("dt")[0].text == question)


def rows_of(table: Element) -> list[list[str]]:
    """Return the texts of a table's body."""
    return [[cell.words() for cell in row.inside] for row in table.all("tbody")[0].inside]


def summary_of(document: Element) -> dict[str, list[str]]:
    """Return property -> its value in each run."""
    return {name: values for name, *values in rows_of(document.all("table")[0])}


def figure(document: Element, name: str) -> Element:
    """Return the picture of a name."""
    return next(f for f in document.all("figure") if f.attributes["id"] == name)


def write_fedavg(path: Path, reached: float, rounds: int = 12) -> Path:
    """Write a FedAvg run as JSONL: an accuracy at every third round that ends at ``reached``."""
    head: dict[str, object] = {"kind": "config", "strategy": "FedAvg", "num_nodes": 8}
    head |= {"num_slots": 4, "num_rounds": rounds, "model_bytes": 4000}
    lines = [head]
    for round in range(3, rounds + 1, 3):
        metrics = {"accuracy": reached * round / rounds}
        row = {"kind": "evaluation", "round": round, "seconds": 2.0 * round, "metrics": metrics}
        lines.append(row)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_changed(folder: Path, config: RunConfig, change: Callable[[Row], Row]) -> Path:
    """Write a sample of which each row is changed."""
    return write_sample(folder, config, map(change, sample_rows(config)))


def write_hostile(folder: Path) -> Path:
    """Write a run whose every text is hostile."""
    config = replace(
        sample_config(),
        nodes=tuple(f"{HOSTILE}{node}" for node in range(8)),
        strategy={"name": HOSTILE, "description": HOSTILE, "settings": {"codec": HOSTILE}},
        runtime=HOSTILE,
        started=HOSTILE,
    )

    def change(row: Row) -> Row:
        if isinstance(row, EvaluationRow):
            own = {n: {f"acc{HOSTILE}": m["accuracy"]} for n, m in row.nodes.items()}
            return replace(row, metrics={f"acc{HOSTILE}": row.metrics["accuracy"]}, nodes=own)
        if isinstance(row, SegmentRow):
            return replace(row, missing=dict.fromkeys(row.missing, HOSTILE))
        if isinstance(row, LossRow):
            return LossRow(replace(row.loss, kind=HOSTILE, reason=HOSTILE, used=HOSTILE))
        if isinstance(row, EndRow):
            return EndRow(row.round, row.seconds, "failed", HOSTILE)
        return row

    return write_changed(folder, config, change)
