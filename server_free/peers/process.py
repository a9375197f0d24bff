"""A peer host in a process of its own, for programs that may fork.

gRPC servers and forks do not mix: a ServerApp whose ``evaluate_fn`` forks DataLoader workers
would crash them if it served models itself.
"""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import PeerError
from ..models import Model
from .links import INITIAL, Membership, PeerLink, connect
from .mailbox import DEFAULT_MAX_BYTES

__all__ = ["PeerProcess"]

START_S = 30.0
STOP_S = 10.0


class PeerProcess:
    """A :class:`.host.PeerHost` on loopback that ends with this process.

    Use it as a context manager; ``address`` and ``local_address`` are as those of the host.

    Parameters
    ----------
    max_bytes : int (default: 4 GiB)
        The most that all its models together may have.
    store : str or Path, optional
        A folder where they are kept on disk too.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, store: str | Path | None = None) -> None:
        if max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}, must be > 0")
        self._max_bytes, self._store = max_bytes, store
        self.address = ""
        self.local_address = ""
        self._process: subprocess.Popen[str] | None = None
        self._runs: dict[str, tuple[bytes, int]] = {}

    def open(self, training: str, key: bytes, resumed: int = 0) -> None:
        """Register ``training`` with the 32-byte ``key`` of its run.

        ``resumed`` is the round after which the run goes on, 0 if it began the training.
        """
        self._runs[training] = key, resumed
        self._link(training).close()

    def put_initial(self, training: str, model: Model) -> None:
        """Hold ``model`` as the initial arrays of a registered training."""
        with self._link(training) as link:
            link.publish(INITIAL, model, readers=[])

    def start(self) -> Self:
        """Start the process and wait till it serves.

        Raises
        ------
        PeerError
            If it does not start in time.
        """
        command = [sys.executable, "-m", f"{__package__}.serve", str(self._max_bytes)]
        command += [] if self._store is None else [str(self._store)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.address, self.local_address = self._first_line().split()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process; does nothing when stopped."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=STOP_S)  # closes its stdin, which tells it to end
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _first_line(self) -> str:
        if self._process is None or self._process.stdout is None:
            raise PeerError("the peer process is not started")
        stdout = self._process.stdout
        readable, _, _ = select.select([stdout], [], [], START_S)
        line = stdout.readline() if readable else ""
        if not line:
            raise PeerError(
                f"the peer process did not start within {START_S:g} s; try it: {sys.executable} "
                f"-m {__package__}.serve"
            )
        return line

    def _link(self, training: str) -> PeerLink:
        if training not in self._runs:
            raise PeerError(f"training {training!r} is not registered with this peer")
        key, resumed = self._runs[training]
        membership = Membership(training, key, 0, "", (self.address,), resumed=resumed)
        return connect(self.local_address, membership)
