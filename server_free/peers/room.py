"""Memory for the models that one fetch receives at the same time: large ones take turns."""

from __future__ import annotations

import asyncio
import threading

__all__ = ["ROOM_BYTES", "Room"]

ROOM_BYTES = 64 << 20


class Room:
    """Lets models in while they fit; the next one that the reader needs comes in always.

    So no more is held than ``most_bytes`` or one model, and one more. Models count from when they
    begin to come till the reader has done with them.

    Parameters
    ----------
    most_bytes : int
        What they may have together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._inside: dict[int, int] = {}
        self._turn = 0
        self._changed = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting = 0

    def enter(self, place: int, nbytes: int) -> bool:
        """Let in the model at ``place`` in the order of the reader, if there is room."""
        with self._lock:
            others = sum(size for inside, size in self._inside.items() if inside != place)
            if place != self._turn and self._inside and others + nbytes > self._most_bytes:
                return False
            self._inside[place] = nbytes
            return True

    async def wait(self, place: int, nbytes: int) -> None:
        """Wait till it is let in."""
        self._waiting += 1  # before it looks: who leaves after that tells it
        try:
            while not self.enter(place, nbytes):
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting -= 1

    def leave(self, place: int) -> bool:
        """Note that the reader has done with the model at ``place`` and needs the next one.

        This may be another thread's. Returns whether somebody waits, who is to be told.
        """
        with self._lock:
            self._inside.pop(place, None)
            self._turn = place + 1
        return self._waiting > 0

    def tell(self) -> None:
        """Have those look who wait."""
        self._changed.set()
