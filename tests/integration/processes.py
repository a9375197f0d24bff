"""A machine that loses its power: every process of a program killed at once."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from local_processes import HOME_VARIABLE, Program


def kill_all(program: Program) -> None:
    """Kill a program and all that it started (they carry its home in their environment)."""
    mark = f"{HOME_VARIABLE}={program.home}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # ended meanwhile, or another user's
            if mark in environ.read_bytes().split(b"\0"):
                os.kill(int(environ.parent.name), signal.SIGKILL)
    program.process.wait(10.0)
