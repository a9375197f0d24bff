"""Measured losses from a file, JSON or CSV, for ``flwr-gossip topology --losses FILE``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from ..server_free.errors import PlanError

__all__ = ["EXAMPLE", "MeasuredLosses", "read_losses"]

EXAMPLE = '{"complete": {"2": 0.52, "4": 0.40, "8": 0.33}, "topologies": {"ring": 0.37}}'
"""What such a file looks like."""

MOST_BYTES = 1 << 20
_HEADER = ["topology", "num_nodes", "loss"]


@dataclass(frozen=True, slots=True)
class MeasuredLosses:
    """Final losses of complete graphs of several sizes, and of topologies over all nodes.

    The mean where a CSV file has several runs of one.
    """

    complete: dict[int, float]
    topologies: dict[str, float]


def read_losses(path: Path, num_nodes: int) -> MeasuredLosses:
    """Read measured losses of training on ``num_nodes`` nodes.

    JSON is ``{"complete": {"2": LOSS, ...}, "topologies": {"ring": LOSS, ...}}``. CSV has the
    header ``topology,num_nodes,loss``; the rows of ``complete`` need the number of nodes, in the
    others it is ``num_nodes`` or empty. Raises ``PlanError`` in one line that names the file and
    the place.
    """
    text = _text(path)
    rows = _json_rows(path, text) if text.lstrip().startswith("{") else _csv_rows(path, text)
    complete: dict[int, list[float]] = {}
    topologies: dict[str, list[float]] = {}
    for where, name, nodes, loss in rows:
        value = _loss(where, loss)
        if name == "complete":
            complete.setdefault(_nodes(where, nodes), []).append(value)
            continue
        if nodes and _nodes(where, nodes) != num_nodes:
            raise PlanError(f"{where}: {name} has {nodes} nodes, allowed are all {num_nodes}.")
        topologies.setdefault(name, []).append(value)
    return MeasuredLosses(
        {nodes: fmean(runs) for nodes, runs in complete.items()},
        {name: fmean(runs) for name, runs in topologies.items()},
    )


_Rows = Iterable[tuple[str, str, object, object]]
"""(where, topology, number of nodes, loss)."""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MOST_BYTES:
        raise PlanError(f"{path} is too large, allowed are {MOST_BYTES} bytes.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PlanError(f"{path} is not text; write JSON such as {EXAMPLE}") from None


def _json_rows(path: Path, text: str) -> _Rows:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path} is not JSON: {error}; write {EXAMPLE}") from None
    parts: dict[str, Any] = {}
    for part in ("complete", "topologies"):
        parts[part] = content.get(part)
        if not isinstance(parts[part], dict):
            raise PlanError(f"{path} has no {part!r} with a loss for each; write {EXAMPLE}")
    for nodes, loss in parts["complete"].items():
        yield f"{path}: complete, {nodes}", "complete", nodes, loss
    for name, loss in parts["topologies"].items():
        yield f"{path}: {name}", name, "", loss


def _csv_rows(path: Path, text: str) -> _Rows:
    lines = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if lines.fieldnames is None or not set(_HEADER) <= set(lines.fieldnames):
        raise PlanError(
            f"{path} must be JSON such as {EXAMPLE} or CSV with the header {','.join(_HEADER)}"
        )
    for row in lines:
        where = f"{path} line {lines.line_num}"
        yield where, (row["topology"] or "").strip(), row["num_nodes"], row["loss"]


def _loss(where: str, loss: object) -> float:
    try:
        value = float(str(loss))
    except ValueError:
        value = float("nan")
    if isinstance(loss, bool) or not isfinite(value):
        raise PlanError(f"{where}: the loss is {loss!r}, allowed is a finite number.")
    return value


def _nodes(where: str, nodes: object) -> int:
    text = str(nodes).strip()
    if not (text.isascii() and text.isdigit() and int(text[:18]) > 0 and len(text) <= 18):
        raise PlanError(f"{where}: the number of nodes is {nodes!r}, allowed is 1 or more.")
    return int(text)
