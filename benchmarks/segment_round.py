"""What a round of gossip costs beyond the training, inside a segment, in processes on loopback.

A ring of nodes, each a client process and a peer process of its own. The clients do what a
ClientApp does within a segment (gather the sources, mix, publish), with a train function that only
adds a number to each tensor in place: that is not counted. A round's time is the median over all
nodes and rounds but the first few. CPU seconds are those of all clients and peers together, a round
and node. Memory is the peak of one client beyond what it had before it began, in models; it holds
its own model and what it makes of its neighbours'.

The row of 10 million parameters and 4 nodes is the setting in which NVFlare 2.9's peer-to-peer
D-SGD took 1.9 s an iteration (measured November 2026, NVFlare 2.9, two shared cores; its messages
are relayed through its server), against 0.154 s at 62 thousand parameters.

    python benchmarks/segment_round.py [--quick] [--cases 4:60000,8:60000,...] [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table
from workers import Worker, cpu_s

from flwr_gossip.server_free import models, topologies
from flwr_gossip.server_free.peers.links import Membership, ModelId, Patience, connect
from flwr_gossip.server_free.peers.process import PeerProcess
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive

KEY = b"k" * 32
CASES = "4:60000,8:60000,16:60000,4:1000000,8:1000000,4:10000000,4:100000000"
QUICK = "4:60000,4:1000000"
WARM_UP = 3
NUM_TENSORS = 6
MAX_BYTES = 8 << 30
SLOWEST_PARAMETERS_PER_S = 2e7


class Node:
    """The client of one node."""

    def __init__(
        self, local: str, node: int, addresses: tuple[str, ...], parameters: int, rounds: int
    ) -> None:
        from flwr_gossip.clients.gate import Gate
        from flwr_gossip.clients.gathering import Gatherer, Latest

        self._latest = Latest
        self._link = connect(local, Membership("t", KEY, node, "s", addresses, 1, rounds))
        count = len(addresses)
        self._plan = Plan(topologies.from_spec("ring", num_nodes=count), AllActive(count), rounds)
        sizes = np.full(NUM_TENSORS, parameters // NUM_TENSORS)
        rng = np.random.default_rng(node)
        self._model = {f"layer{i}": rng.random(size, np.float32) for i, size in enumerate(sizes)}
        signature = models.digest(models.signature(self._model))
        gate = Gate(self._link, Patience(), signature)
        self._gatherer = Gatherer(self._plan, node, self._link, Patience(), gate)
        self._node = node

    def play(self, rounds: int) -> list[float]:
        """Play the rounds and return the seconds of each, without the training."""
        z, seconds = self._model, []
        self._model = {}
        for round in range(1, rounds + 1):
            began = time.perf_counter()
            if round > 1:
                z = self._gatherer.mixed(self._node, round - 1)
            gathered = time.perf_counter()
            for array in z.values():
                array += np.float32(0.01)
            trained = time.perf_counter()
            id = ModelId(round, self._node, self._node)
            self._link.publish(id, z, self._plan.readers(self._node, round))
            self._gatherer.latest = self._latest(id, z, z)
            seconds.append(time.perf_counter() - began - (trained - gathered))
        if self._gatherer.losses:
            raise RuntimeError(f"models were missing: {self._gatherer.losses[0]}")
        return seconds

    def close(self) -> None:
        """Detach."""
        self._link.close()


def measure(nodes: int, parameters: int, rounds: int) -> tuple[float, float, float, float]:
    """Return seconds a round (median and ninth decile), CPU seconds a node-round, peak memory."""
    with ExitStack() as stack:
        peers = [stack.enter_context(PeerProcess(MAX_BYTES)) for _ in range(nodes)]
        addresses = tuple(peer.address for peer in peers)
        workers = [
            stack.enter_context(
                Worker(Node, peer.local_address, node, addresses, parameters, rounds)
            )
            for node, peer in enumerate(peers)
        ]
        pids = [peer._process.pid for peer in peers if peer._process is not None]
        pids += [worker.pid for worker in workers]
        before = sum(map(cpu_s, pids))
        for worker in workers:
            worker.start("play", rounds)
        took = [worker.wait() for worker in workers]
        used = sum(map(cpu_s, pids)) - before
    seconds = sorted(value for one in took for value in one.result[WARM_UP:])
    memory = max(one.extra_bytes for one in took) / (4 * parameters)
    return median(seconds), seconds[int(0.9 * len(seconds))], used / rounds / nodes, memory


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK}")
    parser.add_argument("--cases", default=CASES, help="nodes:parameters, with commas")
    parser.add_argument("--rounds", type=int, default=100, help="at most; fewer of large models")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table("nodes", "parameters", "rounds", "median ms", "9th decile ms")
    for column in ("CPU ms a node-round", "client memory, models", "load before"):
        table.add_column(column)
    for case in (QUICK if options.quick else options.cases).split(","):
        nodes, parameters = map(int, case.split(":"))
        few = int(SLOWEST_PARAMETERS_PER_S * 20 / parameters / nodes)
        rounds = max(WARM_UP + 4, min(options.rounds, few))
        load = os.getloadavg()[0]
        middle, late, cpu, memory = measure(nodes, parameters, rounds)
        table.add_row(
            *(str(nodes), f"{parameters:,}", str(rounds), f"{1e3 * middle:,.1f}"),
            *(f"{1e3 * late:,.1f}", f"{1e3 * cpu:,.1f}", f"{memory:.1f}", f"{load:.1f}"),
        )
    console.print(table)


if __name__ == "__main__":
    main()
