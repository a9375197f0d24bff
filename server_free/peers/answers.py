"""Fetches of the loop whose answers another thread takes in order, with few calls between both."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial

from ..models import Model
from .links import Missing
from .room import ROOM_BYTES, Room

__all__ = ["Answers"]


class Answers:
    """What several fetches find, one by one in their order; nothing else keeps it.

    The thread that reads iterates, and leaves at the end. The loop begins.

    Parameters
    ----------
    count : int
        How many fetches there will be.
    loop : asyncio.AbstractEventLoop
        Where they run.
    """

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.room = Room(ROOM_BYTES)
        self._loop = loop
        self._answers: deque[Future[Model | Missing]] = deque(Future() for _ in range(count))
        self._expected = list(self._answers)
        self._left = count
        self._fetches: set[asyncio.Task[Model | Missing]] = set()
        self._ended: Callable[[], None] | None = None

    # ----- in the thread that reads

    def __iter__(self) -> Iterator[Model | Missing]:
        for place in range(len(self._answers)):
            yield self._answers.popleft().result()
            if self.room.leave(place):
                self._loop.call_soon_threadsafe(self.room.tell)

    def leave(self) -> None:
        """End what nobody waits for any more."""
        if self._left:
            self._loop.call_soon_threadsafe(self._end)

    # ----- in the loop

    def begin(
        self, fetches: Iterable[asyncio.Task[Model | Missing]], ended: Callable[[], None]
    ) -> None:
        """Hand on what the fetches will have found; ``ended`` is called after the last."""
        self._ended = ended
        expected, self._expected = self._expected, []
        for fetch, answer in zip(fetches, expected, strict=True):
            self._fetches.add(fetch)
            fetch.add_done_callback(partial(self._hand_on, answer))
        if not expected:
            ended()

    def _hand_on(
        self, answer: Future[Model | Missing], fetch: asyncio.Task[Model | Missing]
    ) -> None:
        self._fetches.discard(fetch)
        self._left -= 1
        if self._left == 0 and self._ended is not None:
            self._ended()
        if fetch.cancelled():
            answer.cancel()
        elif (error := fetch.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(fetch.result())

    def _end(self) -> None:
        for fetch in self._fetches:
            fetch.cancel()
