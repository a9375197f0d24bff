"""No gRPC while the process forks: a train function may fork workers (DataLoader) at any time.

gRPC cannot be forked while its threads run; the children crash. So open links are put to sleep
before a fork, which ends gRPC in this process as far as it is ours, and woken in the parent. In
the child they are closed for good.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

import grpc

__all__ = ["Sleeper", "keep_out_of_forks"]


class Sleeper(Protocol):
    """What must not be awake in a fork; the calls come from the forking thread."""

    def sleep(self) -> None:
        """Let go of gRPC."""

    def wake(self) -> None:
        """Go on, in the parent."""

    def disown(self) -> None:
        """Be closed without a word, in the child."""


_sleepers: weakref.WeakSet[Sleeper] = weakref.WeakSet()
_lock = threading.Lock()
_anchor: Any = None


def keep_out_of_forks(sleeper: Sleeper) -> None:
    """Put ``sleeper`` to sleep around every fork, as long as it lives."""
    global _anchor
    with _lock:
        _sleepers.add(sleeper)
        if _anchor is not None or not hasattr(os, "register_at_fork"):
            return
        # Never used: with a channel left, letting go of the others does not shut gRPC down, which
        # goes on in the background and crashes a fork meanwhile (seen in 1.70).
        _anchor = grpc.insecure_channel("unix:/nowhere")
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    for sleeper in list(_sleepers):
        sleeper.sleep()


def _in_parent() -> None:
    for sleeper in list(_sleepers):
        sleeper.wake()


def _in_child() -> None:
    for sleeper in list(_sleepers):
        sleeper.disown()
