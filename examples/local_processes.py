"""Start programs in the background and be sure that they end: logs in files, ends by process id.

Flower's programs start others in sessions of their own, so ending a process group is not enough.
Every program started here gets a private home folder in the environment variable ``FLWR_HOME``;
what it starts inherits the variable, and `stop_all` ends whatever carries it, and nothing else.
(Where there is no ``/proc`` it ends the group, and Flower's own children notice the death.)
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "FLWR_HOME"
FOLDER_PREFIX = "flwr-local-"
POLL_S = 0.1
TAIL_LINES = 30
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class LocalError(RuntimeError):
    """Something on this machine did not start, or did not end well; shows the end of its log."""


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, indented, under the log's path."""
    last = read(log).splitlines()[-lines:] or ["(empty)"]
    return "\n".join([f"The end of {log}:", *(f"    {line}" for line in last)])


def read(log: Path) -> str:
    """Return what a log holds now, without colours; nothing where there is no log."""
    return COLOUR.sub("", log.read_text(errors="replace")) if log.exists() else ""


def free_port() -> int:
    """Return a loopback port that nobody listens on now, outside the usual ephemeral range.

    Another program may take it before it is used (two callers choose the same one time in twelve
    thousand): start a server so that it is tried again on another port.
    """
    for _ in range(100):
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise LocalError("no free loopback port between 20000 and 32000 in 100 tries")


def wait_until(ready: Callable[[], bool], timeout_s: float) -> bool:
    """Poll ``ready`` until it is true; False after ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


@dataclass(frozen=True, slots=True)
class Program:
    """A program running in the background, leader of its own session."""

    name: str
    process: subprocess.Popen[bytes]
    home: Path
    log: Path

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until ``ready()``; raise `LocalError` if it ends before, or takes too long."""
        ok = wait_until(lambda: not self.running or ready(), timeout_s)
        if not self.running:
            code = self.process.returncode
            raise LocalError(f"{self.name} ended with code {code} at its start.\n{tail(self.log)}")
        if not ok:
            raise LocalError(f"{self.name} is not ready after {timeout_s:g} s.\n{tail(self.log)}")

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask it and all it started to end, and kill what has not ended after ``grace_s``."""
        _signal_group(self.process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_s)
        _signal_group(self.process.pid, signal.SIGKILL)
        self.process.wait()
        stop_all(self.home, grace_s=1.0)


def start(name: str, command: Sequence[str], home: Path, env: Mapping[str, str]) -> Program:
    """Start ``command`` with its output in ``home/NAME.log``, and ``home`` as its Flower home."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**env, HOME_VARIABLE: str(home)},
            start_new_session=True,
        )
    return Program(name, process, home, log)


def program_path(name: str) -> str:
    """Return the path of a console script of the running Python, or of the one on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise LocalError(f"{name} is not installed beside {sys.executable} and not on PATH")
    return found


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a fresh temporary folder and remove it at the end.

    Folders that a killed run left behind are removed too, with the processes started there.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    (folder / "owner").write_text(str(os.getpid()))
    try:
        yield folder
    finally:
        _remove(folder)


def stop_all(home: Path, grace_s: float) -> None:
    """End every process whose Flower home is ``home`` or a folder inside it."""
    for pid in _processes_of(home):
        _signal(pid, signal.SIGTERM)
    wait_until(lambda: not _processes_of(home), grace_s)
    for pid in _processes_of(home):
        _signal(pid, signal.SIGKILL)


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError, ValueError):  # another user's, or just being removed by its owner
            if not _alive(int((folder / "owner").read_text())):
                _remove(folder)


def _remove(folder: Path) -> None:
    stop_all(folder, grace_s=1.0)
    shutil.rmtree(folder, ignore_errors=True)


def _processes_of(home: Path) -> list[int]:
    mark = f"{HOME_VARIABLE}={home}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # ended meanwhile, or another user's
            pairs = environ.read_bytes().split(b"\0")
            if any(pair == mark or pair.startswith(mark + b"/") for pair in pairs):
                found.append(int(environ.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
