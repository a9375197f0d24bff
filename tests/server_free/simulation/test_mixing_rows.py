"""Mixing of all slots at once follows the rows of the plan, and counts what they move."""

from __future__ import annotations

import numpy as np
import pytest

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation.mixing_rows import Mixer  # noqa: E402

ROUNDS = 7
TOPOLOGIES = {
    "one-peer": topologies.from_spec("one-peer-exponential", num_nodes=6),
    "star": topologies.from_spec("star", num_nodes=6),
    "rotation": topologies.from_matrix(np.roll(np.eye(6), 1, axis=1)),
}
LIVE = {
    "all": (),
    "some": ((1, (0, 2, 3, 5)), (3, (1, 2)), (5, ())),
}


def plan_of(topology: str, teleports: bool, live: str) -> Plan:
    schedule = Teleport(9, 6, seed=1) if teleports else AllActive(6)
    return Plan(TOPOLOGIES[topology], schedule, ROUNDS, LIVE[live])


def mixer_of(plan: Plan) -> Mixer:
    return Mixer(plan, torch.float64, torch.device("cpu"))


@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize("teleports", [False, True])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_mixing_and_traffic_are_those_of_the_plan(
    topology: str, teleports: bool, live: str
) -> None:
    plan = plan_of(topology, teleports, live)
    mixer = mixer_of(plan)
    h = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for round in range(1, ROUNDS + 1):
        before, moved = torch.rand_like(h), 0
        z = before.clone()
        mixer.mix(h, round, z)
        holders = plan.active(round + 1 if round < ROUNDS else round)
        for slot, holder in enumerate(holders):
            terms = plan.row(slot, round)
            wanted = sum((term.weight * h[term.slot] for term in terms), torch.zeros(4))
            torch.testing.assert_close(z[slot], wanted if terms else before[slot])
            moved += sum(holder not in (term.node, -1) for term in terms)
        assert mixer.transfers(round) == moved


def test_a_period_is_made_once() -> None:
    mixer = mixer_of(plan_of("one-peer", False, "all"))
    assert mixer.exchange(1) is mixer.exchange(4)
    assert mixer.exchange(1) is not mixer.exchange(2)


def test_teleportation_moves_at_most_a_model_for_each_term() -> None:
    ring = topologies.ring(8)
    mixer = mixer_of(Plan(ring, Teleport(100_000, 8, seed=2), ROUNDS))
    assert mixer.transfers(1) == 8 * (1 + 2)  # k (1 + degree), for nobody is active twice running
    assert mixer.transfers(ROUNDS) == 8 * 2  # the last holders have their own
