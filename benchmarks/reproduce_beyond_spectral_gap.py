"""Does the effective number of neighbours predict training? As in "Beyond spectral gap".

T. Vogels, H. Hendrikx, M. Jaggi, arXiv:2301.02151: rates on random isotropic quadratics over
learning rates (theory); one neural network trained with 32 workers on the same data along many
topologies and learning rates (plain SGD, equal rounds); gamma fitted by calibration on complete
graphs of 1, 2, 4, ... workers; and what the measured best losses have to do with n_W(gamma) and
with the spectral gap. Prints two tables and writes a figure and the numbers.

    python benchmarks/reproduce_beyond_spectral_gap.py [--data mnist1d] [--quick] [--out runs]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from learning_data import NAMES, load
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sweeps import sweep

from flwr_gossip.server_free import theory
from flwr_gossip.server_free.topologies import Topology, from_spec

WORKERS = 32
TOPOLOGIES = (
    "alone",
    "star",
    "chain",
    "binary-tree",
    "two-cliques",
    "davis-southern-women",
    "ring",
    "torus:4x8",
    "hypercube",
    "exponential",
    "one-peer-exponential",
    "base-graph:1",
    "complete",
)
CALIBRATION = (1, 2, 4, 8, 16, 32)
GAMMA_OF_PAPER = 0.951
NOISE_RATIO = 100.0
HIDDEN, BATCH = 100, 16


@dataclass(frozen=True, slots=True)
class Job:
    """One training: a topology over so many workers, a learning rate, a seed."""

    spec: str
    num_nodes: int
    learning_rate: float
    seed: int
    data: str
    data_dir: str | None
    rounds: int


@dataclass(slots=True)
class Curve:
    """Learning rate -> mean training loss over the seeds, of one topology."""

    spec: str
    num_nodes: int
    losses: dict[float, float] = field(default_factory=dict)

    @property
    def best(self) -> tuple[float, float]:
        """The best learning rate and its loss."""
        rate = min(self.losses, key=self.losses.__getitem__)
        return rate, self.losses[rate]


def train(job: Job) -> float:
    """Return the training loss at the end, mean over the workers' models; inf if it diverged."""
    import torch

    from flwr_gossip.server_free.simulation import NodeData, simulate
    from flwr_gossip.strategies import Gossip

    torch.set_num_threads(1)
    data = load(job.data, Path(job.data_dir) if job.data_dir else None)
    torch.manual_seed(job.seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(data.num_features, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10)
    )
    everything = np.arange(len(data.train[1]))
    result = simulate(
        model,
        torch.nn.functional.cross_entropy,
        NodeData.from_partition(*data.train, [everything] * job.num_nodes),
        Gossip(job.spec),
        num_rounds=job.rounds,
        learning_rate=job.learning_rate,
        batch_size=BATCH,
        seed=job.seed,
        test_data=data.train,
        evaluate_every=job.rounds,
        progress=False,
    )
    loss = result.history[-1].get("test_loss", float("inf"))
    return float(loss) if np.isfinite(loss) else float("inf")


def curves(jobs: Iterable[Job], losses: Iterable[float]) -> list[Curve]:
    """Return a curve a topology and size, losses averaged over the seeds."""
    found: dict[tuple[str, int], dict[float, list[float]]] = {}
    for job, loss in zip(jobs, losses, strict=True):
        by_rate = found.setdefault((job.spec, job.num_nodes), {})
        by_rate.setdefault(job.learning_rate, []).append(loss)
    return [
        Curve(spec, n, {rate: float(np.mean(values)) for rate, values in by_rate.items()})
        for (spec, n), by_rate in found.items()
    ]


def rank_correlation(losses: Sequence[float], values: Sequence[float]) -> float:
    """Return Spearman's correlation of better (smaller) losses with larger values."""
    return float(spearmanr([-loss for loss in losses], values).statistic)


def rates_table(topologies: Sequence[Topology]) -> Table:
    """Return what theory says on random isotropic quadratics (no training)."""
    table = Table(
        title=f"Random isotropic quadratics, {WORKERS} workers, noise ratio {NOISE_RATIO:g}"
    )
    for name in ("topology", "spectral gap", f"n_W({GAMMA_OF_PAPER})", "best lr", "best rate"):
        table.add_column(name, justify="left" if name == "topology" else "right")
    for topology in topologies:
        lr = theory.best_learning_rate(topology, NOISE_RATIO)
        rate = theory.quadratic_rate(topology, NOISE_RATIO, lr)
        gap, neighbours = theory.spectral_gap(topology), neighbors_of(topology, GAMMA_OF_PAPER)
        row = (f"{gap:.4f}", f"{neighbours:.2f}", f"{lr:.4f}", f"{rate:.4f}")
        table.add_row(topology.spec, *row)
    return table


def neighbors_of(topology: Topology, gamma: float) -> float:
    """Return n_W(gamma), the mean over the workers."""
    return theory.effective_neighbors(topology, gamma)


def prediction_table(
    topologies: Sequence[Topology], measured: Sequence[Curve], fit: theory.Calibration
) -> Table:
    """Return measured against predicted, topology by topology, best first."""
    title = f"Trained with {WORKERS} workers; gamma fitted: {fit.gamma:.4f}"
    table = Table(title=title)
    for name in (
        "topology",
        "best loss",
        "best lr",
        "predicted loss",
        "n_W(gamma)",
        "spectral gap",
    ):
        table.add_column(name, justify="left" if name == "topology" else "right")
    predicted = {fitted.topology: fitted.predicted for fitted in fit.topologies}
    order = sorted(zip(topologies, measured, strict=True), key=lambda pair: pair[1].best[1])
    for topology, curve in order:
        lr, loss = curve.best
        cells = (f"{loss:.4f}", f"{lr:.4f}", f"{predicted[topology]:.4f}")
        gap = theory.spectral_gap(topology)
        neighbours = neighbors_of(topology, fit.gamma)
        table.add_row(topology.spec, *cells, f"{neighbours:.2f}", f"{gap:.4f}")
    return table


