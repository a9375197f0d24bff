"""Flower's simulation, with Ray and gRPC on loopback, against the dense reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from integration.app.gossip_cases.task import initial, local_update, to_vector
from integration.cases import (
    CLOSE,
    Case,
    Played,
    check_folder,
    check_numbers,
    check_search,
    check_whole,
    play,
)
from local_flower import SuperLink, simulation_superlink
from reference import dense

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NODES = 6
"""Not a power of two."""


def teleportation(name: str, active: int, topology: str, **options: object) -> Case:
    """Return a case of Teleportation."""
    given = {"num_active": active, "topology": topology, "seed": 11, **options}
    return Case(name, "teleportation", given, rounds=6)


WHOLE = [
    Case("ring", "gossip", {"topology": "ring", "evaluate_every": 3}, rounds=5, serve=True),
    Case("one-peer", "gossip", {"topology": "one-peer-exponential", "fraction_evaluate": 0.0}),
    teleportation("one", 1, "one-peer-exponential", fraction_evaluate=0.0),
    teleportation("two", 2, "one-peer-exponential", evaluate_every=4),
    teleportation("four", 4, "ring", rounds_per_message=3, fraction_evaluate=0.0),
    teleportation("all", NODES, "one-peer-exponential", fraction_evaluate=0.0),
    teleportation("int8", 4, "ring", codec="block-int8:lossy", fraction_evaluate=0.0),
]
FAULTS = {4: (2, "nan"), 2: (3, "raise"), 5: (4, "shape"), 0: (5, "no-arrays")}
FAILING = Case(
    "failing",
    "gossip",
    {"topology": "ring", "fraction_evaluate": 0.0, "peer_timeout": 5.0},
    rounds=14,
    config={"faults": " ".join(f"{what}:{node}:{t}" for node, (t, what) in FAULTS.items())},
)
SEARCH = Case(
    "search",
    "search",
    {"topology": "one-peer-exponential", "seed": 11, "metric": "first"},
    rounds=3,
)
FEDAVG = Case("fedavg", "fedavg", {"min_available_nodes": NODES}, rounds=2)
SINGLE = [
    Case("single-gossip", "gossip", {"topology": "ring"}, rounds=3),
    Case(
        "single-teleportation",
        "teleportation",
        {"num_active": 1, "topology": "ring", "seed": 11},
        rounds=3,
    ),
]


@pytest.fixture(scope="module")
def link() -> Iterator[SuperLink]:
    with simulation_superlink(NODES) as link:
        yield link


@pytest.fixture(scope="module")
def played(link: SuperLink) -> Played:
    return play(link, [*WHOLE, FAILING, SEARCH, FEDAVG], timeout_s=220)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_the_numbers_of_the_reference(played: Played, case: Case) -> None:
    check_whole(case, played.outcomes[case.name], NODES)
    assert played.outcomes[case.name].raw["traffic"]["bytes_between_clients"] > 0


def test_the_server_is_shown_the_mean_of_the_models(played: Played) -> None:
    case, outcome = WHOLE[0], played.outcomes["ring"]
    assert case.serve
    x0 = to_vector(initial(case.size))
    for round in (0, 3, 5):
        expected = dense(case.plan(NODES), x0, local_update, round).mean(axis=0)
        np.testing.assert_allclose(outcome.models[f"server-{round}"], expected, **CLOSE)
    assert outcome.models.keys() == {"server-0", "server-3", "server-5", "arrays"}
    assert outcome.evaluated.keys() == {(node, t) for node in range(NODES) for t in (3, 5)}


def test_the_run_leaves_its_folder(played: Played) -> None:
    check_folder(WHOLE[0], played.outcomes["ring"], "simulation")


def test_consensus_distances_are_those_of_the_reference(played: Played) -> None:
    z = dense(WHOLE[0].plan(NODES), to_vector(initial(WHOLE[0].size)), local_update, 5)
    exact = float(((z - z.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert played.outcomes["ring"].raw["distances"]["5"] == pytest.approx(exact, rel=0.25)


@pytest.mark.parametrize("node", FAULTS)
def test_a_failing_node_is_named_and_comes_back(played: Played, node: int) -> None:
    outcome = played.outcomes["failing"]
    (reason,) = outcome.failures[node]
    round, what = FAULTS[node]
    assert reason.startswith(f"round {round}: ")
    says = {
        "raise": "RuntimeError: the disk is full",
        "nan": "'scale'",
        "shape": "'matrix'",
        "no-arrays": "without arrays",
    }
    assert says[what] in reason
    assert f"node {node} (partition-id {node}) failed: {reason}" in played.run.text
    away = {t for t in range(1, FAILING.rounds + 1) if (node, t) not in outcome.given}
    assert away == set(range(round, max(away) + 1))
    assert max(away) < FAILING.rounds, "it did not come back"


def test_the_others_lose_only_what_failed(played: Played) -> None:
    outcome = played.outcomes["failing"]
    assert outcome.failures.keys() == FAULTS.keys()
    after = {t: set(outcome.plan.live_in(t + 1) or range(NODES)) for t, _ in FAULTS.values()}
    expected = {
        (reader % NODES, t, node)
        for node, (t, _) in FAULTS.items()
        for reader in (node - 1, node + 1)
        if reader % NODES in after[t]
    }
    assert outcome.missing == expected
    assert {loss.used for loss in outcome.losses} == {"rest of the row"}
    check_numbers(FAILING, outcome, outcome.plan, outcome.missing)


def test_a_search_tries_all_candidates(played: Played) -> None:
    check_search(SEARCH, played.outcomes["search"], NODES)


def test_fedavg_takes_no_notice_of_the_mod(played: Played) -> None:
    outcome = played.outcomes["fedavg"]
    x, weights = (
        to_vector(initial(FEDAVG.size)),
        np.arange(1, NODES + 1) / (NODES * (NODES + 1) / 2),
    )
    for round in (1, 2):
        for node in range(NODES):
            np.testing.assert_allclose(outcome.given[node, round], x, **CLOSE)
        x = weights @ [local_update(x, node, round) for node in range(NODES)]
        for node in range(NODES):
            np.testing.assert_allclose(outcome.evaluated[node, round], x, **CLOSE)
    np.testing.assert_allclose(outcome.arrays, x, **CLOSE)


def test_a_single_node(link: SuperLink) -> None:
    played = play(link, SINGLE, timeout_s=120, federation={"num-supernodes": 1})
    for case in SINGLE:
        check_whole(case, played.outcomes[case.name], num_nodes=1)
