"""Writing the folder of a run; :mod:`.runs` reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .disk import LOCK_FILE, FolderInUse, FolderLock, write_whole
from .errors import RunError
from .models import Model
from .run_rows import EndRow, Row, line_of
from .runs import CONFIG, METRICS, MODEL, RunConfig

__all__ = ["RUNS_VARIABLE", "RunFolder", "RunWriter", "default_folder", "is_held", "now"]

RUNS_VARIABLE = "FLWR_GOSSIP_RUNS"
_MOST_NAMES = 10_000


def now() -> str:
    """Return the time as ISO 8601 with the zone."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


def default_folder(name: str) -> Path | None:
    """Return where a run of ``name`` is kept that was not told; None where none is.

    ``DATE-TIME-NAME`` under the folder in the environment variable ``FLWR_GOSSIP_RUNS``, else
    under ``./runs``. Where the variable is empty, nothing is kept.
    """
    parent = os.environ.get(RUNS_VARIABLE, "runs")
    if not parent:
        return None
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    return Path(parent).expanduser().absolute() / f"{stamp}-{name.lower()}"


class RunFolder:
    """A folder for one run, held while that writes.

    Parameters
    ----------
    wanted : Path
        Taken if it is not there, or empty; else ``wanted-2``, ``wanted-3`` and so on. So no run
        writes over another.

    Raises
    ------
    RunError
        If it cannot be made or written in.
    """

    def __init__(self, wanted: Path) -> None:
        try:
            self.path, self._lock = _claimed(wanted)
        except OSError as error:
            raise RunError(
                f"folder is {str(wanted)!r}, which cannot be used: {error.strerror or error}. Give "
                'one that can be written in, or folder="" to keep nothing.'
            ) from None

    def release(self) -> None:
        """Let it go; one in which nothing was written is removed."""
        self._lock.release()
        with suppress(OSError):
            if os.listdir(self.path) == [LOCK_FILE]:
                (self.path / LOCK_FILE).unlink()
                self.path.rmdir()


def is_held(folder: Path) -> bool | None:
    """Return whether a process writes in a run's folder; None where that cannot be told."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        FolderLock(folder).release()
    except FolderInUse:
        return True
    except OSError:
        return None
    return False


def _claimed(wanted: Path) -> tuple[Path, FolderLock]:
    for number in range(1, _MOST_NAMES):
        path = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        path.mkdir(parents=True, exist_ok=True)
        if not os.listdir(path):
            with suppress(FolderInUse):
                return path, FolderLock(path)
    raise OSError(f"there are {_MOST_NAMES} of that name")


class RunWriter:
    """Writes what a run is and its rows.

    What cannot be written ends the writing and never the run: ``warn`` is told once.

    Parameters
    ----------
    folder : Path
        That of a :class:`RunFolder`.
    config : RunConfig
        What the run is.
    warn : callable
        Gets one line, which names the folder.
    """

    def __init__(self, folder: Path, config: RunConfig, warn: Callable[[str], None]) -> None:
        self.folder, self.config = folder, config
        self._warn = warn
        self._failed = False
        self._file: TextIO | None = None
        self._try(self._open)

    def _open(self) -> None:
        self._write_config()
        opened = os.open(self.folder / METRICS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = open(opened, "w", encoding="utf-8", buffering=1 << 18)  # noqa: SIM115

    def write(self, rows: Iterable[Row]) -> None:
        """Append rows and hand them to the system: one write, however many they are."""
        text = "".join(map(line_of, rows))
        if text:
            self._try(lambda: self._append(text))

    def _append(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text)
            self._file.flush()

    def model(self, model: Callable[[], Model], about: Mapping[str, str]) -> None:
        """Write the served model, which ``model`` returns, with ``about`` in its header."""
        self._try(lambda: write_whole(self.folder / MODEL, [_safetensors(model(), about)]))

    def end(self, row: EndRow, plan_json: str) -> None:
        """Write the end and close the file."""
        self.write([row])
        self.config = replace(
            self.config, ended=now(), status=row.status, error=row.error, plan_json=plan_json
        )
        self._try(self._write_config, anyway=True)
        if self._file is not None:
            with suppress(OSError):  # of what a full disk has left in the buffer
                self._file.close()

    def _write_config(self) -> None:
        write_whole(self.folder / CONFIG, [self.config.to_json().encode()])

    def _try(self, write: Callable[[], None], anyway: bool = False) -> None:
        if self._failed and not anyway:
            return
        try:
            write()
        except Exception as error:  # whatever it is, the run is worth more than its record
            if not self._failed:
                reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
                self._warn(f"the run's folder {self.folder} is not written any more: {reason}")
            self._failed = True


def _safetensors(model: Model, about: Mapping[str, str]) -> bytes:
    from safetensors.numpy import save

    arrays: dict[str, Any] = {name: np.asarray(a, order="C") for name, a in model.items()}
    return save(arrays, dict(about))
