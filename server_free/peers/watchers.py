"""Who waits for changes in a mailbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Watchers"]

Wake = Callable[[], None]


class Watchers:
    """Calls that are made when something changes: by training and node; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._wakes: dict[str, dict[int, dict[object, Wake]]] = {}

    @contextmanager
    def watch(self, training: str, node: int, wake: Wake) -> Iterator[None]:
        """Have ``wake`` called at every change that may concern a model of ``node``.

        The thread that makes the change calls it, with locks in its hands: it must return at once.
        """
        watch = object()
        with self._lock:
            self._wakes.setdefault(training, {}).setdefault(node, {})[watch] = wake
        try:
            yield
        finally:
            with self._lock:
                self._forget(training, node, watch)

    def _forget(self, training: str, node: int, watch: object) -> None:
        of_training = self._wakes[training]
        del of_training[node][watch]
        if not of_training[node]:
            del of_training[node]
        if not of_training:
            del self._wakes[training]

    def wake(self, training: str, node: int | None = None) -> None:
        """Wake who waits for ``node``, or for any node, of ``training``."""
        with self._lock:
            of_training = self._wakes.get(training, {})
            groups = of_training.values() if node is None else [of_training.get(node, {})]
            for wake in [wake for group in groups for wake in group.values()]:
                wake()

    def wake_all(self) -> None:
        """Wake everyone, for example because the host stops."""
        with self._lock:
            for training in list(self._wakes):
                self.wake(training)
