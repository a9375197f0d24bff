"""What a deployment costs: rounds of gossip next to rounds of FedAvg on the same SuperLink.

One run: a SuperLink, four SuperNodes with a peer each on loopback, and a model of 60,000
parameters with trivial training. Wall seconds are those of ``strategy.start``: the first contact
with the nodes and the final model count. Then the bytes that the SuperLink counts for a model of
10 million parameters: two runs of different length, so that the initial and the final model, which
both have, cancel out of the bytes a round.

    python benchmarks/deployment.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from local_flower import SuperLink, run_app, superlink, supernodes

APP = Path(__file__).parent / "deployment_app"
NUM_NODES = 4
LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the app: seconds of ``start``, bytes through the SuperLink and between clients."""

    seconds: float
    through_server: int
    between_clients: int


def measure(
    link: SuperLink, strategy: str, rounds: int, parameters: int, evaluate: bool = False
) -> Measured:
    """Run the app once."""
    file = link.home / "measured.json"
    config: dict[str, str | int | float | bool] = {
        "strategy": strategy,
        "rounds": rounds,
        "num-parameters": parameters,
        "evaluate": evaluate,
        "result-file": str(file),
    }
    run = run_app(APP, link, config, timeout_s=LIMIT_S)
    result = json.loads(file.read_text())
    file.unlink()
    if result["losses"]:
        print(f"note: {result['losses']} models did not arrive in this run")
    through = run.bytes_from_nodes + run.bytes_to_nodes
    return Measured(result["seconds"], through, result["between_clients"])


def times(link: SuperLink, console: Console, gossip_rounds: int, fedavg_rounds: int) -> None:
    """Print wall times with and without evaluation."""
    table = Table("strategy", "rounds", "evaluation", "wall s", "s a round", "ratio to FedAvg")
    for evaluate in (False, True):
        base = measure(link, "fedavg", fedavg_rounds, 60_000, evaluate).seconds
        rows = [("FedAvg", fedavg_rounds, base)]
        for name in ("gossip", "teleportation"):
            seconds = measure(link, name, gossip_rounds, 60_000, evaluate).seconds
            rows.append((f"{name.capitalize()}", gossip_rounds, seconds))
        for label, rounds, seconds in rows:
            kind = "default" if evaluate else "none"
            each, ratio = f"{seconds / rounds:.3f}", f"{seconds / base:.2f}"
            table.add_row(label, str(rounds), kind, f"{seconds:.1f}", each, ratio)
    console.print(table)


def traffic(link: SuperLink, console: Console) -> None:
    """Print the bytes a round through the SuperLink, for a small and a large model."""
    table = Table("strategy", "parameters", "bytes a round through the SuperLink", "of FedAvg's")
    for parameters in (60_000, 10_000_000):
        fedavg = per_round(link, "fedavg", 1, 2, parameters)
        table.add_row("FedAvg", f"{parameters:,}", f"{fedavg:,.0f}", "100 %")
        for name in ("gossip", "teleportation"):
            ours = per_round(link, name, 20, 120, parameters)
            share = f"{100 * ours / fedavg:.4f} %"
            table.add_row(name.capitalize(), f"{parameters:,}", f"{ours:,.0f}", share)
    console.print(table)


def per_round(link: SuperLink, strategy: str, few: int, many: int, parameters: int) -> float:
    """Return bytes a round from two runs of different length."""
    short = measure(link, strategy, few, parameters).through_server
    long = measure(link, strategy, many, parameters).through_server
    return (long - short) / (many - few)


def main() -> None:
    """Start the deployment, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no bytes")
    quick = parser.parse_args().quick
    console = Console()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{os.cpu_count()} cores, load average before: {load}", highlight=False)
    with superlink() as link, supernodes(link, NUM_NODES, peers=True):
        times(link, console, *((50, 1) if quick else (500, 6)))
        if not quick:
            traffic(link, console)


if __name__ == "__main__":
    main()
