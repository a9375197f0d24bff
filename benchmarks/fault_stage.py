"""The app that faults happen to, where its clients ask for them, and what must come out.

A client asks the stage (a socket of the benchmark) for the faults of its node and round before and
after it trains, so that each happens at a known point of the run.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from process_grid import Machine, ProcessGrid, machines

from apps import Vector, local_update
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.disk import write_whole
from flwr_gossip.server_free.orders import Loss
from flwr_gossip.server_free.plans import VACANT, Plan
from flwr_gossip.strategies import GossipResult

__all__ = ["Fault", "Stage", "difference", "initial", "replay", "staged", "traces"]

SIZE = 6000
"""Float64 values of the model: 48 kB, more than one piece of a line."""

ASK_S = 30.0
"""How long a client waits for its fault; a machine that starts again is not waited for."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a node's round, before or after it trains.

    ``what`` is something that the client does itself (``exit``, ``exit-midway``, ``exit-soon``,
    ``raise``, ``nan``, ``shape``, ``sleep``) or a method of :class:`Stage`; ``value`` is seconds or
    a number of times.
    """

    node: int
    round: int
    what: str
    value: float = 0.0
    after: bool = False


def initial() -> ArrayRecord:
    """Return the initial arrays."""
    return _record(np.random.default_rng(5).normal(size=SIZE))


def _record(vector: Vector) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.asarray(vector, np.float64))})


def make_app(folder: str, faults: Sequence[Fault]) -> ClientApp:
    """Return the ClientApp."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)  # a run says what went wrong in its result
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        node, round = (
            int(ctxt.node_config["partition-id"]),
            int(msg.content["config"]["server-round"]),
        )
        z = msg.content["arrays"]["w"].numpy().astype(np.float64)
        write_whole(Path(folder) / f"trace-{node}-{round}.bin", [z.tobytes()])
        h = local_update(z, node, round)
        for after in (False, True):
            for fault in faults:
                if (fault.node, fault.round, fault.after) == (node, round, after):
                    h = _suffer(fault, folder, h)
        content = RecordDict({"arrays": _record(h), "metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=msg)

    return app


def _suffer(fault: Fault, folder: str, h: Vector) -> Vector:
    match fault.what:
        case "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit-soon":
            threading.Timer(fault.value, os.kill, (os.getpid(), signal.SIGKILL)).start()
        case "exit-midway":
            threading.Timer(fault.value, os.kill, (os.getpid(), signal.SIGKILL)).start()
            time.sleep(60.0)
        case "raise":
            raise RuntimeError("out of memory")
        case "nan":
            return np.full_like(h, np.nan)
        case "shape":
            return h[:-1]
        case "sleep":
            time.sleep(fault.value)
        case _:
            _ask_stage(folder, fault)
    return h


def _ask_stage(folder: str, fault: Fault) -> None:
    """Return when the fault has happened."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ASK_S)
        line.connect(f"{folder}/stage.sock")
        line.sendall(json.dumps([fault.what, fault.node, fault.value]).encode() + b"\n")
        line.recv(1)


@dataclass
class Stage:
    """Where faults of machines and lines are carried out; a context manager."""

    folder: Path
    machines: Sequence[Machine]
    timers: list[threading.Timer] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        stage = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                what, node, value = json.loads(self.rfile.readline())
                try:
                    getattr(stage, what.replace("-", "_"))(stage.machines[node], value)
                except Exception as error:  # told by the run that it spoils
                    stage.errors.append(f"{what} of node {node}: {error!r}")
                with suppress(OSError):  # who asked may be dead by now
                    self.wfile.write(b".")

        address = str(self.folder / "stage.sock")
        self._server = socketserver.ThreadingUnixStreamServer(address, Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for timer in self.timers:
            timer.cancel()
            timer.join(30.0)
        self._server.shutdown()
        self._server.server_close()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Do ``call`` in ``seconds``."""
        timer = threading.Timer(seconds, call)
        self.timers.append(timer)
        timer.start()

    # ----- what a fault may be; value 0 is for good

    def kill_peer(self, machine: Machine, seconds: float) -> None:
        """Kill the peer; it starts again after ``seconds``."""
        machine.kill_peer()
        if seconds:
            self.later(seconds, machine.start_peer)

    def kill_machine(self, machine: Machine, seconds: float) -> None:
        """Kill peer and client; the machine starts again after ``seconds``."""
        machine.kill()
        if seconds:
            self.later(seconds, machine.start)

    def freeze_peer(self, machine: Machine, seconds: float) -> None:
        """Stop the peer as a machine does that swaps or sleeps."""
        machine.signal_peer(signal.SIGSTOP)
        if seconds:
            self.later(seconds, lambda: machine.signal_peer(signal.SIGCONT))

    def mute(self, machine: Machine, seconds: float) -> None:
        """Let the line accept and carry nothing."""
        self._mode(machine, "mute", seconds)

    def cut(self, machine: Machine, seconds: float) -> None:
        """End all connections on the line, and new ones too."""
        self._mode(machine, "cut", seconds)

    def halve(self, machine: Machine, times: float) -> None:
        """Cut the next answers in their middle, in all connections, open ones too."""
        machine.line.cuts += [SIZE * 4] * int(times)
        self._mode(machine, "cut", 0.0)
        self._mode(machine, "open", 0.0)

    def flip(self, machine: Machine, times: float) -> None:
        """Turn one bit in each of the next answers."""
        machine.line.flips += int(times)

    @staticmethod
    def _set(machine: Machine, mode: str) -> None:
        machine.network.run(machine.line.set_mode(mode))

    def _mode(self, machine: Machine, mode: str, seconds: float) -> None:
        self._set(machine, mode)
        if seconds:
            self.later(seconds, lambda: self._set(machine, "open"))


@contextmanager
def staged(
    num_nodes: int, faults: Sequence[Fault], skew_s: Sequence[float] = (), **options: object
) -> Iterator[tuple[Stage, ProcessGrid]]:
    """Start machines, the stage of their faults and a grid over them; options are of the peers."""
    with machines(num_nodes, skew_s, **options) as (folder, started):
        arguments = (str(folder), tuple(faults))
        with Stage(folder, started) as stage, ProcessGrid(started, make_app, arguments) as grid:
            yield stage, grid


# ----- what must come out


def traces(folder: Path) -> dict[tuple[int, int], Vector]:
    """Return (node, round) -> the z that its train function was given."""
    found = {}
    for file in folder.glob("trace-*.bin"):
        _, node, round = file.stem.split("-")
        found[int(node), int(round)] = np.frombuffer(file.read_bytes(), np.float64)
    return found


def difference(result: GossipResult, z: dict[int, NDArray[np.float64]]) -> float:
    """Return how far the result's arrays are from those of the reference, in its round."""
    served = z[result.served_round][list(result.served_slots)].mean(axis=0)
    return float(np.abs(result.arrays["w"].numpy() - served).max())


def replay(result: GossipResult, num_rounds: int) -> dict[int, NDArray[np.float64]]:
    """Return round -> mixed models (k, d) of the run's plan, with the losses that it reported.

    The dense reference, H = train(W @ H), with the rows masked that did not arrive; where nothing
    of a row came, what the loss says was used.
    """
    plan, x0 = result.plan, initial()["w"].numpy()
    if plan is None:
        raise ValueError("the result has no plan: no round was played")
    lost: dict[tuple[int, int], list[Loss]] = {}
    for loss in result.losses:
        lost.setdefault((loss.round, loss.reader_slot), []).append(loss)
    h = {0: np.tile(x0, (plan.num_slots, 1))}
    z = {0: h[0].copy()}
    for round in range(1, num_rounds + 1):
        h[round] = h[round - 1].copy()
        active = plan.active(round)
        for slot, node in enumerate(active):
            if node != VACANT:
                h[round][slot] = local_update(z[round - 1][slot], node, round)
        w = plan.topology.matrix(round)
        w[:, np.array(active) == VACANT] = 0.0
        z[round] = np.zeros_like(h[round])
        for slot in range(plan.num_slots):
            missing = lost.get((round, slot), [])
            w[slot, [loss.slot for loss in missing]] = 0.0
            total = w[slot].sum()
            if total > 0:
                z[round][slot] = w[slot] @ h[round] / total
            else:
                z[round][slot] = _instead(missing, plan, h)
    return z


def _instead(losses: Sequence[Loss], plan: Plan, h: dict[int, Any]) -> Vector:
    """Return what was used where nothing of a row came."""
    if not losses:  # nobody held a slot of this row, and nobody asked for it
        return h[0][0]
    used = losses[0].used
    if found := re.match(r"slot (\d+) of round (\d+)", used):
        return h[int(found[2])][int(found[1])]
    if found := re.match(r"own model of round (\d+)", used):
        slot = plan.slot(losses[0].reader, int(found[1]))
        return h[int(found[1])][slot]
    return h[0][0]
