"""Memory in which large models are received: that of the last one is used again once it is free.

The kernel clears every page that it gives out, which takes longer than to receive the bytes where
pages come fresh from a hypervisor. So a link keeps the memory of one model that nobody has any
more. It is lent to the kernel meanwhile (MADV_FREE): who is short of memory takes it at once.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReceiveBuffers"]

LARGE_BYTES = 1 << 20
"""Below this the C library's own memory is as good."""

FREED_BYTES = (32 << 20) - (1 << 16)


class ReceiveBuffers:
    """Gives memory to receive models in, and keeps that of one for the next.

    Memory counts as free when the array that :meth:`take` gave is gone: every view of it, of
    whatever kind, keeps that array alive. An array of numbers is no container, so Python never
    breaks it off from a view that is left. All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._free: deque[mmap.mmap] = deque(maxlen=1)
        self._closed = False

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """Return ``nbytes`` of memory that nobody else has, (nbytes,) uint8, with any content."""
        if nbytes < LARGE_BYTES:
            return np.empty(nbytes, np.uint8)
        memory = self._kept(nbytes) or _fresh(nbytes)
        array = np.frombuffer(memory, np.uint8)
        weakref.finalize(array, self._give_back, memory).atexit = False
        return array

    def close(self) -> None:
        """Keep nothing any more."""
        self._closed = True
        self._free.clear()

    def _kept(self, nbytes: int) -> mmap.mmap | None:
        """Return what is kept if it has the right size; of another size it is let go."""
        with suppress(IndexError):
            if len(memory := self._free.pop()) == nbytes:
                return memory
        return None

    def _give_back(self, memory: mmap.mmap) -> None:
        """Keep ``memory``, in place of what was kept; no lock, since this may come at any time."""
        _advise(memory, "MADV_FREE")
        self._free.append(memory)
        if self._closed:
            self._free.clear()


def _fresh(nbytes: int) -> mmap.mmap:
    _hold_on_to_freed()
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _advise(memory, "MADV_HUGEPAGE")
    return memory


def _hold_on_to_freed() -> None:
    """Have the C library keep some memory that was freed, instead of fetching it for each message.

    glibc takes its measure from the largest piece that was freed so far, of 32 MiB at most. Most
    clients have freed one; in one that has not, each message of a stream would come in pages that
    were given back after the last one. Other libraries do nothing of that kind.
    """
    np.empty(FREED_BYTES, np.uint8)


def _advise(memory: mmap.mmap, name: str) -> None:
    """Give the kernel an advice where it knows it."""
    if (advice := getattr(mmap, name, None)) is not None:
        with suppress(OSError):
            memory.madvise(advice)
