"""Memory for the models that one fetch receives at the same time: large ones take turns."""

from __future__ import annotations

import asyncio

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

    def enter(self, place: int, nbytes: int) -> bool:
        """Let in the model at ``place`` in the order of the reader, if there is room."""
        others = sum(size for inside, size in self._inside.items() if inside != place)
        if place != self._turn and self._inside and others + nbytes > self._most_bytes:
            return False
        self._inside[place] = nbytes
        return True

    async def wait(self, place: int, nbytes: int) -> None:
        """Wait till it is let in."""
        while not self.enter(place, nbytes):
            self._changed.clear()
            await self._changed.wait()

    def leave(self, place: int) -> None:
        """Note that the reader has done with the model at ``place`` and needs the next one."""
        self._inside.pop(place, None)
        self._turn = place + 1
        self._changed.set()
