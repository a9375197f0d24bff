"""A long run with random kills and restarts: what the peers hold on to, and whether numbers hold.

Teleportation of three models over six machines, each a peer process behind a network line of its
own. In one round of ``--every`` something happens to an active node: its client is killed, its
machine is killed and back within a second, its line is mute or cut for a while, its train function
raises. Peers of the first half of the machines are never killed: what they hold is printed over the
run, and must not grow in its last third. No slot may be lost (start again from the initial arrays),
and the result must be that of the dense reference with the same rows missing.

    python benchmarks/soak.py [--rounds N] [--every M] [--seed S]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import numpy as np
from fault_stage import Fault, difference, initial, replay, staged
from process_grid import Machine, usage
from rich.console import Console
from rich.table import Table

from flwr_gossip.server_free.plans import Plan
from flwr_gossip.strategies import Teleportation

NODES, ACTIVE, SEGMENT = 6, 3, 25
SAMPLES = 8
KINDS = (
    ("exit", 0.0),
    ("exit-soon", 0.02),
    ("raise", 0.0),
    ("mute", 0.3),
    ("mute", 1.5),
    ("cut", 0.3),
    ("kill-machine", 0.8),
)


def faults(plan: Plan, every: int, seed: int) -> tuple[Fault, ...]:
    """Return one fault in each ``every`` rounds; machines of the first half are not killed."""
    generator, drawn = np.random.default_rng(seed), []
    for start in range(2, plan.num_rounds - every, every):
        round = start + int(generator.integers(every))
        node = int(generator.choice(plan.active(round)))
        what, value = KINDS[int(generator.integers(len(KINDS) - (node < NODES // 2)))]
        drawn.append(Fault(node, round, what, value, after=bool(generator.integers(2))))
    return tuple(drawn)


COLUMNS = ("peer MB", "peer threads", "peer files", "own files", "own threads", "own MB")
LEAST_S = 20
"""Of a shorter third of a run nothing can be said."""
FLAT = COLUMNS[:-1]  # the result's history of losses is this process's, and grows


class Watch(threading.Thread):
    """Notes what the spared peers and this process use, once a second."""

    def __init__(self, watched: list[Machine]) -> None:
        super().__init__(daemon=True)
        self._watched, self._ended = watched, threading.Event()
        self.notes: list[tuple[float, tuple[float, ...]]] = []

    def run(self) -> None:
        """Note the largest of the peers' memory, threads and files, and this process's own."""
        began = time.monotonic()
        while not self._ended.wait(1.0):
            usages = [machine.usage for machine in self._watched]
            memory, *counts = (max(values) for values in zip(*usages, strict=True))
            own_memory, threads, files = usage(os.getpid())
            own = files, threads, own_memory / 1e6
            self.notes.append((time.monotonic() - began, (memory / 1e6, *counts, *own)))

    def end(self) -> None:
        """Stop noting."""
        self._ended.set()
        self.join()


def grown(notes: list[tuple[float, tuple[float, ...]]]) -> list[str]:
    """Return what never gets as low in the last third as in the second.

    Files of ended processes are closed in batches, so that more or fewer of them say nothing.
    """
    third = len(notes) // 3
    if third < LEAST_S:  # a fault keeps files open for seconds
        return []
    middle, last = (
        np.min([values for _, values in notes[start : start + third]], axis=0)
        for start in (third, 2 * third)
    )
    more = last > 1.05 * middle + 1
    return [name for name, is_more in zip(COLUMNS, more, strict=True) if is_more and name in FLAT]


def main() -> None:
    """Run it and print one table; exit status 1 if a slot was lost, or something grew or is off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--every", type=int, default=20, help="rounds to one fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="100 rounds")
    options = parser.parse_args()
    rounds = 100 if options.quick else options.rounds
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    strategy = Teleportation(
        ACTIVE,
        "ring",
        seed=options.seed,
        rounds_per_message=SEGMENT,
        evaluate_every=rounds,
        fraction_evaluate=0.0,
        min_available_nodes=NODES,
        peer_timeout=0.8,
    )
    drawn = faults(strategy.plan(NODES, rounds), options.every, options.seed)
    with staged(NODES, drawn) as (stage, grid):
        watch = Watch(list(stage.machines[: NODES // 2]))
        watch.start()
        began = time.monotonic()
        result = strategy.start(grid, initial(), rounds, timeout=120.0)
        seconds = time.monotonic() - began
        watch.end()
    off = difference(result, replay(result, rounds))
    lost = [loss for loss in result.losses if loss.used == "initial arrays" and loss.round > 1]
    more = grown(watch.notes)
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table("after, s", *COLUMNS)
    steps = np.linspace(0, len(watch.notes) - 1, SAMPLES).astype(int)
    for when, values in (watch.notes[step] for step in steps):
        table.add_row(f"{when:.0f}", *(f"{value:.4g}" for value in values))
    console.print(table)
    console.print(
        f"{rounds} rounds in {seconds:.0f} s, {len(drawn)} faults, {len(result.losses)} models "
        f"missing, slots lost: {len(lost)}, result of round {result.served_round}, difference to "
        f"the reference {off:.1e}, grown: {', '.join(more) or 'nothing'}",
        *stage.errors,
        highlight=False,
    )
    sys.exit(bool(lost or more or stage.errors or off > 1e-9 or result.served_round != rounds))


if __name__ == "__main__":
    main()
