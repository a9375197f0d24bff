"""Bad networks: a proxy that cuts or damages what it forwards, a socket that says nothing."""

from __future__ import annotations

import socket
import threading
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
    """

    def __init__(self, target: str, limits: Callable[[], int | None] = lambda: None) -> None:
        host, port = target.rsplit(":", 1)
        self._target, self._limits = (host, int(port)), limits
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
                for call in ((client, upstream, None), (upstream, client, limit)):
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


def _pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    left = limit
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data if left is None else data[:left])
            if left is not None:
                left -= len(data)
                if left <= 0:
                    break
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
