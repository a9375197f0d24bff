"""A ServerApp that is killed in the middle of a run, and a new run that goes on."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from integration.cases import Case, check_numbers, play
from local_flower import SuperLink, simulation_superlink, superlink, supernodes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(700)]

NODES, ROUNDS = 3, 8
KILLED_AFTER = 3
"""Nobody evaluates after this round: the next one is under way when the ServerApp is killed."""
PAUSE = {"pause": 0.3}


def killer(signs: str) -> Callable[[str], None]:
    """Return what kills the ServerApp's process once it prints ``signs``."""
    process = 0

    def watch(line: str) -> None:
        nonlocal process
        if found := re.search(r"ServerApp process (\d+)", line):
            process = int(found[1])
        if signs in line:
            os.kill(process, signal.SIGKILL)

    return watch


def check_resumed(link: SuperLink, case: Case, folder: Path) -> None:
    """Play a case whose ServerApp is killed; the next run goes on."""
    first = replace(case, options=case.options | {"checkpoint": str(folder)})
    watch = killer(f"[ROUND {KILLED_AFTER}/{ROUNDS}]")
    killed = play(link, [first], timeout_s=300, on_line=watch, check=False)
    assert not killed.run.completed
    assert not killed.outcomes
    again = replace(case, options=case.options | {"resume": str(folder)})
    played = play(link, [again], timeout_s=300)
    outcome, plan = played.outcomes[case.name], case.plan(NODES)
    assert not outcome.failures
    assert not outcome.losses
    assert outcome.plan.to_json() == plan.to_json()
    (went_on,) = re.findall(r"Going on after round (\d+) of the run in", played.run.text)
    done = int(went_on)
    assert KILLED_AFTER <= done < ROUNDS
    expected = {(node, t) for t in range(done + 1, ROUNDS + 1) for node in plan.active(t)}
    assert outcome.given.keys() == expected
    assert set(map(int, outcome.raw["distances"])) == {4, ROUNDS}
    check_numbers(case, outcome, plan)


def test_in_a_deployment(tmp_path: Path) -> None:
    """Two of three slots: the holders of the models need not be at work in the new run."""
    options = {
        "num_active": 2,
        "topology": "ring",
        "seed": 11,
        "rounds_per_message": 3,
        "evaluate_every": 4,
    }
    case = Case("teleportation", "teleportation", options, ROUNDS, config=PAUSE)
    with superlink() as link, supernodes(link, NODES, peers=True):
        check_resumed(link, case, tmp_path / "run")


def test_in_a_simulation(tmp_path: Path) -> None:
    options = {"topology": "ring", "evaluate_every": 4}
    with simulation_superlink(NODES) as link:
        check_resumed(
            link, Case("gossip", "gossip", options, ROUNDS, config=PAUSE), tmp_path / "run"
        )
