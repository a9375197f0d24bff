"""Networks from CSV files: a table of the nodes, and when each is online.

A table has one line a node, with the columns of :data:`NETWORK_COLUMNS`; seconds, and bytes per
second (1 Mbit/s is 125,000; ``inf`` for no limit)::

    node,compute_s,latency_s,upload_bytes_per_s,download_bytes_per_s
    0,1.5,0.01,2500000,12500000

An availability trace has one line for each time that a node is online, from included, to excluded,
in seconds since the start of the run (``inf``: for good)::

    node,from_s,to_s
    0,0,600
    0,660,inf

Columns may come in any order; lines that begin with # and empty lines are skipped.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isnan
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import PlanError
from .availability import OnlineTrace
from .networks import Network

__all__ = ["AVAILABILITY_COLUMNS", "NETWORK_COLUMNS", "read_availability", "read_network"]

NETWORK_COLUMNS = (
    "node",
    "compute_s",
    "latency_s",
    "upload_bytes_per_s",
    "download_bytes_per_s",
)
"""The columns of a table of nodes."""

AVAILABILITY_COLUMNS = ("node", "from_s", "to_s")
"""The columns of an availability trace."""


def read_network(path: str | PathLike[str], **settings: Any) -> Network:
    """Return the network that a CSV file describes, one line a node.

    Parameters
    ----------
    path : str or path
        A table of nodes 0..n-1, each once, in any order.
    **settings
        Further parameters of :class:`Network`, for instance ``availability``.

    Raises
    ------
    PlanError
        Names the file, the line, the column, the value and what is allowed.
    """
    nodes: dict[int, tuple[float, ...]] = {}
    for line in _lines(path, NETWORK_COLUMNS):
        node = line.node()
        if node in nodes:
            raise line.error("node", "each node once; there is an earlier line for it")
        nodes[node] = (
            line.number("compute_s"),
            line.number("latency_s"),
            line.number("upload_bytes_per_s", rate=True),
            line.number("download_bytes_per_s", rate=True),
        )
    for node in range(len(nodes)):
        if node not in nodes:
            raise PlanError(
                f"{path} has no line for node {node}; allowed are nodes 0 to n - 1, each once."
            )
    values = (list(column) for column in zip(*(nodes[n] for n in sorted(nodes)), strict=True))
    table: dict[str, Any] = dict(zip(NETWORK_COLUMNS[1:], values, strict=True))
    return Network(**table, **settings)


def read_availability(path: str | PathLike[str]) -> OnlineTrace:
    """Return when nodes are online, from a CSV file.

    A node that never comes has one line with ``to_s`` equal to ``from_s``; a node without a line
    is an error when it is asked for. Raises ``PlanError`` as :func:`read_network` does.
    """
    intervals: dict[int, list[tuple[float, float]]] = {}
    for line in _lines(path, AVAILABILITY_COLUMNS):
        start, end = line.number("from_s"), line.number("to_s", infinite=True)
        if end < start:
            raise line.error("to_s", f"seconds from from_s, {start:g}, on")
        known = intervals.setdefault(line.node(), [])
        if any(start < other_end and other < end for other, other_end in known):
            raise line.error("from_s", "times that do not overlap those of the node's other lines")
        known.append((start, end))
    return OnlineTrace(intervals)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file: its number, and its values by column."""

    path: str | PathLike[str]
    number_in_file: int
    values: dict[str, str]

    def node(self) -> int:
        text = self.values["node"]
        if not (text.isascii() and text.isdigit()):
            raise self.error("node", "a whole number from 0")
        return int(text)

    def number(self, column: str, *, rate: bool = False, infinite: bool = False) -> float:
        try:
            value = float(self.values[column])
        except ValueError:
            value = -1.0
        allowed = value > 0 if rate else value >= 0 and (infinite or value < inf)
        if isnan(value) or not allowed:
            unit = "bytes per second above 0" if rate else "seconds from 0"
            raise self.error(column, unit if rate or infinite else f"finite {unit}")
        return value

    def error(self, column: str, allowed: str) -> PlanError:
        return PlanError(
            f"{self.path}, line {self.number_in_file}, column {column}: "
            f"{self.values[column]!r}, allowed: {allowed}."
        )


def _lines(path: str | PathLike[str], columns: tuple[str, ...]) -> Iterator[_Line]:
    """Yield the lines of a CSV file that has exactly these columns; at least one."""
    try:
        # Spreadsheets put a byte order mark in front, which utf-8-sig takes away.
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError(f"{path} is not UTF-8 text: {error}; save it as CSV in UTF-8.") from error
    reader = csv.reader(text.splitlines())
    rows = ((reader.line_num, [value.strip() for value in row]) for row in reader)
    kept = ((n, row) for n, row in rows if any(row) and not row[0].startswith("#"))
    place, header = next(kept, (1, []))
    if sorted(header) != sorted(columns):
        raise PlanError(
            f"{path}, line {place}: the columns are {','.join(header) or '(none)'}; allowed are "
            f"exactly {','.join(columns)}."
        )
    number = None
    for number, row in kept:
        if len(row) != len(header):
            raise PlanError(
                f"{path}, line {number}: {len(row)} values, allowed are {len(header)}, "
                f"one for each of {','.join(header)}."
            )
        yield _Line(path, number, dict(zip(header, row, strict=True)))
    if number is None:
        raise PlanError(f"{path} has no lines below its header; give one line a node.")
