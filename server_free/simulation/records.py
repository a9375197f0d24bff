"""Histories on disk: one JSON object a round, written whole and read back."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from ..disk import FOR_ALL, write_whole
from ..errors import PlanError

__all__ = ["Record", "read_jsonl", "write_jsonl"]

Record = dict[str, float]
"""What is known of one round, by name."""


def write_jsonl(history: Sequence[Record], path: str | os.PathLike[str]) -> None:
    """Write one JSON object a round; values that are not finite become null.

    The file appears whole or not at all: where that fails, ``PlanError`` says why, and a file
    that was there before stays.
    """
    target = Path(path)
    lines = (f"{json.dumps(_plain(record))}\n".encode() for record in history)
    try:
        write_whole(target, lines, mode=FOR_ALL)
    except OSError as error:
        raise PlanError(f"{target} cannot be written: {error.strerror}.") from error


def read_jsonl(path: str | os.PathLike[str]) -> list[Record]:
    """Return the history in a file that :meth:`SimulationResult.to_jsonl` wrote.

    The very numbers that were written, but for what was not finite, which comes back as NaN.

    Raises
    ------
    PlanError
        When the file cannot be read or a line of it is no record; names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PlanError(f"{os.fspath(path)} cannot be read: {reason}.") from error
    return [_record(f"{os.fspath(path)} line {n}", line) for n, line in enumerate(lines, start=1)]


def _plain(record: Record) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in record.items()}


def _record(place: str, line: str) -> Record:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "round" not in record:
        raise PlanError(f'{place} is {line[:60]!r}, allowed is a JSON object with a "round".')
    for name, value in record.items():
        if value is None:
            record[name] = math.nan
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise PlanError(f"{place}: {name} is {value!r}, allowed is a number or null.")
    return record
