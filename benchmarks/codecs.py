"""Codecs: the error and the bytes of each on quadratics, and how fast they code.

f_i(x) = 1/2 ||x - b_i||^2 on 25 nodes, gradient noise of variance 1 and heterogeneity 1 (the
setting of ``reproduce_teleportation.py quadratics``, but with the optimum away from 0, where small
numbers would be free). The second part has no noise and equal nodes, so that exact models come to
the optimum: what is left there is the codec's own error floor. Models are float32, coded by the
package's own coders and mixed densely.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from flwr_gossip.server_free import theory
from flwr_gossip.server_free.choco import Copies
from flwr_gossip.server_free.coding import Codec, Coder, Numbers, Plain, coded, numbers
from flwr_gossip.server_free.draws import words
from flwr_gossip.server_free.models import Model, num_bytes
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.topologies import from_spec

NODES, ACTIVE, DIMENSION = 25, 8, 1024
TARGET, START = 1e-2, 10.0
FLOOR_RATES, FLOOR_ROUNDS = (0.1, 0.01), 1200
PLAIN = ("none", "fp16", "bf16", "block-int8:lossy")
NEAREST = " to nearest"
METHODS = {
    "Gossip, ring": (
        *PLAIN,
        f"bf16{NEAREST}",
        f"block-int8:lossy{NEAREST}",
        "choco:fp16",
        "choco:bf16",
        "choco:block-int8",
    ),
    f"Teleportation, k={ACTIVE}": PLAIN,
}

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Course:
    """One run: the error after each round, and the bytes that one node sends a neighbour."""

    errors: NDArray[np.float64]
    message_bytes: int


def plan_of(method: str, num_rounds: int) -> Plan:
    """Return who is active and who mixes."""
    if method.startswith("Gossip"):
        return Plan(from_spec("ring", NODES), AllActive(NODES), num_rounds)
    schedule = Teleport(NODES, ACTIVE, seed=0)
    return Plan(from_spec("one-peer-exponential", ACTIVE), schedule, num_rounds)


class Nearest(Plain):
    """Rounds to nearest, which no strategy does: to show why."""

    def __init__(self, how: Numbers | None) -> None:
        super().__init__(how)
        self._numbers = how

    def write(self, slot: int, round: int, h: Model, *, whole: bool) -> tuple[Model, Model]:
        """Return the message and what its readers see."""
        message = h if self._numbers is None else coded(h, self._numbers)
        return message, self.read(slot, round, message)


def coders_of(text: str, num_slots: int) -> list[Coder]:
    """Return a coder for each slot."""
    codec = Codec(text.removesuffix(NEAREST))
    if text.endswith(NEAREST):
        return [Nearest(codec.numbers) for _ in range(num_slots)]
    if codec.feeds_back and codec.numbers is not None:
        zeros = {"w": np.zeros(DIMENSION, np.float32)}
        how = codec.numbers
        return [Copies(how, lambda: zeros) for _ in range(num_slots)]
    return [Plain(codec.numbers, seed=1) for _ in range(num_slots)]


def run(method: str, text: str, rate: float, rounds: int, noise: float, seed: int = 0) -> Course:
    """Train from 0 to an optimum of squared norm ``START``; ``noise`` is sigma^2 = zeta^2."""
    rng = np.random.default_rng(seed)
    optimum = rng.normal(size=DIMENSION)
    optimum *= np.sqrt(START) / np.linalg.norm(optimum)
    spread = rng.normal(size=(NODES, DIMENSION))
    spread -= spread.mean(axis=0)
    spread *= np.sqrt(noise / np.square(spread).sum(axis=1).mean())
    plan, errors, message = plan_of(method, rounds), [], {}
    coders = coders_of(text, plan.num_slots)
    z = np.zeros((plan.num_slots, DIMENSION), np.float32)
    for t in range(1, rounds + 1):
        targets = (optimum + spread[list(plan.active(t))]).astype(np.float32)
        grains = rng.normal(size=z.shape).astype(np.float32) * np.float32(
            np.sqrt(noise / DIMENSION)
        )
        h: Matrix = z - np.float32(rate) * (z - targets + grains)
        seen = np.empty_like(h)
        for slot, coder in enumerate(coders):
            message, model = coder.write(slot, t, {"w": h[slot]}, whole=False)
            seen[slot] = model["w"]
        z = (plan.topology.matrix(t) @ seen).astype(np.float32)
        if isinstance(coders[0], Copies):
            z += h - seen
        errors.append(float(np.square(z.astype(np.float64) - optimum).sum(axis=1).mean()))
    return Course(np.array(errors), num_bytes(message))


def tuned_rate(method: str) -> float:
    """Return the learning rate with the fewest rounds to the target, by the exact moments."""
    topology = plan_of(method, 1).topology
    noise = {"sigma2": 1.0, "zeta2": 1.0, "start": START}
    num_nodes = None if method.startswith("Gossip") else NODES
    found = theory.rounds_to_reach(TARGET, topology, num_nodes=num_nodes, **noise)
    if found.learning_rate is None:
        raise RuntimeError(f"{method} does not reach {TARGET}")
    return found.learning_rate


def errors_table(quick: bool) -> Table:
    """Return rounds and bytes to the target, the error at the end, and the floors."""
    rounds, floor_rounds = (400, 300) if quick else (800, FLOOR_ROUNDS)
    table = Table(
        title=f"{NODES} nodes, quadratics of {DIMENSION} dimensions, ||x*||^2 = {START:g}"
    )
    table.add_column("method")
    table.add_column("codec")
    columns = (f"rounds to {TARGET:g}", "KB a message", "MB a link to it", f"error at {rounds}")
    floors = tuple(f"floor at lr {rate:g}" for rate in FLOOR_RATES)
    for name in (*columns, *floors):
        table.add_column(name, justify="right")
    for method, codecs in METHODS.items():
        rate = tuned_rate(method)
        for text in codecs:
            course = run(method, text, rate, rounds, noise=1.0)
            below = np.flatnonzero(course.errors < TARGET)
            first = int(below[0]) + 1 if len(below) else None
            bytes_to_it = first * course.message_bytes / 1e6 if first else None
            floor = [run(method, text, r, floor_rounds, noise=0.0) for r in FLOOR_RATES]
            table.add_row(
                f"{method} (lr {rate:.3g})",
                text,
                "never" if first is None else str(first),
                f"{course.message_bytes / 1e3:.2f}",
                "-" if bytes_to_it is None else f"{bytes_to_it:.2f}",
                f"{course.errors[-rounds // 5 :].mean():.1e}",
                *(f"{one.errors[-floor_rounds // 10 :].mean():.0e}" for one in floor),
            )
        table.add_section()
    return table


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median of the CPU seconds that ``work`` takes."""
    found = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return float(np.median(found))


