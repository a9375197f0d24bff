"""Bad networks: a proxy that cuts or damages what it forwards, a socket that says nothing."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def mute_socket() -> Iterator[str]:
    """Accept connections and never say a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Proxy:
    """Forwards TCP to ``target``; what comes back may be cut after some bytes.

    Parameters
    ----------
    target : str
        ``host:port``.
    limits : Callable[[], int | None]
        Called for each connection: how many bytes of the answer to let through, None for all.
    rate : float
        At most so many bytes of the answer a second.
    """

    def __init__(
        self,
        target: str,
        limits: Callable[[], int | None] = lambda: None,
        rate: float = math.inf,
    ) -> None:
        host, port = target.rsplit(":", 1)
        self._target, self._limits, self._rate = (host, int(port)), limits, rate
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                upstream = socket.create_connection(self._target)
                self._sockets += [client, upstream]
                limit = self._limits()
                back = (upstream, client, limit, self._rate)
                for call in ((client, upstream, None, math.inf), back):
                    thread = threading.Thread(target=_pump, args=call)
                    self._threads.append(thread)
                    thread.start()

    def close(self) -> None:
        """Close all sockets and see the threads end."""
        for sock in [self._server, *self._sockets]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)


def _pump(source: socket.socket, target: socket.socket, limit: int | None, rate: float) -> None:
    left = limit
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data if left is None else data[:left])
            time.sleep(len(data) / rate)
            if left is not None:
                left -= len(data)
                if left <= 0:
                    break
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
