"""Worker processes of the benchmarks: they are asked one thing at a time and say what it took."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Took", "Worker", "cpu_s", "file_bytes", "peak_bytes", "reset_peak", "rss_bytes"]

ANSWER_S = 600.0
STOP_S = 20.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Took:
    """What a call took: wall and CPU seconds, resident bytes at its peak beyond those before."""

    wall_s: float
    cpu_s: float
    extra_bytes: int
    result: Any = None


class Worker:
    """A process that keeps one object and calls its methods when asked.

    Parameters
    ----------
    make : callable
        Gives the object, in the process; a module's function or class.
    args
        Its arguments.
    """

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args))
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0
        self._answer()

    def start(self, method: str, *args: Any) -> None:
        """Begin a call; its end is waited for by :meth:`wait`."""
        self._pipe.send((method, args))

    def wait(self) -> Took:
        """Return what the call took."""
        took = self._answer()
        if not isinstance(took, Took):
            raise RuntimeError(f"a worker failed: {took}")
        return took

    def ask(self, method: str, *args: Any) -> Took:
        """Call and wait."""
        self.start(method, *args)
        return self.wait()

    def _answer(self) -> Any:
        if not self._pipe.poll(ANSWER_S):
            raise TimeoutError(f"worker {self.pid} gave no answer for {ANSWER_S:g} s")
        return self._pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Any, make: Callable[..., Any], args: tuple[Any, ...]) -> None:
    made = make(*args)
    pipe.send("ready")
    while True:
        try:
            method, given = pipe.recv()
        except (EOFError, OSError):
            break
        try:
            pipe.send(_took(getattr(made, method), given))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")
    if hasattr(made, "close"):
        made.close()


def _took(call: Callable[..., Any], args: tuple[Any, ...]) -> Took:
    pid = os.getpid()
    reset_peak(pid)
    before, cpu, wall = rss_bytes(pid), time.process_time(), time.perf_counter()
    result = call(*args)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Took(wall, cpu, max(0, peak_bytes(pid) - before), result)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that process ``pid`` has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes(pid: int) -> int:
    """Return the resident bytes of process ``pid``, files on tmpfs not counted."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the most resident bytes of process ``pid`` since :func:`reset_peak`."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Begin to look for the peak anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def file_bytes(pid: int) -> int:
    """Return the bytes in memory of the tmpfs files that process ``pid`` holds open."""
    total = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target, stat = str(entry.readlink()), entry.stat()
        except OSError:
            continue
        if target.startswith("/dev/shm/"):
            total += stat.st_blocks * 512
    return total


def _status(pid: int, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0
