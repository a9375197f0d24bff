"""Processes: a peer that runs till it is told to stop, alone or around a flower-supernode."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

from ..server_free.peers.host import PeerHost
from ..server_free.sparing import LOGGER
from .node_config import add_to_node_config

__all__ = ["find_flower_supernode", "run_peer", "run_supernode"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
WATCH_S = 1.0
NOTHING = 0
GRACE_S = 20.0
"""How long flower-supernode may take to end after a signal, before it is killed."""
PEER_DIED = 3

# The child ends with its parent, however that dies (Linux). This runs before flower-supernode in
# the same process; a preexec_fn would run Python between fork and exec, beside our threads.
_TIED = """
import os, sys
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def run_peer(host: PeerHost) -> None:
    """Serve till SIGTERM or SIGINT."""
    stop = threading.Event()
    with _on_stop_signal(lambda number: stop.set()), host:
        _say_ready(host)
        stop.wait()


def run_supernode(
    host: PeerHost, flower_options: Sequence[str], program: Sequence[str] | None = None
) -> int:
    """Serve, and run flower-supernode beside it, till either ends; return its exit code.

    Parameters
    ----------
    host : PeerHost
        The peer, not started.
    flower_options : Sequence[str]
        The options of flower-supernode.
    program : Sequence[str] | None (default: None)
        What to run instead of the flower-supernode beside this Python.

    Returns
    -------
    int
        The child's code, 128 + n if it died of signal n, 3 if the peer died first.
    """
    command = [*(program or [find_flower_supernode()])]
    events: SimpleQueue[int | None] = SimpleQueue()
    with _on_stop_signal(events.put), host, tempfile.TemporaryDirectory() as folder:
        options = add_to_node_config(flower_options, "gossip-peer", host.local_address, folder)
        _say_ready(host)
        child = _spawn([*command, *options])
        try:
            return _supervise(child, host, events)
        finally:
            _end(child)


def find_flower_supernode() -> str:
    """Return the path of the flower-supernode that belongs to this Python."""
    beside = Path(sys.executable).parent / "flower-supernode"
    found = str(beside) if beside.exists() else shutil.which("flower-supernode")
    if found is None:
        raise FileNotFoundError(f"there is no {beside}; install Flower: pip install flwr")
    return found


def _say_ready(host: PeerHost) -> None:
    _log_to_stderr()
    metrics = f" metrics=http://{host.metrics_address}/metrics" if host.metrics_address else ""
    print(
        f"peer ready: listen={host.listen_address} advertise={host.address} "
        f"local={host.local_address}{metrics}",
        flush=True,
    )


def _log_to_stderr() -> None:
    """Give Flower's logger a handler where Flower itself is not imported, as it does not here."""
    logger = logging.getLogger(LOGGER)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
        logger.addHandler(handler)


@contextmanager
def _on_stop_signal(handle: Callable[[int], None]) -> Iterator[None]:
    """Call ``handle`` with the number of each SIGTERM and SIGINT instead of ending."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        handle(number)

    before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the child in a process group of its own: a Ctrl-C then reaches it once, from us."""
    tied = [sys.executable, "-c", _TIED, str(os.getpid()), *command]
    return subprocess.Popen(tied, stdin=subprocess.DEVNULL, process_group=0, env=_environment())


def _environment() -> dict[str, str]:
    """Return ours, with the scripts of this Python found first: Flower starts others by name."""
    path = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}"}


def _supervise(
    child: subprocess.Popen[bytes], host: PeerHost, events: SimpleQueue[int | None]
) -> int:
    """Wait for an end, handing signals on; kill a child that does not heed them in time."""
    threading.Thread(target=_announce_end, args=(child, events), daemon=True).start()
    deadline = math.inf
    while (event := _next(events)) is not None:
        if event != NOTHING:
            child.send_signal(event)
            deadline = min(deadline, time.monotonic() + GRACE_S)
        if time.monotonic() > deadline:
            child.kill()
        if not host.is_serving:
            print("flwr-gossip supernode: error: the peer has died", file=sys.stderr)
            return PEER_DIED
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _announce_end(child: subprocess.Popen[bytes], events: SimpleQueue[int | None]) -> None:
    child.wait()
    events.put(None)


def _next(events: SimpleQueue[int | None]) -> int | None:
    """Return the number of a signal, None when the child has ended, or ``NOTHING``."""
    try:
        return events.get(timeout=WATCH_S)
    except Empty:
        return NOTHING


def _end(child: subprocess.Popen[bytes]) -> None:
    """See the child end, and the ClientApps it may have left behind."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
