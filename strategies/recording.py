"""What a run leaves behind in its folder, and shows while it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

from flwr.supercore import log

from ..server_free.errors import RunError, one_line
from ..server_free.event_files import EventFiles, check_installed
from ..server_free.models import Model
from ..server_free.orders import plugin_version
from ..server_free.run_display import Show, run_display
from ..server_free.run_rows import EndRow, Row
from ..server_free.run_writer import RunFolder, RunWriter, default_folder, now
from ..server_free.runs import RunConfig
from .results import GossipResult
from .run_lines import RunLines
from .settings import Settings
from .training import Training

__all__ = ["Recording", "settings_of"]

_EVERY_S = 0.5
"""Segments that are shorter than this are written several at a time."""


class Recording:
    """Writes and shows one start of a strategy; in a search each pass is a run of its own.

    Parameters
    ----------
    name : str
        Of the strategy.
    settings : Settings
        Say where the folder is, and whether checkpoints go into it.

    Attributes
    ----------
    settings : Settings
        The same, with the folder of the checkpoints.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        if settings.tensorboard:
            check_installed()
        self._wanted, self._spare = _folder(name, settings)
        self.settings = _placed(settings, self._spare)
        self._lines: RunLines | None = None
        self._writer: RunWriter | None = None
        self._events: EventFiles | None = None
        self._show: Show = _show_nothing
        self._written = -_EVERY_S
        self._due = False

    def close(self) -> None:
        """Let a folder go that no training has used."""
        if self._spare:
            self._spare.release()

    @contextmanager
    def of(self, training: Training, strategy: Mapping[str, Any], late: bool) -> Iterator[None]:
        """Record a training until the end of the block, and show it.

        ``late`` says that its metrics are known only at the end: see :class:`RunLines`.
        """
        config = _config(training, strategy)
        shown = getattr(training.attendance.grid, "progress", False)
        folder = self._next_folder()
        self._writer = RunWriter(folder.path, config, _warn) if folder else None
        if folder and self.settings.tensorboard:
            self._events = _event_files(folder.path)
        self._lines = RunLines(training, late)
        try:
            with run_display(config, shown) as self._show:
                try:
                    yield
                except BaseException as error:
                    self._end(training, "failed", one_line(error))
                    raise
                self._end(training, "finished", None)
        finally:
            if self._events:
                self._events.close()
            self._lines = self._writer = self._events = None
            self._show = _show_nothing
            if folder:
                folder.release()

    def rounds(self, training: Training) -> None:
        """Take in the rounds of a segment, before anybody evaluates."""
        now_s = time.monotonic()
        self._due = training.is_stop(training.last) or now_s - self._written >= _EVERY_S
        if self._lines and self._due:
            self._take(self._lines.of_rounds())

    def segment(self) -> None:
        """Take in a segment that is over."""
        if self._lines and self._due:
            self._take(self._lines.of_segment())
            self._written = time.monotonic()

    def _take(self, rows: Iterable[Row]) -> None:
        taken = list(rows)
        if self._writer:
            self._writer.write(taken)
        if self._events:
            self._events.take(taken)
        self._show(taken)

    def _end(self, training: Training, status: str, error: str | None) -> None:
        if self._lines is None:
            return
        *rows, end = self._lines.of_end(status, error)
        self._take(rows)
        self._show([end])
        result = training.result
        if self._writer is None or not isinstance(end, EndRow):
            return
        if result.served_round or status == "finished":
            slots = ",".join(map(str, result.served_slots))
            about = {"round": str(result.served_round), "slots": slots}
            self._writer.model(lambda: _model(result), about)
        self._writer.end(end, training.plan.to_json())

    def _next_folder(self) -> RunFolder | None:
        folder, self._spare = self._spare, None
        if folder is None and self._wanted is not None:
            folder = _claim(self._wanted)
        if folder:
            log(INFO, "The run's folder: %s", folder.path)
        return folder


def settings_of(settings: Settings) -> dict[str, Any]:
    """Return the options as plain values, functions by their name."""
    return {field.name: _plain(getattr(settings, field.name)) for field in fields(settings)}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return getattr(value, "__qualname__", None) or str(value)


def _folder(name: str, settings: Settings) -> tuple[Path | None, RunFolder | None]:
    """Return the place that is wanted and the folder there; None where nothing is written."""
    if settings.folder is not None:
        wanted = Path(settings.folder).expanduser().absolute() if settings.folder else None
        return wanted, RunFolder(wanted) if wanted else None
    wanted = default_folder(name)
    return wanted, _claim(wanted) if wanted else None


def _claim(wanted: Path) -> RunFolder | None:
    try:
        return RunFolder(wanted)
    except RunError as error:
        _warn(str(error))
        return None


def _event_files(folder: Path) -> EventFiles | None:
    try:
        return EventFiles(folder)
    except OSError as error:
        _warn(f"there are no event files in the run's folder {folder}: {error.strerror}")
        return None


def _placed(settings: Settings, folder: RunFolder | None) -> Settings:
    """Return the settings with the checkpoint's folder where it was only said that there be one."""
    if settings.checkpoint is not True:
        return settings
    if settings.resume:
        return replace(settings, checkpoint=None)
    if folder is None:
        raise RunError(
            "checkpoint is True, which is a folder inside the run's, but there is none; name a "
            "folder for the checkpoint, or for the run."
        )
    return replace(settings, checkpoint=folder.path / "checkpoints")


def _config(training: Training, strategy: Mapping[str, Any]) -> RunConfig:
    plan, plane = training.plan, training.dispatch.plane
    arrays = [array.numpy() for array in training.dispatch.initial.values()]
    return RunConfig(
        version=plugin_version(),
        training=training.dispatch.training,
        flower_run=None if plane.kind == "in-process" else _flower_run(training),
        runtime=plane.kind,
        strategy=strategy,
        num_nodes=plan.num_nodes,
        num_slots=plan.num_slots,
        num_rounds=plan.num_rounds,
        plan_json=plan.to_json(),
        nodes=tuple(member.identity for member in training.attendance.members),
        parameters=sum(array.size for array in arrays),
        model_bytes=sum(array.nbytes for array in arrays),
        started=now(),
        resumed_after=training.last,
    )


def _model(result: GossipResult) -> Model:
    return {name: array.numpy() for name, array in result.arrays.items()}


def _flower_run(training: Training) -> int | None:
    try:
        return int(training.attendance.grid.run.run_id)
    except (AttributeError, TypeError):  # a grid that was not told its run
        return None


def _warn(line: str) -> None:
    log(WARNING, "%s", line)


def _show_nothing(rows: Iterable[Row]) -> None:
    """Show nothing."""