def speed_table(quick: bool) -> Table:
    """Return GB of float32 model a CPU second, next to a copy of the same memory."""
    count, repeats = (1_000_000, 3) if quick else (25_000_000, 5)
    values = np.random.default_rng(0).normal(size=count).astype(np.float32)
    gb = values.nbytes / 1e9
    table = Table(title=f"GB of a float32 model a CPU second, {count:,} numbers")
    table.add_column("codec")
    for name in ("bytes a number", "write, at random", "write, to nearest", "read"):
        table.add_column(name, justify="right")
    copy = f"{gb / cpu_seconds(values.copy, repeats):.1f}"
    table.add_row("none: a copy", "4", copy, copy, copy)
    for text in ("fp16", "bf16", "block-int8"):
        how: Numbers = numbers(text)
        ready = how.encode(values, None)
        bits = words(0, 1, "benchmark")
        seconds = (
            cpu_seconds(lambda how=how, bits=bits: how.encode(values, bits), repeats),
            cpu_seconds(lambda how=how: how.encode(values, None), repeats),
            cpu_seconds(lambda how=how, c=ready: how.decode(c, count, values.dtype), repeats),
        )
        table.add_row(
            text, f"{ready.nbytes / count:.3g}", *(f"{gb / second:.1f}" for second in seconds)
        )
    return table


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and numbers")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load average before: {load}", highlight=False)
    console.print(errors_table(options.quick))
    console.print(speed_table(options.quick))


if __name__ == "__main__":
    if "OMP_NUM_THREADS" not in os.environ:  # threads that wait for each other spend CPU seconds
        os.execve(
            sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"}
        )
    main()
