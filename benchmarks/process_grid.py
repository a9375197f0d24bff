"""A Flower grid whose clients and peers are processes, to be killed, stopped and cut off.

As in a deployment each machine has one long-lived peer, a client process ends with its message, and
a machine that is down answers with Flower's error. Unlike there, a message takes milliseconds, so
that hundreds of runs fit into minutes.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bad_lines import Line, Network
from flwr.app import Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from workers import rss_bytes

from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.simulation import InProcessGrid
from local_processes import free_port

__all__ = ["Machine", "MakeApp", "ProcessGrid", "machines", "usage"]

MakeApp = Callable[..., ClientApp]
START_S = 60.0
POLL_S = 0.005

context = multiprocessing.get_context("forkserver")
# What a process of ours needs is imported once; then one starts in 30 ms instead of 2 s.
context.set_forkserver_preload(
    [
        "flwr.serverapp",
        "flwr_gossip.clients.segments",
        "flwr_gossip.strategies",
        "flwr_gossip.server_free.peers.grpc_link",
        "flwr_gossip.server_free.peers.host",
        "flwr_gossip.server_free.simulation.in_process",
        "grpc.aio",
        "rich.progress",
        "rich.table",
    ]
)


def turn_clock(ahead_s: float) -> None:
    """Let this process's clock be wrong, but for gRPC, of which half sees the real one."""

    def now() -> float:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        return time.clock_gettime(time.CLOCK_REALTIME) + (0 if "grpc" in caller else ahead_s)

    if ahead_s:
        time.time = now


def serve_peer(options: Mapping[str, Any], ahead_s: float, ready: Connection) -> None:
    """Run a peer till this process is killed or the other end of ``ready`` closes."""
    turn_clock(ahead_s)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    with PeerHost(**options):
        ready.send_bytes(b"ready")
        with suppress(EOFError):
            ready.recv_bytes()


def answer_message(
    make_app: MakeApp,
    arguments: tuple[Any, ...],
    num_nodes: int,
    local: str,
    ahead_s: float,
    pipe: Connection,
) -> None:
    """Run one message in this process, as a SuperNode's ClientApp process does."""
    turn_clock(ahead_s)
    message = message_from_proto(ProtoMessage.FromString(pipe.recv_bytes()))
    asked = message.metadata.message_id
    app = make_app(*arguments)
    with InProcessGrid(app, num_nodes, node_config=lambda _: {"gossip-peer": local}) as grid:
        (reply,) = grid.send_and_receive([message])
    reply.metadata.__dict__["_reply_to_message_id"] = asked
    pipe.send_bytes(message_to_proto(reply).SerializeToString())


@dataclass
class Machine:
    """A peer, the line that leads to it, and the client at work, if any.

    Parameters
    ----------
    folder : Path
        For its socket.
    network : Network
        Where its line is drawn.
    options : mapping
        Further keyword arguments of :class:`PeerHost`.
    ahead_s : float
        How much its clock is ahead.
    """

    folder: Path
    network: Network
    options: Mapping[str, Any] = field(default_factory=dict)
    ahead_s: float = 0.0
    is_down: bool = False

    def __post_init__(self) -> None:
        self.port = free_port()
        self.line: Line = self.network.line(self.port)
        self.local = f"unix:{self.folder}/peer.sock"
        self.clients: list[Any] = []
        self._peer: Any = None
        self._hold: Connection | None = None

    def start_peer(self) -> None:
        """Start the peer, at the same addresses each time; returns when it serves."""
        self._hold, ready = context.Pipe()
        options = {
            "listen": f"127.0.0.1:{self.port}",
            "advertise": self.line.address,
            "local": self.local,
            **self.options,
        }
        arguments = (options, self.ahead_s, ready)
        self._peer = context.Process(target=serve_peer, args=arguments, daemon=True)
        self._peer.start()
        ready.close()
        if not self._hold.poll(START_S):
            raise RuntimeError(f"the peer on port {self.port} did not start in {START_S:g} s")
        self._hold.recv_bytes()

    def kill_peer(self) -> None:
        """SIGKILL the peer."""
        self._peer.kill()
        self._peer.join(START_S)

    def signal_peer(self, number: signal.Signals) -> None:
        """Send the peer a signal, SIGSTOP say."""
        os.kill(self._peer.pid, number)

    def kill(self) -> None:
        """SIGKILL everything on this machine; it answers nothing till :meth:`start`."""
        self.is_down = True
        for client in list(self.clients):
            client.kill()
        self.kill_peer()

    def start(self) -> None:
        """Start it again."""
        self.start_peer()
        self.is_down = False

    def stop(self) -> None:
        """End everything that was started here."""
        for client in self.clients:
            client.kill()
            client.join(START_S)
        if self._hold is not None:
            self._hold.close()
        if self._peer is not None:
            self._peer.kill()
            self._peer.join(START_S)

    @property
    def usage(self) -> tuple[int, int, int]:
        """Memory of the peer in bytes, its threads and its open files."""
        return usage(self._peer.pid)


