"""The fault table: what goes wrong in a deployment, whether the numbers stay right, and the cost.

Five nodes, each a peer process behind a network line of its own, and a client process for each
message, on this machine; 12 rounds in two messages; a model of 48 kB; peers that say nothing for
0.8 s count as gone. Each scenario is run with several seeds, which choose node and round. A run is
right when

- it ends within two minutes,
- every model that any client was given, and the result, are those of the dense reference with the
  same missing rows (float64, 1e-12),
- the result names the struck nodes, and no others, as missing, or nobody where nothing may be lost.

``lost`` is the median time that a run took longer than the median run without a fault.

    python benchmarks/faults.py [--seeds N] [--only TEXT] [--jobs J]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import numpy as np
from fault_scenarios import NODES, ROUNDS, SCENARIOS, Scenario
from fault_stage import Fault, difference, initial, replay, staged, traces
from rich.console import Console
from rich.progress import track
from rich.table import Table

from flwr_gossip.strategies import GossipResult

LIMIT_S = 120.0
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: how long it took, how many models did not arrive, and what was not right."""

    seconds: float
    losses: int
    problems: tuple[str, ...] = field(default=())


def run(scenario: Scenario, seed: int) -> Outcome:
    """Run a scenario once."""
    strategy = scenario.strategy(seed)
    plan = strategy.plan(NODES, ROUNDS)
    faults = scenario.draw(np.random.default_rng([seed, len(scenario.name)]), plan)
    with staged(NODES, faults, scenario.skew_s, **scenario.options) as (stage, grid):
        began = time.monotonic()
        try:
            result = strategy.start(grid, initial(), ROUNDS, timeout=LIMIT_S)
        except Exception as error:  # a run must survive every scenario
            return Outcome(time.monotonic() - began, 0, (f"{error!r}",))
        seconds = time.monotonic() - began
        problems = [*stage.errors, *faulty(result, stage.folder, faults)]
        problems += unsaid(result, scenario, faults)
    if seconds > LIMIT_S:
        problems.append(f"took {seconds:.0f} s")
    return Outcome(seconds, len(result.losses), tuple(problems))


def run_named(pair: tuple[str, int]) -> Outcome:
    """Run the scenario of this name with a seed, in a process of its own or not."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    name, seed = pair
    return run(next(scenario for scenario in SCENARIOS if scenario.name == name), seed)


def outcomes(pairs: list[tuple[str, int]], jobs: int) -> Iterator[Outcome]:
    """Yield what came of each, in order; so many runs at the same time."""
    if jobs == 1:
        yield from map(run_named, pairs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_named, pairs)


def faulty(result: GossipResult, folder: Path, faults: tuple[Fault, ...]) -> Iterator[str]:
    """Yield where the numbers are not those of the reference.

    What a client was given in the round in which it is struck is left out: it cannot tell any more
    what was missing of it, and nothing comes of it.
    """
    if result.plan is None:
        yield "the result has no plan"
        return
    z = replay(result, ROUNDS)
    ends = {(fault.node, fault.round) for fault in faults}
    for (node, round), given in sorted(traces(folder).items()):
        if (node, round) in ends:
            continue
        slot = result.plan.slot(node, round)
        if slot is None or not np.allclose(given, z[round - 1][slot], **CLOSE):
            yield f"node {node} was given another model in round {round}"
    if result.served_round != ROUNDS or not difference(result, z) < CLOSE["atol"]:
        yield f"another result, of round {result.served_round}"


def unsaid(result: GossipResult, scenario: Scenario, faults: tuple[Fault, ...]) -> Iterator[str]:
    """Yield where the result does not name who was missing."""
    named = {loss.holder for loss in result.losses}
    struck = {fault.node for fault in faults}
    if scenario.loses is False and named:
        yield f"models of {sorted(named)} are missing: {result.losses[0]}"
    elif not named <= struck:
        yield f"{sorted(named - struck)} named as missing, struck were {sorted(struck)}"
    if scenario.loses and not (named or result.failures):
        yield f"struck were {sorted(struck)}, and the result does not say so"


def row(scenario: Scenario, outcomes: list[Outcome], usual_s: float) -> list[str]:
    """Return the cells of a scenario."""
    right = sum(not outcome.problems for outcome in outcomes)
    seconds = [outcome.seconds - usual_s for outcome in outcomes]
    return [
        scenario.name,
        f"{right}/{len(outcomes)}",
        f"{median(outcome.losses for outcome in outcomes):g}",
        f"{median(seconds):.1f}",
        f"{max(seconds):.1f}",
    ]


def main() -> None:
    """Run all scenarios and print one table; exit status 1 when a run was not right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="", help="scenarios whose name has this text")
    parser.add_argument("--quick", action="store_true", help="2 seeds")
    parser.add_argument("--jobs", type=int, default=1, help="so many runs at the same time")
    options = parser.parse_args()
    seeds = 2 if options.quick else options.seeds
    console = Console(width=None if sys.stdout.isatty() else 110)
    chosen = [scenario for scenario in SCENARIOS if options.only in scenario.name]
    runs: dict[str, list[Outcome]] = {scenario.name: [] for scenario in chosen}
    pairs = [(scenario.name, seed) for scenario in chosen for seed in range(seeds)]
    found = track(
        outcomes(pairs, options.jobs), "running", len(pairs), console=Console(stderr=True)
    )
    for (name, seed), outcome in zip(pairs, found, strict=True):
        runs[name].append(outcome)
        for problem in outcome.problems:
            console.print(f"{name}, seed {seed}: {problem}", markup=False)
    usual_s = median(outcome.seconds for outcome in runs[chosen[0].name])
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    table = Table(
        "scenario",
        *("right", "models missing", "lost, s", "at most, s"),
        title=f"{len(pairs)} runs; usual run {usual_s:.1f} s; load {load}",
    )
    for scenario in chosen:
        table.add_row(*row(scenario, runs[scenario.name], usual_s))
    console.print(table)
    sys.exit(any(outcome.problems for outcomes in runs.values() for outcome in outcomes))


if __name__ == "__main__":
    main()
