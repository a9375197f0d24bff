"""A network cable with delay and loss, for which most kernels in containers have no netem.

Its ends are TAP devices: a thread reads Ethernet frames at one, and writes them to the other when
their time has come. What is lost is lost for good, so that TCP sends it again, as on a real line.
"""

from __future__ import annotations

import fcntl
import os
import random
import selectors
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Self

__all__ = ["Cable", "new_end"]

TUN_DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000
FRAME_BYTES = 65536
MOST_FRAMES = 4096
"""What lies in the cable at most; what comes then is lost, as at a full router."""


def new_end(device: str) -> int:
    """Make a TAP device in the namespace that this thread is in; it lives while the file does."""
    end = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH14x", device.encode(), IFF_TAP_NO_PI))
    except OSError:
        os.close(end)
        raise
    return end


class Cable:
    """Carries frames both ways between two ends while it is entered; then it closes these.

    Parameters
    ----------
    ends : (int, int)
        Files of :func:`new_end`.
    delay_s : float
        How long a frame is under way.
    loss : float
        Probability 0..1 that a frame is lost.
    seed : int
        Of the losses.
    """

    def __init__(self, ends: tuple[int, int], delay_s: float, loss: float, seed: int) -> None:
        self._ends = ends
        self._delay_s, self._loss = delay_s, loss
        self._random = random.Random(seed)
        self._under_way: deque[tuple[float, int, bytes]] = deque()
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="cable", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._waker)
        self._thread.join(10.0)
        for file in (self._wake, *self._ends):
            os.close(file)

    def _carry(self) -> None:
        one, other = self._ends
        with selectors.DefaultSelector() as selector:
            selector.register(one, selectors.EVENT_READ, other)
            selector.register(other, selectors.EVENT_READ, one)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(self._until_next()):
                    if key.data is None:
                        return
                    self._take(key.fd, key.data)
                self._hand_over()

    def _until_next(self) -> float | None:
        return max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None

    def _take(self, source: int, sink: int) -> None:
        """Take in what has arrived at an end."""
        with suppress(OSError):  # nothing more is there, or the device is down
            while True:
                frame = os.read(source, FRAME_BYTES)
                lost = self._random.random() < self._loss
                if not lost and len(self._under_way) < MOST_FRAMES:
                    self._under_way.append((time.monotonic() + self._delay_s, sink, frame))

    def _hand_over(self) -> None:
        """Put out what has been under way long enough."""
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, sink, frame = self._under_way.popleft()
            with suppress(OSError):  # the device is down: nobody is told
                os.write(sink, frame)
