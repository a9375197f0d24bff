"""Teleportation against D-SGD on quadratics: rounds to a target, in theory and in simulation.

The setting of the reference table: f_i(x) = 1/2 ||x - b_i||^2, gradient noise of variance sigma^2,
heterogeneity zeta^2 = (1/n) sum ||b_i - mean b||^2, all slots start at the same x0 with
||x0 - mean b||^2 = 10; rounds until the mean squared error of the nodes' mixed models is below
1e-2. Learning rate and number of active nodes are tuned for each method by the exact moments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from flwr_gossip.server_free import theory
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.topologies import from_spec

__all__ = ["MOST", "Row", "Run", "Setting", "interval", "measure", "rows"]

TARGET, START = 1e-2, 10.0
DIMENSION = 16
MOST, UNREACHED = 100_000, -1
METHODS = ("D-SGD", "Teleportation")
TOPOLOGIES = ("ring", "one-peer-exponential")


@dataclass(frozen=True, slots=True)
class Setting:
    """The noise of a table: variance of the gradients and heterogeneity of the data."""

    sigma2: float
    zeta2: float


@dataclass(frozen=True, slots=True)
class Row:
    """One method, topology and n: tuned, predicted, and measured over seeds."""

    method: str
    topology: str
    num_nodes: int
    setting: Setting
    num_active: int
    learning_rate: float
    exact: int
    """Rounds, ``UNREACHED`` when more than ``MOST`` would be needed."""

    @property
    def reached(self) -> bool:
        """Whether the method comes to the target at all."""
        return self.exact != UNREACHED


@dataclass(frozen=True, slots=True)
class Run:
    """One simulated run: its error at the predicted round, and the round it took to the target."""

    error: float
    rounds: int


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % confidence interval (Student's t)."""
    found = np.asarray(values, float)
    if len(found) < 2:
        return float(found.mean()), float("nan")
    factor = student.ppf(0.975, len(found) - 1)
    return float(found.mean()), float(factor * found.std(ddof=1) / np.sqrt(len(found)))


def rows(sizes: Sequence[int], setting: Setting) -> Iterator[Row]:
    """Yield the tuned methods, topology by topology."""
    noise = {"sigma2": setting.sigma2, "zeta2": setting.zeta2, "start": START}
    for topology in TOPOLOGIES:
        for method in METHODS:
            for n in sizes:
                if method == "D-SGD":
                    tuned = theory.rounds_to_reach(TARGET, from_spec(topology, n), **noise)
                else:
                    tuned = theory.best_num_active(TARGET, topology, n, **noise)
                rounds = UNREACHED if tuned.rounds is None else tuned.rounds
                rate = tuned.learning_rate or float("nan")
                yield Row(method, topology, n, setting, tuned.num_active, rate, rounds)


def measure(row: Row, seed: int) -> Run:
    """Simulate one run, up to twice the predicted rounds."""
    plan = _plan(row, seed)
    rng = np.random.default_rng(seed)
    b = _centred(rng, row.num_nodes, row.setting.zeta2)
    direction = rng.normal(size=DIMENSION)
    x0 = np.sqrt(START) * direction / np.linalg.norm(direction)
    z = np.tile(x0, (plan.num_slots, 1))
    scale = np.sqrt(row.setting.sigma2 / DIMENSION)
    error, first = float("nan"), 0
    matrices = [plan.topology.sparse(t) for t in range(1, (plan.topology.period or 0) + 1)]
    for round in range(1, 2 * row.exact + 1):
        targets = b[list(plan.active(round))]
        noise = scale * rng.normal(size=z.shape)
        h = z - row.learning_rate * (z - targets + noise)
        z = matrices[plan.topology.phase(round)] @ h
        now = float(np.square(z).sum(axis=1).mean())
        error = now if round == row.exact else error
        first = round if not first and now < TARGET else first
        if first and round >= row.exact:
            break
    return Run(error, first or 2 * row.exact)


def _plan(row: Row, seed: int) -> Plan:
    if row.method == "D-SGD":
        schedule: AllActive | Teleport = AllActive(row.num_nodes)
    else:
        schedule = Teleport(row.num_nodes, row.num_active, seed=seed)
    return Plan(from_spec(row.topology, schedule.num_slots), schedule, 2 * row.exact)


def _centred(rng: np.random.Generator, num_nodes: int, zeta2: float) -> NDArray[np.float64]:
    """Return b, (n, d) float64, of mean 0 and mean square norm exactly zeta2."""
    b = rng.normal(size=(num_nodes, DIMENSION))
    b -= b.mean(axis=0)
    spread = np.square(b).sum(axis=1).mean()
    return b * np.sqrt(zeta2 / spread) if spread > 0 else b
