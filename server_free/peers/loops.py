"""One event loop in one thread for all gRPC of this process, as long as somebody uses it.

gRPC's asyncio side serves one loop well and several badly, so hosts and links share this one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

__all__ = ["LoopThread", "in_thread"]

T = TypeVar("T")
STOP_S = 10.0


class LoopThread:
    """The shared loop: :meth:`acquire` it, and :meth:`release` it as often."""

    _shared: ClassVar[LoopThread | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._users = 0
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="flwr-gossip", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(cls) -> LoopThread:
        """Return the loop thread of this process; the first user starts it."""
        with cls._lock:
            shared = cls._shared
            if shared is None or shared._pid != os.getpid():  # threads do not survive a fork
                shared = cls._shared = cls()
            shared._users += 1
            return shared

    def release(self) -> None:
        """Give the loop back; the last user stops it."""
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
            if LoopThread._shared is self:
                LoopThread._shared = None
        if self._pid == os.getpid():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(STOP_S)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def run(self, call: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run ``call`` in the loop and return its result; without a result in time it is ended.

        Raises
        ------
        TimeoutError
            After ``timeout_s`` seconds.
        """
        future = asyncio.run_coroutine_threadsafe(call, self.loop)
        try:
            return future.result(timeout_s)
        except BaseException:  # also KeyboardInterrupt: nothing goes on behind the caller's back
            future.cancel()
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(_end_tasks())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


async def _end_tasks() -> None:
    """Cancel what still runs and see it end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), STOP_S)


async def in_thread(call: Callable[[], T]) -> T:
    """Return what ``call`` does in a thread of its own, which ends with it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="flwr-gossip-call")
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, call)
    finally:
        pool.shutdown(wait=False)
