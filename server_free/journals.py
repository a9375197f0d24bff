"""A file of records that is only ever added to, each on a line with its CRC-32."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CheckpointError

__all__ = ["Journal"]

Record = Mapping[str, Any]


class Journal:
    """Adds records of JSON to a file; a record is there whole or not at all.

    Parameters
    ----------
    path : Path
        The file; made, for this user alone, if it is not there.

    Attributes
    ----------
    records : tuple of mappings
        Those that were there. A last line that was cut off is none, and is written over.

    Raises
    ------
    CheckpointError
        If a line before the last one is damaged.
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.records, self._end = _read(path)
        except BaseException:
            self.close()
            raise

    def append(self, record: Record) -> None:
        """Add a record; it outlives a power cut from the moment this returns.

        Raises
        ------
        OSError
            If it cannot be written; the file is then as if nothing had been tried.
        """
        text = json.dumps(record, separators=(",", ":")).encode()
        line = memoryview(b"%08x %s\n" % (zlib.crc32(text), text))
        os.ftruncate(self._file, self._end)
        at = self._end
        while line:
            written = os.pwrite(self._file, line, at)
            line, at = line[written:], at + written
        os.fsync(self._file)
        self._end = at

    def close(self) -> None:
        """Close the file, once."""
        os.close(self._file)


def _read(path: Path) -> tuple[tuple[Record, ...], int]:
    """Return the records and where the last of them ends."""
    records, end, content = [], 0, path.read_bytes()
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        checksum, _, text = line.removesuffix(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
            if end + len(line) < len(content):
                raise CheckpointError(
                    f"{path} is damaged at line {number}: its CRC-32 differs. Restore it from a "
                    "copy, or start a new run with another folder."
                )
            break
        records.append(json.loads(text))
        end += len(line)
    return tuple(records), end
