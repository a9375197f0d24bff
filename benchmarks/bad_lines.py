"""Network lines that can be cut, muted, damaged or slowed while traffic runs over them.

Each line is a TCP proxy in front of one peer, which advertises the proxy's address. All lines run
in one event loop in a thread of this process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

__all__ = ["Line", "Network"]

PIECE_BYTES = 65536


class Line:
    """One proxied address.

    Parameters
    ----------
    target : (str, int)
        Host and port that it leads to.

    Attributes
    ----------
    mode : str
        ``"open"``; ``"mute"``: connections are accepted and nothing goes through, either way;
        ``"cut"``: connections end at once.
    cuts : list of int
        For the next connections: after how many bytes of the answer each is cut.
    flips : int
        So many answers yet get one bit turned over, past their first 4096 bytes.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.address = ""
        self.mode = "open"
        self.cuts: list[int] = []
        self.flips = 0
        self._changed = asyncio.Event()
        self._connections: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def set_mode(self, mode: str) -> None:
        """Change the mode, for open connections too."""
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode == "cut":
            await self._end()

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        await self._end()

    async def _end(self) -> None:
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self.mode == "cut":
            writer.close()
            return
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.target)
        limit = self.cuts.pop(0) if self.cuts else None
        ways = [
            asyncio.ensure_future(self._pump(reader, back, None)),
            asyncio.ensure_future(self._pump(there, writer, limit)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            back.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: int | None
    ) -> None:
        passed = 0
        while piece := await source.read(PIECE_BYTES):
            while self.mode == "mute":
                await self._changed.wait()
            if limit is not None:
                piece = piece[: limit - passed]
            if self.flips and passed > 4096:
                self.flips -= 1
                piece = bytes([piece[0] ^ 1]) + piece[1:]
            passed += len(piece)
            sink.write(piece)
            await sink.drain()
            if limit is not None and passed >= limit:
                return


class Network:
    """Lines to some ports of this machine; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bad-lines")
        self._lines: list[Line] = []

    def line(self, port: int) -> Line:
        """Return a new open line to ``port``."""
        line = Line(("127.0.0.1", port))
        self.run(line.start())
        self._lines.append(line)
        return line

    def run(self, call: Coroutine[Any, Any, None]) -> None:
        """Run ``call`` in the lines' event loop."""
        asyncio.run_coroutine_threadsafe(call, self._loop).result(10.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for line in self._lines:
            self.run(line.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()
