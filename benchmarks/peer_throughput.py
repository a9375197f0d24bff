"""Gigabytes a second of a large model through the peers, next to bare gRPC and raw TCP.

Real processes on loopback: a client with its peer, which publishes, and another client with its
peer, which fetches. In the same run, in turn with those, the same number of bytes goes through a
bare grpc.aio stream (messages of the same size, default options, and a reader that throws all away)
and through a TCP socket into one buffer, each between two processes. All times are medians over the
repetitions, the ratio is to the bare gRPC stream. CPU seconds are of all processes of a transfer
together, per gigabyte. Memory is the peak at each end beyond what it had before, in models; the
publishing client's own arrays are not counted, the reader's result is, and so is what the peer
keeps for its readers (in its process, and in files in memory). The last row is a peer with a model
and two attached clients, which nobody asks for anything: its CPU seconds in ten seconds.

    python benchmarks/peer_throughput.py [--quick] [--megabytes 100,1000] [--repeat N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
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
from flwr_gossip.server_free.peers.process import PeerProcess

KEY = b"k" * 32
NUM_TENSORS = 8
MAX_BYTES = 8 << 30
IDLE_S = 10.0
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
METHOD = "/bare.Stream/Get"


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
        self.server: Any = None

    def start(self) -> int:
        """Listen; returns the port."""
        return self._loop.run_until_complete(self._start())

    async def _start(self) -> int:
        handler = grpc.unary_stream_rpc_method_handler(_stream_zeros)
        service = grpc.method_handlers_generic_handler("bare.Stream", {"Get": handler})
        self.server = grpc.aio.server(options=UNLIMITED)
        self.server.add_generic_rpc_handlers((service,))
        port: int = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return port

    def serve(self, seconds: float) -> None:
        """Serve for a while."""
        self._loop.run_until_complete(asyncio.sleep(seconds))


async def _stream_zeros(request: bytes, context: Any) -> None:
    chunk = bytes(CHUNK_BYTES)
    for _ in range(int(request) // CHUNK_BYTES):
        await context.write(chunk)


class Reader:
    """Reads from the bare servers."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def bare(self, port: int, nbytes: int) -> None:
        """Read the gRPC stream."""
        asyncio.run(self._bare(port, nbytes))

    async def _bare(self, port: int, nbytes: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
            call = channel.unary_stream(METHOD)(str(nbytes).encode())
            while await call.read() is not grpc.aio.EOF:
                pass

    def tcp(self, port: int, nbytes: int) -> None:
        """Read a socket into one buffer."""
        if len(self._buffer) != nbytes:
            self._buffer = bytearray(nbytes)
        buffer = memoryview(self._buffer)
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

    def close(self) -> None:
        """End them."""
        for worker in (*self.clients, self.bare, self.tcp, self.reader):
            worker.__exit__(None, None, None)
        for peer in self.peers:
            peer.stop()

    def measure(self, nbytes: int, repeat: int) -> Rows:
        """Do each transfer ``repeat`` times in turn, after one that is not counted."""
        rows = Rows()
        self.clients[0].ask("make", nbytes)
        for number in range(repeat + 1):
            into = rows if number else Rows()
            self.round += 1
            self._publish(into)
            self._fetch(into)
            self._bare(into, nbytes)
            self._tcp(into, nbytes)
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
        rows.add(
            "fetch", took.wall_s, took.cpu_s + peer_cpu, client=took.extra_bytes, peer=peer_bytes
        )

    def _beside(self, call: Callable[[], Took]) -> tuple[Took, float, int]:
        """Call, and return what it took, and the CPU seconds and bytes of the serving peer."""
        pid = self.pids[0]
        reset_peak(pid)
        cpu, memory, files = cpu_s(pid), rss_bytes(pid), file_bytes(pid)
        took = call()
        more = max(0, peak_bytes(pid) - memory) + max(0, file_bytes(pid) - files)
        return took, cpu_s(pid) - cpu, more

    def _bare(self, rows: Rows, nbytes: int) -> None:
        cpu = cpu_s(self.bare.pid)
        self.bare.start("serve", 0.2 + 20 * nbytes / 1e9)
        took = self.reader.ask("bare", self.bare_port, nbytes)
        used = cpu_s(self.bare.pid) - cpu
        self.bare.wait()
        rows.add("bare gRPC stream", took.wall_s, took.cpu_s + used)

    def _tcp(self, rows: Rows, nbytes: int) -> None:
        self.tcp.start("serve", nbytes)
        took = self.reader.ask("tcp", self.tcp_port, nbytes)
        served = self.tcp.wait()
        rows.add("raw TCP", took.wall_s, took.cpu_s + served.cpu_s)

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
    order = ("publish", "fetch", "publish + fetch", "bare gRPC stream", "raw TCP")
    for label in order:
        wall, cpu = median(rows.wall[label]), median(rows.cpu[label])
        paired = zip(rows.wall["bare gRPC stream"], rows.wall[label], strict=True)
        ratio = median(bare / ours for bare, ours in paired)
        ends = [
            f"{max(rows.memory[key]) / nbytes:.2f}"
            if (key := f"{label}/{end}") in rows.memory
            else ""
            for end in ("client", "peer")
        ]
        speed = f"{nbytes / wall / 1e9:.2f}"
        size = f"{nbytes / 1e6:,.0f} MB"
        table.add_row(size, label, speed, f"{ratio:.2f}", f"{cpu / nbytes * 1e9:.2f}", *ends)
    table.add_section()


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="10 MB, three times")
    parser.add_argument("--megabytes", default="100,1000")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    sizes = [10] if options.quick else [int(text) for text in options.megabytes.split(",")]
    console = Console()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load average before: {load}", highlight=False)
    table = Table(
        *("model", "transfer", "GB/s", "of bare gRPC", "CPU s/GB"),
        *("client memory, models", "peer memory, models"),
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
