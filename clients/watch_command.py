"""``flwr-gossip watch``: the figures of a run in another process, from its folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..server_free.errors import RunError
from ..server_free.run_display import Show, line_printer, run_display
from ..server_free.run_rows import EndRow, Row
from ..server_free.run_writer import RUNS_VARIABLE, is_held
from ..server_free.runs import CONFIG, METRICS, RunConfig, Tail, read_config

__all__ = ["newest_run", "watch_run"]

LOOK_S = 0.5
SILENCE_S = 300.0
"""After so long without a row the user is told, where it cannot be seen whether the run lives."""

_GONE = (
    "The run's process is gone without having ended the run: it was killed, or its machine "
    "stopped. What it had done is in the folder."
)


def watch_run(folder: Path | None) -> int:
    """Show a run until it ends, one that has ended once; return the exit code.

    That is 0 for a run that finished, or where the user stopped watching, which leaves the run
    alone; 1 for one that failed or whose process is gone. Raises ``RunError`` for no run's folder.
    """
    place = (newest_run() if folder is None else folder.expanduser()).absolute()
    config = read_config(place)
    print(place, flush=True)
    following = _Following(place, Tail(place / METRICS))
    try:
        with _display(config) as show:
            said, code = following.to_the_end(show)
    except KeyboardInterrupt:
        print("Not watched any more; the run is left alone.")
        return 0
    print(said)
    return code


def newest_run() -> Path:
    """Return the run under ``FLWR_GOSSIP_RUNS``, else ``./runs``, that was written in last."""
    parent = Path(os.environ.get(RUNS_VARIABLE) or "runs").expanduser().absolute()
    newest = max(parent.glob(f"*/{CONFIG}"), key=_written, default=None)
    if newest is None:
        raise RunError(
            f"there is no run under {parent}. Give the folder whose place a run prints at its "
            f"start, or set {RUNS_VARIABLE} to where the runs are."
        )
    return newest.parent


def _written(config: Path) -> float:
    metrics = config.with_name(METRICS)
    return max(path.stat().st_mtime for path in (config, metrics) if path.exists())


@contextmanager
def _display(config: RunConfig) -> Iterator[Show]:
    if not sys.stdout.isatty():
        yield line_printer(config)
        return
    with run_display(config, True, sys.stdout) as show:
        yield show


@dataclass(slots=True)
class _Following:
    """Reads a run's rows as they come; looks at the file's size, and opens it when that changes."""

    folder: Path
    tail: Tail
    end: EndRow | None = None
    changed: float = field(default_factory=time.monotonic)
    silent: bool = False

    def to_the_end(self, show: Show) -> tuple[str, int]:
        """Hand rows to ``show`` until there are no more; return what to say, and the exit code."""
        while True:
            held = is_held(self.folder)  # first: what was written before it was let go is there
            self._hand_on(show)
            if self.end is not None:
                return _ending(self.end.status, self.end.error)
            if held is False:
                config = read_config(self.folder)
                if config.status == "running":
                    return _GONE, 1
                return _ending(config.status, config.error)
            self._tell_silence()
            time.sleep(LOOK_S)

    def _hand_on(self, show: Show) -> None:
        if not self._has_grown():
            return
        rows: list[Row] = self.tail.read()
        if rows:
            self.changed, self.silent = time.monotonic(), False
            self.end = next((row for row in rows if isinstance(row, EndRow)), None)
            show(rows)

    def _has_grown(self) -> bool:
        try:
            return self.tail.path.stat().st_size > self.tail.offset
        except OSError:
            return False

    def _tell_silence(self) -> None:
        if not self.silent and time.monotonic() - self.changed > SILENCE_S:
            self.silent = True
            print(f"Nothing new for {SILENCE_S / 60:.0f} minutes; still watching.", flush=True)


def _ending(status: str, error: str | None) -> tuple[str, int]:
    return ("Finished.", 0) if status == "finished" else (f"Failed: {error}", 1)