def usage(pid: int) -> tuple[int, int, int]:
    """Return memory in bytes, threads and open files of a process; Linux only."""
    threads, files = (len(os.listdir(f"/proc/{pid}/{kind}")) for kind in ("task", "fd"))
    return rss_bytes(pid), threads, files


@contextmanager
def machines(
    number: int, skew_s: Sequence[float] = (), **options: object
) -> Iterator[tuple[Path, list[Machine]]]:
    """Start the peers of so many machines; i's clock is ``skew_s[i]`` s ahead, if there are any."""
    folder = Path(tempfile.mkdtemp(prefix="flwr-faults-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        network = stack.enter_context(Network())
        started = []
        for node in range(number):
            own = folder / str(node)
            own.mkdir(mode=0o700)
            machine = Machine(own, network, options, skew_s[node] if skew_s else 0.0)
            stack.callback(machine.stop)
            machine.start_peer()
            started.append(machine)
        yield folder, started


class ProcessGrid(InProcessGrid):
    """Sends messages to client processes of ``machines``, one process a message.

    ``make_app(*arguments)`` is called in the client process; both must be picklable by name.
    """

    def __init__(
        self, machines: list[Machine], make_app: MakeApp, arguments: tuple[Any, ...]
    ) -> None:
        super().__init__(ClientApp(), len(machines), max_workers=len(machines))
        self.machines = machines
        self._make = (make_app, arguments, len(machines))
        self._running: dict[str, tuple[Message, Any, Connection | None]] = {}
        self._count = 0
        self._first_id = min(self.get_node_ids())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Start a client process for each message whose machine is up."""
        ids = []
        for message in messages:
            self._count += 1
            identifier = message.metadata.__dict__["_message_id"] = f"m{self._count}"
            self._running[identifier] = self._started(message)
            ids.append(identifier)
        return ids

    def _started(self, message: Message) -> tuple[Message, Any, Connection | None]:
        machine = self.machines[message.metadata.dst_node_id - self._first_id]
        if machine.is_down:
            return message, None, None
        mine, theirs = context.Pipe()
        arguments = (*self._make, machine.local, machine.ahead_s, theirs)
        client = context.Process(target=answer_message, args=arguments, daemon=True)
        client.start()
        theirs.close()
        with suppress(OSError):
            mine.send_bytes(message_to_proto(message).SerializeToString())
        machine.clients = [*(c for c in machine.clients if c.is_alive()), client]
        return message, client, mine

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there, errors for clients that died without one."""
        replies = []
        for identifier in list(message_ids):
            if identifier in self._running:
                reply = self._reply(*self._running[identifier])
                if reply is not None:
                    self._count += 1
                    reply.metadata.__dict__["_message_id"] = f"r{self._count}"
                    replies.append(reply)
                    del self._running[identifier]
        return replies

    def _reply(self, message: Message, client: Any, pipe: Connection | None) -> Message | None:
        if pipe is None:
            error = Error(ErrorCode.NODE_UNAVAILABLE, "the machine is down")
            return Message(error, reply_to=message)
        if not pipe.poll():
            return None
        try:
            reply = message_from_proto(ProtoMessage.FromString(pipe.recv_bytes()))
        except (EOFError, ConnectionError):
            error = Error(ErrorCode.CLIENT_APP_CRASHED, "the client process was killed")
            reply = Message(error, reply_to=message)
        client.join(START_S)
        pipe.close()
        return reply

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push the messages and return the replies that come within ``timeout`` seconds."""
        ids, replies = set(self.push_messages(messages)), []
        deadline = time.monotonic() + (START_S if timeout is None else timeout)
        while ids and time.monotonic() < deadline:
            fresh = list(self.pull_messages(ids))
            ids -= {reply.metadata.reply_to_message_id for reply in fresh}
            replies += fresh
            time.sleep(POLL_S)
        return replies

    def close(self) -> None:
        """End the clients, then the machines' peers."""
        super().close()
        for machine in self.machines:
            machine.stop()