def draw(
    topologies: Sequence[Topology],
    measured: Sequence[Curve],
    calibration: Sequence[Curve],
    fit: theory.Calibration,
    file: Path,
) -> None:
    """Draw the four panels: rates in theory, losses in training, and both predictors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    (rates, losses), (by_neighbours, by_gap) = figure.subplots(2, 2)
    grid = np.geomspace(1e-3, 1.0, 60)
    for place, (topology, curve) in enumerate(zip(topologies, measured, strict=True)):
        style = {"color": f"C{place % 10}", "linestyle": "-" if place < 10 else "--"}
        values = [theory.quadratic_rate(topology, NOISE_RATIO, float(lr)) for lr in grid]
        rates.plot(grid, np.maximum(values, 0), label=topology.spec, **style)
        lrs = sorted(curve.losses)
        losses.plot(lrs, [curve.losses[lr] for lr in lrs], marker=".", **style)
        loss = curve.best[1]
        points = (neighbors_of(topology, fit.gamma), theory.spectral_gap(topology))
        for axis, x in zip((by_neighbours, by_gap), points, strict=True):
            axis.scatter(x, loss, color=style["color"])
            axis.annotate(
                topology.spec, (x, loss), fontsize=7, xytext=(4, 3), textcoords="offset points"
            )
    by_neighbours.plot(
        [curve.num_nodes for curve in calibration],
        [curve.best[1] for curve in calibration],
        color="grey",
        marker="|",
        zorder=0,
        label="complete graphs of so many workers",
    )
    rates.set(xscale="log", xlabel="learning rate", ylabel="rate r")
    rates.set_title(f"Random quadratics, noise ratio {NOISE_RATIO:g}: rate in theory")
    losses.set(xscale="log", xlabel="learning rate", ylabel="training loss at the end")
    losses.set_title("Neural network: measured")
    best = [curve.best[1] for curve in measured]
    margin = 0.1 * (max(best) - min(best))
    losses.set_ylim(min(best) - margin, max(best) + 3 * margin)
    by_neighbours.set(xscale="log", xlabel=f"n_W({fit.gamma:.3f})", ylabel="best training loss")
    by_neighbours.set_title("Effective number of neighbours predicts it")
    by_gap.set(xlabel="spectral gap", ylabel="best training loss")
    by_gap.set_title("The spectral gap does not")
    rates.legend(fontsize=7)
    by_neighbours.legend(fontsize=7)
    figure.savefig(file, dpi=130)


def jobs_of(arguments: argparse.Namespace) -> tuple[list[Job], list[Job]]:
    """Return the trainings of the topologies and those of the calibration."""
    octaves = np.arange(-4.0, 3.01, 1.0 if arguments.quick else 0.5)
    rates = [float(2.0**octave) for octave in octaves]
    rounds, seeds = (100, 1) if arguments.quick else (arguments.rounds, arguments.seeds)

    def one(spec: str, n: int) -> list[Job]:
        data = (arguments.data, arguments.data_dir, rounds)
        return [Job(spec, n, lr, seed, *data) for seed in range(seeds) for lr in rates]

    topologies = [job for spec in TOPOLOGIES for job in one(spec, WORKERS)]
    return topologies, [job for n in CALIBRATION for job in one("complete", n)]


def main() -> None:
    """Train, fit, and print and draw what predicts what."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=NAMES, default="mnist1d")
    parser.add_argument("--data-dir", help="folder of the files of fashion-mnist or cifar10")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="100 rounds, 1 seed, whole octaves")
    parser.add_argument("--out", type=Path, default=Path("runs/beyond-spectral-gap"))
    arguments = parser.parse_args()
    began = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 110)
    topologies = [from_spec(spec, WORKERS) for spec in TOPOLOGIES]
    console.print(rates_table(topologies))
    first, second = jobs_of(arguments)
    losses = sweep(train, [*first, *second])
    measured = curves(first, losses[: len(first)])
    calibration = curves(second, losses[len(first) :])
    best = [curve.best[1] for curve in measured]
    fit = theory.fit_gamma(
        {curve.num_nodes: curve.best[1] for curve in calibration},
        list(zip(topologies, best, strict=True)),
    )
    console.print(prediction_table(topologies, measured, fit))
    numbers = {
        "gamma": fit.gamma,
        "rank correlation with n_W(gamma)": rank_correlation(
            best, [neighbors_of(topology, fit.gamma) for topology in topologies]
        ),
        f"rank correlation with n_W({GAMMA_OF_PAPER})": rank_correlation(
            best, [neighbors_of(topology, GAMMA_OF_PAPER) for topology in topologies]
        ),
        "rank correlation with the spectral gap": rank_correlation(
            best, [theory.spectral_gap(topology) for topology in topologies]
        ),
    }
    for name, value in numbers.items():
        console.print(f"{name}: {value:.3f}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = f"beyond-spectral-gap-{arguments.data}"
    draw(topologies, measured, calibration, fit, arguments.out / f"{name}.png")
    content = {
        **numbers,
        "rounds": first[0].rounds,
        "topologies": [asdict(curve) for curve in measured],
        "calibration": [asdict(curve) for curve in calibration],
    }
    (arguments.out / f"{name}.json").write_text(json.dumps(content, indent=1))
    console.print(f"{len(losses)} trainings, {time.monotonic() - began:.0f} s; see {arguments.out}")


if __name__ == "__main__":
    main()
