"""What a simulated round costs: the vectorized runtime, and where its time goes.

One run, on scikit-learn's digits:

- decentralized SGD on a ring of 256 nodes, an MLP 64-256-128-10 (50,826 parameters), 64 samples a
  node, one step of batch 32 a round; beside it a plain loop over stacked weights (``torch.bmm``,
  autograd, dense ``W @ H``) that does the same, in turns with it;
- the parts of that round beside what the machine could do: the arithmetic at the speed of a large
  matrix product, the traffic at the speed of a large copy, both measured in the run; and the
  gradients' products alone, by ``torch.bmm`` on the same shapes;
- Teleportation with 16 active of 100 nodes and of 100,000: time of a round, and memory.
- how far the in-process runtime, the vectorized runtime and the dense definition of a round are
  apart on one problem without chance: the largest difference of any parameter of any node.

Measured on two shared cores, one thread: 69 to 73 CPU ms a round, a third of the stacked loop's,
where all parts at the limits would take 35 (2.2 GFLOP at 95 GFLOP/s, and 0.26 GB at 22 GB/s). Of
the 34 that lie between, 31 are in the gradients. 84 % of these are ``torch.bmm``, which on a node's
small matrices (32 x 64 x 256 and less, 64 nodes a call) makes half the speed of a large product;
the rest is element-wise work on activations, which fits the cache. Mixing takes twice its limit,
which counts a row's reading once, not for each of its readers; the update beats its limit, as a
chunk's gradients are still in the cache. torch.func itself costs little once a shape is recorded.
With two threads on busy cores CPU seconds grow several times: threads wait for each other.

Seconds are medians a round; CPU seconds are of all threads. "At best" is the least of the rounds,
which says more when other programs use the machine.

    python benchmarks/simulator.py [--quick]
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import torch
from agreement import disagreements
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from workers import peak_bytes, reset_peak, rss_bytes

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive
from flwr_gossip.server_free.simulation import NodeData, simulate
from flwr_gossip.server_free.simulation.batched import BatchedModel
from flwr_gossip.server_free.simulation.mixing_rows import Mixer
from flwr_gossip.server_free.simulation.optimizers import SGD
from flwr_gossip.server_free.simulation.sampling import draw_batches
from flwr_gossip.strategies import Gossip, Teleportation

NUM_NODES, SAMPLES, BATCH, CHUNK = 256, 64, 32, 64
WIDTHS = (64, 256, 128, 10)
RATE = 0.05
WARM_UP = 160  # calls of a shape: by then the runtime has recorded its operations
loss = nn.functional.cross_entropy


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU and wall seconds of each of some rounds."""

    cpu: list[float]
    wall: list[float]

    @property
    def best_cpu_s(self) -> float:
        """CPU seconds of the cheapest round."""
        return min(self.cpu)

    @property
    def cpu_s(self) -> float:
        """Median CPU seconds."""
        return float(np.median(self.cpu))

    @property
    def wall_s(self) -> float:
        """Median wall seconds."""
        return float(np.median(self.wall))

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of the rounds of both."""
        return Cost(self.cpu + other.cpu, self.wall + other.wall)


def timed(step: Callable[[], Any], times: int) -> Cost:
    """Return what each of some calls costs, after one that is not counted."""
    step()
    clocks = [(time.process_time(), time.perf_counter())]
    for _ in range(times):
        step()
        clocks.append((time.process_time(), time.perf_counter()))
    return between(clocks)


def between(clocks: list[tuple[float, float]]) -> Cost:
    """Return the differences of successive (CPU, wall) clocks."""
    cpu, wall = np.diff(np.array(clocks), axis=0).T
    return Cost(cpu.tolist(), wall.tolist())


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the 1,797 images and their labels."""
    inputs, targets = load_digits(return_X_y=True)
    return (inputs / 16).astype(np.float32), targets


def node_data(num_nodes: int) -> NodeData:
    """Return 64 images for each node."""
    inputs, targets = digits()
    draw = np.random.default_rng(0)
    return NodeData.from_partition(
        inputs, targets, draw.integers(0, len(inputs), (num_nodes, SAMPLES))
    )


