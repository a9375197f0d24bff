"""Scenarios of the fault table, one seed each: client and peer processes behind lines that fail.

benchmarks/faults.py runs all of them with many seeds. The ones left out here are tested closer to
what they strike.
"""

from __future__ import annotations

import pytest
from fault_scenarios import SCENARIOS, Scenario
from faults import run

CHOSEN = (
    "client killed before it trains",
    "client killed after it trained, before it published",
    "client killed while models move",
    "peer killed and started again, empty",
    "machine killed, back after 1 s",
    "two machines killed, one after the other",
    "a node and all its neighbours killed",
    "line mute for long, then heals",
    "half a model, always",
    "one bit turned, once",
    "clocks a day apart",
    "Teleportation, k = 1: its holder killed",
)


@pytest.mark.integration
@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if one.name in CHOSEN], ids=lambda one: one.name
)
def test_the_survivors_have_the_numbers_of_the_reference(scenario: Scenario) -> None:
    assert run(scenario, seed=1).problems == ()


def test_all_of_them_are_there() -> None:
    assert {one.name for one in SCENARIOS} >= set(CHOSEN)
