"""What a topology costs as it grows: its rows, its spectral gap, its effective neighbors.

One table. Each number is measured in a process of its own, forked from one that has imported all:
CPU seconds (user and system, one thread) and the growth of the peak resident memory
(``resource.getrusage``), with the making of the topology in both. The rows are 1,000 of the n, or
all of fewer. n_W is that at gamma 0.95, of the mean node, and how it was found, with its standard
error where probes were drawn; then the same of the worst node.

    python benchmarks/topology_scale.py [--sizes 100 1000 10000 100000] [--only SPEC ...] [--quick]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt, log
from multiprocessing.connection import Connection

import scipy.interpolate
import scipy.linalg
import scipy.optimize
import scipy.sparse.linalg  # noqa: F401  (imported here so that no measurement pays for it)
from rich.console import Console
from rich.table import Table

from flwr_gossip.server_free import theory
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.topologies import Topology, from_spec

GAMMA = 0.95
NUM_ROWS = 1_000
SIZES = (100, 1_000, 10_000, 100_000)
FORMS = (
    "ring",
    "torus",
    "hypercube",
    "exponential",
    "one-peer-exponential",
    "random-regular:4",
    "star",
    "base-graph:1",
    "binary-tree",
    "grid",
    "small-world:4,0.1",
    "erdos-renyi",
)
UNAVOIDABLE = "-- dense unavoidable"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step gave (text), and what it cost."""

    result: str
    seconds: float
    peak_mib: float

    def cells(self) -> tuple[str, str]:
        """Return seconds and MiB as text."""
        return f"{self.seconds:.3f}", f"{self.peak_mib:.0f}" if self.peak_mib >= 1 else "< 1"


def sized(form: str, num_nodes: int) -> tuple[str, int]:
    """Return a spec of the form and the number of nodes nearest to the given one that it takes."""
    if form in ("torus", "grid"):
        rows = next(r for r in range(isqrt(num_nodes), 0, -1) if num_nodes % r == 0)
        return f"{form}:{rows}x{num_nodes // rows}", num_nodes
    if form == "hypercube":
        return form, 2 ** round(log(num_nodes, 2))
    if form == "erdos-renyi":
        return f"{form}:{2 * log(num_nodes) / num_nodes:.2g}", num_nodes
    return form, num_nodes


def rows(topology: Topology) -> str:
    """Read the rows, of nodes and phases spread evenly."""
    for index in range(min(NUM_ROWS, topology.num_nodes)):
        node = index * topology.num_nodes // min(NUM_ROWS, topology.num_nodes)
        topology.weights(node, 1 + index % (topology.period or 1))
    return ""


def gap(topology: Topology) -> str:
    """Return the spectral gap."""
    return f"{theory.spectral_gap(topology):.3g}"


def mean_neighbors(topology: Topology) -> str:
    """Return n_W and how it was found."""
    found = theory.effective_neighbors_estimate(topology, GAMMA)
    error = f" +- {100 * found.relative_error:.1f} %" if found.relative_error else ""
    return f"{found.value:.2f}|{found.method}{error}"


def worst_neighbors(topology: Topology) -> str:
    """Return n_W of the worst node, or that it takes a dense matrix."""
    try:
        return f"{theory.effective_neighbors(topology, GAMMA, mode='worst'):.2f}"
    except PlanError:
        return UNAVOIDABLE


def measure(step: Callable[[Topology], str], spec: str, num_nodes: int) -> Measured:
    """Take the step in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, step, spec, num_nodes))
    child.start()
    theirs.close()
    try:
        measured: Measured = ours.recv()
    except EOFError:
        measured = Measured("failed|failed", float("nan"), float("nan"))
    child.join()
    return measured


def _child(pipe: Connection, step: Callable[[Topology], str], spec: str, num_nodes: int) -> None:
    peak, begun = _peak_mib(), time.process_time()
    result = step(from_spec(spec, num_nodes))
    pipe.send(Measured(result, time.process_time() - begun, _peak_mib() - peak))


def _peak_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main() -> None:
    """Measure every form at every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of nodes")
    parser.add_argument("--only", nargs="+", default=FORMS, metavar="SPEC", help="topologies")
    parser.add_argument("--quick", action="store_true", help="100 and 1,000 nodes only")
    options = parser.parse_args()
    # Wide enough for the table also where the output is a file.
    console = Console(width=None if sys.stdout.isatty() else 150)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load average before: {load}", highlight=False)
    table = Table("topology", "n", title=f"CPU seconds, peak MiB; n_W at gamma {GAMMA}")
    for name in ("1,000 rows: s", "MiB", "gap: s", "MiB", "gap", "n_W: s", "MiB", "n_W"):
        table.add_column(name, justify="right")
    table.add_column("n_W found by")
    table.add_column("n_W of the worst node", justify="right")
    for size in (100, 1_000) if options.quick else options.sizes:
        for form in options.only:
            spec, n = sized(form, size)
            steps = (rows, gap, mean_neighbors, worst_neighbors)
            read, spectrum, mean, worst = (measure(step, spec, n) for step in steps)
            value, method = mean.result.split("|")
            table.add_row(
                *(spec, f"{n:,}", *read.cells(), *spectrum.cells(), spectrum.result),
                *(*mean.cells(), value, method, worst.result),
            )
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    if "OMP_NUM_THREADS" not in os.environ:  # threads that wait for each other spend CPU seconds
        os.execve(
            sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"}
        )
    main()
