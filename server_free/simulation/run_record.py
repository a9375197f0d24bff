"""The folder of a vectorized run, in the same form as those of all other runtimes."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ..errors import one_line
from ..models import Model
from ..orders import plugin_version
from ..plans import Plan
from ..run_display import Show
from ..run_rows import EndRow, Row, SimulatedRow
from ..run_writer import RunFolder, RunWriter, now
from ..runs import RunConfig
from ..schedules import Teleport
from .layout import Layout
from .records import Record

__all__ = ["RunRecord", "simulated_config"]

_EVERY_S = 0.5
"""How often rows are written."""


def simulated_config(plan: Plan, layout: Layout) -> RunConfig:
    """Return what a vectorized run is."""
    name = "Teleportation" if isinstance(plan.schedule, Teleport) else "Gossip"
    about = f"{name} over {plan.topology.spec}, {plan.num_slots} slots, vectorized"
    return RunConfig(
        version=plugin_version(),
        training=secrets.token_hex(16),
        flower_run=None,
        runtime="vectorized",
        strategy={"name": name, "description": about, "settings": {}},
        num_nodes=plan.num_nodes,
        num_slots=plan.num_slots,
        num_rounds=plan.num_rounds,
        plan_json=plan.to_json(),
        nodes=(),
        parameters=layout.size,
        model_bytes=layout.num_bytes,
        started=now(),
    )


class RunRecord:
    """Shows the rounds of a run and writes them into a folder, if there is one.

    Parameters
    ----------
    config : RunConfig
        What the run is.
    folder : str or Path, optional
        Where it is written; that of another run is never written over, the name gets a number.
    show : callable, optional
        Takes the rows too.
    """

    def __init__(
        self, config: RunConfig, folder: str | os.PathLike[str] | None, show: Show | None = None
    ) -> None:
        self._began = time.monotonic()
        self._show = show
        self._rows: list[Row] = []
        self._written = 0.0
        self._last = 0
        self._folder = RunFolder(Path(folder).expanduser().absolute()) if folder else None
        self._writer = RunWriter(self._folder.path, config, _warn) if self._folder else None
        self._ended = False

    @property
    def path(self) -> Path | None:
        """Where the run is written."""
        return self._folder.path if self._folder else None

    def take(self, record: Record) -> None:
        """Take in a round."""
        row = SimulatedRow(record)
        self._last = int(record["round"])
        if self._show:
            self._show([row])
        if self._writer:
            self._rows.append(row)
            if time.monotonic() - self._written >= _EVERY_S:
                self._flush(self._writer)

    def finish(self, plan: Plan, model: Callable[[], Model], diverged_at: int | None) -> None:
        """Write the end; ``model`` returns the mean of the slots' models."""
        error = None if diverged_at is None else f"it diverged in round {diverged_at}"
        if self._writer:
            slots = ",".join(map(str, range(plan.num_slots)))
            self._writer.model(model, {"round": str(self._last), "slots": slots})
        self._end("finished" if error is None else "failed", error, plan.to_json())

    def __enter__(self) -> RunRecord:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write why it ended early, if it did."""
        if not self._ended and self._writer:
            reason = one_line(error) if error else "it was not finished"
            self._end("failed", reason, self._writer.config.plan_json)
        if self._folder:
            self._folder.release()

    def _end(self, status: str, error: str | None, plan_json: str) -> None:
        self._ended = True
        row = EndRow(self._last, round(time.monotonic() - self._began, 3), status, error)
        if self._show:
            self._show([row])
        if self._writer:
            self._flush(self._writer)
            self._writer.end(row, plan_json)

    def _flush(self, writer: RunWriter) -> None:
        writer.write(self._rows)
        self._rows.clear()
        self._written = time.monotonic()


def _warn(line: str) -> None:
    logging.getLogger(__name__).warning(line)
