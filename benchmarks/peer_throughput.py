"""Gigabytes a second of a large model through the peers, next to bare gRPC and raw TCP.

Real processes on loopback: a client with its peer, which publishes, and another client with its
peer, which fetches. In the same run, in turn with those, the same number of bytes goes, each time
between two processes with default options, through

- a bare grpc.aio stream in messages of one chunk (256 KiB), whose reader throws all away,
- the same in messages of 1 MiB, as a peer sends them over a fast line,
- the same in messages of 1 MiB, whose reader keeps the bytes in one buffer, as a model must be,
- a TCP socket into that buffer.

The buffer is used again each time, as our client uses its own. All times are medians over the
repetitions, and so are the ratios of the pairs. "first fetch" is one measurement, with the
connection and with memory that comes fresh from the kernel. CPU seconds are of all processes of a
transfer together, per gigabyte. Memory is the peak at each end, in models: the reader's beyond what
it had before its first fetch, its result and the memory it keeps for the next model included; the
publishing client's beyond its own arrays; the peer's beyond what it had before the transfer, with
what it keeps for its readers (in its process, and in files in memory). The last row is a peer with
a model and two attached clients, which nobody asks for anything: its CPU seconds in ten seconds.

    python benchmarks/peer_throughput.py [--quick] [--megabytes 100,1000] [--repeat N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table
from workers import Took, Worker, cpu_s, file_bytes, peak_bytes, reset_peak, rss_bytes

from flwr_gossip.server_free.codecs import CHUNK_BYTES
from flwr_gossip.server_free.models import Model
from flwr_gossip.server_free.peers.links import Membership, Missing, ModelId, Patience, connect
from flwr_gossip.server_free.peers.pace import MOST_CHUNKS
from flwr_gossip.server_free.peers.process import PeerProcess

KEY = b"k" * 32
NUM_TENSORS = 8
MAX_BYTES = 8 << 30
IDLE_S, LEAVE_S = 10.0, 0.5
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
METHOD = "/bare.Stream/Get"
MESSAGE_BYTES = MOST_CHUNKS * CHUNK_BYTES
BARE, BARE_LARGE, KEPT = "bare gRPC stream", "bare gRPC, 1 MiB", "bare gRPC, kept"
TCP, FIRST = "raw TCP", "first fetch"


def model_of(nbytes: int) -> Model:
    """Return a float32 model of about ``nbytes`` in several tensors of different sizes."""
    shares = np.arange(1, NUM_TENSORS + 1) / sum(range(1, NUM_TENSORS + 1))
    rng = np.random.default_rng(0)
    sizes = (shares * nbytes / 4).astype(int)
    return {f"layer{i}": rng.random(size, np.float32) for i, size in enumerate(sizes)}


class Client:
    """A client of the peer at ``local``."""

    def __init__(self, local: str, node: int, addresses: tuple[str, ...]) -> None:
        self._link = connect(local, Membership("t", KEY, node, "s", addresses))
        self._model: Model = {}

    def make(self, nbytes: int) -> None:
        """Make the model to publish."""
        self._model = model_of(nbytes)

    def publish(self, round: int) -> None:
        """Publish it as that of ``round``."""
        self._link.publish(ModelId(round, 0, 0), self._model, readers=[1])

    def fetch(self, round: int) -> None:
        """Fetch the model of ``round`` from node 0."""
        [model] = self._link.fetch([ModelId(round, 0, 0)], Patience())
        if isinstance(model, Missing):
            raise RuntimeError(model.reason)

    def close(self) -> None:
        """Detach."""
        self._link.close()


class BareServer:
    """A gRPC server that streams zeros."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._sent = asyncio.Event()
        self.server: Any = None

    def start(self) -> int:
        """Listen; returns the port."""
        return self._loop.run_until_complete(self._start())

    async def _start(self) -> int:
        handler = grpc.unary_stream_rpc_method_handler(self._stream_zeros)
        service = grpc.method_handlers_generic_handler("bare.Stream", {"Get": handler})
        self.server = grpc.aio.server(options=UNLIMITED)
        self.server.add_generic_rpc_handlers((service,))
        port: int = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return port

    async def _stream_zeros(self, request: bytes, context: Any) -> None:
        nbytes, size = map(int, request.split())
        message = bytes(size)
        for _ in range(nbytes // size):
            await context.write(message)
        self._sent.set()

    def serve(self) -> None:
        """Serve one stream, and a moment on for its last messages to leave."""
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._sent.clear()
        await self._sent.wait()
        await asyncio.sleep(LEAVE_S)


class Reader:
    """Reads from the bare servers."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def bare(self, port: int, nbytes: int, message_bytes: int, keep: bool) -> None:
        """Read the gRPC stream."""
        asyncio.run(self._bare(port, nbytes, message_bytes, keep))

    async def _bare(self, port: int, nbytes: int, message_bytes: int, keep: bool) -> None:
        buffer, got = self._memory(nbytes) if keep else None, 0
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
            call = channel.unary_stream(METHOD)(f"{nbytes} {message_bytes}".encode())
            while (message := await call.read()) is not grpc.aio.EOF:
                if buffer is not None:
                    buffer[got : got + len(message)] = message
                    got += len(message)

    def _memory(self, nbytes: int) -> memoryview:
        if len(self._buffer) != nbytes:
            self._buffer = bytearray(nbytes)
        return memoryview(self._buffer)

    def tcp(self, port: int, nbytes: int) -> None:
        """Read a socket into one buffer."""
        buffer = self._memory(nbytes)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            got = 0
            while got < nbytes:
                got += connection.recv_into(buffer[got:])


class TcpServer:
    """Sends zeros through a socket."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._zeros = bytes(CHUNK_BYTES)

    def start(self) -> int:
        """Return the port."""
        port: int = self._listening.getsockname()[1]
        return port

    def serve(self, nbytes: int) -> None:
        """Send to the next who connects."""
        connection, _ = self._listening.accept()
        with connection:
            for start in range(0, nbytes, CHUNK_BYTES):
                connection.sendall(self._zeros[: nbytes - start])


@dataclass(slots=True)
class Rows:
    """What was measured for one size: label -> wall seconds, CPU seconds, memory."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, list[int]] = field(default_factory=dict)

    def add(self, label: str, wall_s: float, cpu_s: float, **ends: int) -> None:
        """Note one transfer; ``ends`` are the bytes of memory at each end."""
        self.wall.setdefault(label, []).append(wall_s)
        self.cpu.setdefault(label, []).append(cpu_s)
        for end, nbytes in ends.items():
            self.memory.setdefault(f"{label}/{end}", []).append(nbytes)


class Setting:
    """All processes of the benchmark."""

    def __init__(self) -> None:
        self.peers = [PeerProcess(MAX_BYTES).start() for _ in range(2)]
        self.pids = [peer._process.pid for peer in self.peers if peer._process is not None]
        addresses = tuple(peer.address for peer in self.peers)
        self.clients = [
            Worker(Client, peer.local_address, node, addresses)
            for node, peer in enumerate(self.peers)
        ]
        self.bare, self.tcp, self.reader = Worker(BareServer), Worker(TcpServer), Worker(Reader)
        self.bare_port = self.bare.ask("start").result
        self.tcp_port = self.tcp.ask("start").result
        self.round = 0
        self.rss_at_first = rss_bytes(self.clients[1].pid)

    def close(self) -> None:
        """End them."""
        for worker in (*self.clients, self.bare, self.tcp, self.reader):
            worker.__exit__(None, None, None)
        for peer in self.peers:
            peer.stop()

    def measure(self, nbytes: int, repeat: int) -> Rows:
        """Do each transfer ``repeat`` times in turn, after one that is not counted."""
        rows, first = Rows(), Rows()
        self.clients[0].ask("make", nbytes)
        for number in range(repeat + 1):
            into = rows if number else first
            self.round += 1
            self._publish(into)
            self._fetch(into)
            self._bare(into, BARE, nbytes, CHUNK_BYTES)
            self._bare(into, BARE_LARGE, nbytes, MESSAGE_BYTES)
            self._bare(into, KEPT, nbytes, MESSAGE_BYTES, keep=True)
            self._tcp(into, nbytes)
        rows.wall[FIRST], rows.cpu[FIRST] = first.wall["fetch"], first.cpu["fetch"]
        return rows

    def _publish(self, rows: Rows) -> None:
        took, peer_cpu, peer_bytes = self._beside(
            lambda: self.clients[0].ask("publish", self.round)
        )
        rows.add(
            "publish", took.wall_s, took.cpu_s + peer_cpu, client=took.extra_bytes, peer=peer_bytes
        )

    def _fetch(self, rows: Rows) -> None:
        took, peer_cpu, peer_bytes = self._beside(lambda: self.clients[1].ask("fetch", self.round))
        client_bytes = peak_bytes(self.clients[1].pid) - self.rss_at_first
        rows.add("fetch", took.wall_s, took.cpu_s + peer_cpu, client=client_bytes, peer=peer_bytes)

    def _beside(self, call: Callable[[], Took]) -> tuple[Took, float, int]:
        """Call, and return what it took, and the CPU seconds and bytes of the serving peer."""
        pid = self.pids[0]
        reset_peak(pid)
        cpu, memory, files = cpu_s(pid), rss_bytes(pid), file_bytes(pid)
        took = call()
        more = max(0, peak_bytes(pid) - memory) + max(0, file_bytes(pid) - files)
        return took, cpu_s(pid) - cpu, more

    def _bare(
        self, rows: Rows, label: str, nbytes: int, message_bytes: int, keep: bool = False
    ) -> None:
        cpu = cpu_s(self.bare.pid)
        self.bare.start("serve")
        took = self.reader.ask("bare", self.bare_port, nbytes, message_bytes, keep)
        used = cpu_s(self.bare.pid) - cpu
        self.bare.wait()
        rows.add(label, took.wall_s, took.cpu_s + used)

    def _tcp(self, rows: Rows, nbytes: int) -> None:
        self.tcp.start("serve", nbytes)
        took = self.reader.ask("tcp", self.tcp_port, nbytes)
        served = self.tcp.wait()
        rows.add(TCP, took.wall_s, took.cpu_s + served.cpu_s)

    def idle(self) -> float:
        """Return the CPU seconds of both peers while nobody asks for anything."""
        before = sum(map(cpu_s, self.pids))
        time.sleep(IDLE_S)
        return sum(map(cpu_s, self.pids)) - before


def show(table: Table, nbytes: int, rows: Rows) -> None:
    """Add the rows of one size."""
    both = [sum(pair) for pair in zip(rows.wall["publish"], rows.wall["fetch"], strict=True)]
    cpus = [sum(pair) for pair in zip(rows.cpu["publish"], rows.cpu["fetch"], strict=True)]
    rows.wall["publish + fetch"], rows.cpu["publish + fetch"] = both, cpus
    for label in ("publish", "fetch", "publish + fetch", FIRST, BARE, BARE_LARGE, KEPT, TCP):
        wall, cpu = median(rows.wall[label]), median(rows.cpu[label])
        ratios = [_ratio(rows.wall[other], rows.wall[label]) for other in (BARE, KEPT, TCP)]
        ends = [
            f"{max(rows.memory[key]) / nbytes:.2f}"
            if (key := f"{label}/{end}") in rows.memory
            else ""
            for end in ("client", "peer")
        ]
        speed = f"{nbytes / wall / 1e9:.2f}"
        size = f"{nbytes / 1e6:,.0f}"
        table.add_row(size, label, speed, *ratios, f"{cpu / nbytes * 1e9:.2f}", *ends)
    table.add_section()


def _ratio(other: list[float], ours: list[float]) -> str:
    """Return how many times as fast as another transfer ours was, the median of the pairs."""
    if len(ours) != len(other):
        return ""
    return f"{median(theirs / own for theirs, own in zip(other, ours, strict=True)):.2f}"


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="10 MB, three times")
    parser.add_argument("--megabytes", default="100,1000")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    sizes = [10] if options.quick else [int(text) for text in options.megabytes.split(",")]
    console = Console(width=None if sys.stdout.isatty() else 110)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load average before: {load}", highlight=False)
    table = Table(
        *("MB", "transfer", "GB/s", "of bare", "of kept", "of TCP", "CPU s/GB"),
        *("client mem.", "peer mem."),
    )
    setting = Setting()
    try:
        idle_s = setting.idle()
        for size in sizes:
            rows = setting.measure(size * 10**6, 3 if options.quick else options.repeat)
            show(table, size * 10**6, rows)
    finally:
        setting.close()
    console.print(table)
    console.print(f"two idle peers: {idle_s:.2f} CPU s in {IDLE_S:g} s", highlight=False)
    after = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"load average after: {after}", highlight=False)


if __name__ == "__main__":
    main()