def mlp() -> nn.Module:
    """Return the network, the same each time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(WIDTHS):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def simulated(data: NodeData, strategy: Any, warm_up: int, rounds: int) -> Cost:
    """Return what a round of ``simulate`` costs; the learning rate is asked for once a round."""
    clocks: list[tuple[float, float]] = []

    def rate(round: int) -> float:
        clocks.append((time.process_time(), time.perf_counter()))
        return RATE

    total = warm_up + rounds
    simulate(
        mlp(), loss, data, strategy, num_rounds=total, learning_rate=rate, evaluate_every=total
    )
    return between(clocks[warm_up - 1 :])


def stacked_round(data: NodeData) -> Callable[[], None]:
    """Return a round of the plain loop: one graph over stacked weights, and dense mixing."""
    mixing = torch.from_numpy(topologies.ring(NUM_NODES).matrix(1)).float()
    weights = [p.detach().repeat(NUM_NODES, *[1] * p.ndim) for p in mlp().parameters()]
    nodes = np.arange(NUM_NODES)
    sizes = np.full(NUM_NODES, SAMPLES)
    rounds = iter(range(1, 1 << 30))

    def step() -> None:
        positions = draw_batches(0, next(rounds), 1, nodes, sizes, BATCH)[0]
        x, y = data.batch(nodes, positions)
        leaves = [weight.requires_grad_() for weight in weights]
        for layer in range(0, len(leaves), 2):
            x = torch.baddbmm(leaves[layer + 1][:, None], x, leaves[layer].transpose(1, 2))
            x = x.relu() if layer < len(leaves) - 2 else x
        total = loss(x.flatten(0, 1), y.flatten(), reduction="sum") / BATCH
        gradients = torch.autograd.grad(total, leaves)
        with torch.no_grad():
            for place, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
                moved = leaf - RATE * gradient
                weights[place] = (mixing @ moved.flatten(1)).view_as(moved)

    return step


def parts(data: NodeData, times: int) -> Iterator[tuple[str, Cost, float, float]]:
    """Yield (name, cost, floating-point operations, bytes moved) of the parts of a round."""
    model = BatchedModel(mlp(), loss, torch.device("cpu"))
    z = model.start.repeat(NUM_NODES, 1)
    h = z.clone()
    plan = Plan(topologies.ring(NUM_NODES), AllActive(NUM_NODES), 10)
    mixer = Mixer(plan, torch.float32, torch.device("cpu"))
    nodes, sizes = np.arange(NUM_NODES), np.full(NUM_NODES, SAMPLES)
    positions = draw_batches(0, 1, 1, nodes, sizes, BATCH)[0]
    chunks = [slice(first, first + CHUNK) for first in range(0, NUM_NODES, CHUNK)]
    batches = [data.batch(nodes[chunk], positions[chunk]) for chunk in chunks]
    views = [model.layout.views(z[chunk]) for chunk in chunks]

    def gradients() -> list[Any]:
        return [model.gradients(v, *batch)[0] for v, batch in zip(views, batches, strict=True)]

    for _ in range(WARM_UP * CHUNK // NUM_NODES):
        found = gradients()
    optimizer = SGD(1e-9)
    size = h.numel() * h.element_size()
    macs = BATCH * sum(a * b for a, b in pairwise(WIDTHS))
    # Forward, gradients of the weights, and of the inputs of all layers but the first.
    operations = 2.0 * NUM_NODES * (3 * macs - BATCH * WIDTHS[0] * WIDTHS[1])
    yield "mixing", timed(lambda: mixer.mix(h, 1, z), times), 2.0 * 3 * h.numel(), 2.0 * size
    yield (
        "drawing batches",
        timed(lambda: draw_batches(0, 1, 1, nodes, sizes, BATCH), times),
        0.0,
        0.0,
    )
    yield (
        "gathering batches",
        timed(lambda: [data.batch(nodes[c], positions[c]) for c in chunks], times),
        0.0,
        2.0 * NUM_NODES * BATCH * WIDTHS[0] * 4,
    )
    yield "gradients", timed(gradients, times), operations, 2.0 * size

    def update() -> None:
        for v, g in zip(views, found, strict=True):
            optimizer.step(v, g, None, 1e-9)

    yield "update", timed(update, times), 2.0 * h.numel(), 3.0 * size


def products(times: int) -> Cost:
    """Return what the gradients' matrix products cost, by ``torch.bmm`` on the same shapes."""
    draw = torch.Generator().manual_seed(0)
    layers = [
        [torch.randn(CHUNK, *shape, generator=draw) for shape in ((BATCH, a), (a, b), (BATCH, b))]
        for a, b in pairwise(WIDTHS)
    ]

    def step() -> None:
        for _ in range(NUM_NODES // CHUNK):
            for place, (x, weight, gradient) in enumerate(layers):
                torch.bmm(x, weight)
                torch.bmm(x.transpose(1, 2), gradient)
                if place:
                    torch.bmm(gradient, weight.transpose(1, 2))

    return timed(step, times)


def limits(times: int) -> tuple[float, float]:
    """Return (floating-point operations, bytes) a CPU second: a large product, a large copy."""
    a = torch.randn(1536, 1536, generator=torch.Generator().manual_seed(0))
    product = torch.empty_like(a)
    source = torch.zeros(1 << 25)
    target = torch.zeros(1 << 25)
    flops = 2.0 * 1536**3 / timed(lambda: torch.mm(a, a, out=product), times).best_cpu_s
    copied = 2.0 * 4 * (1 << 25) / timed(lambda: target.copy_(source), times).best_cpu_s
    return flops, copied


def peak_memory(num_nodes: int) -> float:
    """Return how many MB 20 rounds of Teleportation add to a process of their own: a median."""
    command = [sys.executable, __file__, "--peak", str(num_nodes)]
    done = (subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(7))
    return median(float(each.stdout.split()[-1]) for each in done)


def print_peak(num_nodes: int) -> None:
    """Train in this process, and print how much its memory grew at most, beside the data."""
    # A first run, so that what torch takes once is not counted.
    simulate(mlp(), loss, node_data(20), Teleportation(2), num_rounds=2, learning_rate=RATE)
    data = node_data(num_nodes)
    pid = os.getpid()
    reset_peak(pid)
    before = rss_bytes(pid)
    simulate(mlp(), loss, data, Teleportation(16), num_rounds=20, learning_rate=RATE)
    print(max(0, peak_bytes(pid) - before) / 2**20)


def ring_rows(data: NodeData, rounds: int, turns: int) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the ring: this runtime and the stacked loop, in turns."""
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ours, plain = Cost([], []), Cost([], [])
        for _ in range(turns):
            ours += simulated(data, Gossip("ring"), WARM_UP * CHUNK // NUM_NODES, rounds)
            plain += timed(stacked_round(data), rounds)
        label = f"{threads} thread{'s' if threads > 1 else ''}"
        yield row(
            f"D-SGD, ring of 256, {label}", ours, f"{ours.cpu_s / plain.cpu_s:.2f} of stacked"
        )
        yield row(f"stacked matmul loop, {label}", plain, "")
    torch.set_num_threads(1)


def teleport_rows(rounds: int, turns: int) -> Iterator[tuple[str, ...]]:
    """Yield the rows of Teleportation, few nodes and many in turns."""
    sizes = (100, 100_000)
    data = {num_nodes: node_data(num_nodes) for num_nodes in sizes}
    costs = {num_nodes: Cost([], []) for num_nodes in sizes}
    for _ in range(turns):
        for num_nodes in sizes:
            costs[num_nodes] += simulated(data[num_nodes], Teleportation(16), WARM_UP, 4 * rounds)
    for num_nodes in sizes:
        ratio = costs[num_nodes].cpu_s / costs[sizes[0]].cpu_s
        name = f"Teleportation, 16 of {num_nodes:,}"
        yield row(
            name,
            costs[num_nodes],
            f"{ratio:.2f} of n=100; {peak_memory(num_nodes):.0f} MB beside the data",
        )


def agreement_rows() -> Iterator[tuple[str, ...]]:
    """Yield how far three ways to compute one training are apart."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    inputs, targets = digits()
    order = np.argsort(targets[: 16 * SAMPLES], kind="stable").reshape(16, SAMPLES)
    pairs = [
        (torch.from_numpy(inputs[own]).double(), torch.from_numpy(targets[own])) for own in order
    ]
    for strategy in (Gossip("ring"), Teleportation(4)):
        apart = disagreements(mlp(), pairs, strategy, 20, RATE)
        for names, value in apart.items():
            name = f"{type(strategy).__name__}, 16 nodes: {names}"
            yield (name, "", "", "", f"{value:.1e} apart at most, float64, 20 rounds")


def row(name: str, cost: Cost, remark: str) -> tuple[str, ...]:
    """Return a row of the table."""
    cells = (cost.cpu_s, cost.best_cpu_s, cost.wall_s)
    return (name, *(f"{1e3 * cell:.1f}" for cell in cells), remark)


def part_rows(data: NodeData, times: int) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the parts, with what the machine's limits would allow."""
    flops, copied = limits(times)
    floors = 0.0
    for name, cost, operations, moved in parts(data, times):
        floor = max(operations / flops, moved / copied)
        floors += floor
        yield row(f"  part: {name}", cost, f"limit {1e3 * floor:.1f} ms")
        if name == "gradients":
            alone = products(times)
            speed = operations / alone.best_cpu_s / 1e9
            yield row("    their products alone", alone, f"torch.bmm at {speed:.0f} GFLOP/s")
    remark = f"{flops / 1e9:.0f} GFLOP/s in a product, {copied / 1e9:.1f} GB/s in a copy, a core"
    yield ("  all parts at the limits", "", f"{1e3 * floors:.1f}", "", remark)


def main() -> None:
    """Measure all, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print_peak(options.peak)
        return
    rounds, turns = (15, 2) if options.quick else (40, 4)
    data = node_data(NUM_NODES)
    table = Table(title="A simulated round")
    table.add_column("")
    for title in ("CPU ms", "at best", "wall ms"):
        table.add_column(title, justify="right")
    table.add_column("")
    sections = (
        ring_rows(data, rounds, turns),
        part_rows(data, rounds),
        teleport_rows(rounds, turns),
        agreement_rows(),
    )
    for section in sections:
        for cells in section:
            table.add_row(*cells)
        table.add_section()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
