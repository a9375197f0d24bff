"""Flower's deployment engine: a SuperLink, SuperNodes with a peer each, one run, real faults.

Four SuperNodes are as they should be, and four more have something wrong with them. One run of one
app plays all cases, since a run, a SuperNode and each Flower message cost seconds; a case sees only
the nodes that it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

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
from integration.processes import kill_all
from local_flower import Program, SuperLink, superlink, supernode
from local_processes import read
from proxies import free_port
from reference import dense

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NODES = 4
RUN_S = 800.0
LARGE = 1_000_000


def gossip(name: str, rounds: int, **options: object) -> Case:
    """Return a case of Gossip on a ring that does not evaluate."""
    given = {"topology": "ring", "fraction_evaluate": 0.0, **options}
    return Case(name, "gossip", given, rounds=rounds)


def teleportation(name: str, active: int, evaluate: float = 0.0) -> Case:
    """Return a case of Teleportation in one message a node."""
    options = {
        "num_active": active,
        "topology": "one-peer-exponential",
        "seed": 11,
        "rounds_per_message": 12,
        "evaluate_every": 12,
        "fraction_evaluate": evaluate,
    }
    return Case(name, "teleportation", options, rounds=12)


SEGMENTS = replace(
    gossip("segments", 12, rounds_per_message=6, evaluate_every=6, fraction_evaluate=1.0),
    serve=True,
)
LARGE_MODEL = replace(teleportation("large", 4), size=LARGE)
CODED = gossip("choco", 8, rounds_per_message=4, codec="choco:block-int8")
WHOLE = [
    *(SEGMENTS, teleportation("one", 1), teleportation("two", 2, evaluate=1.0)),
    *(LARGE_MODEL, CODED),
]
SEARCH = Case(
    "search",
    "search",
    {"topology": "ring", "seed": 11, "metric": "first", "rounds_per_message": 6},
    rounds=6,
)
SINGLE = gossip("single", 3, min_available_nodes=1, rounds_per_message=3)

# The train function of node 1 raises, the ClientApp of node 3 dies, and after round 12 all
# processes of node 2 are killed; a new SuperNode takes its place at once.
SEGMENT = 6
KILL_AFTER = 12
FAILING = replace(
    gossip("failing", 36, rounds_per_message=SEGMENT, peer_timeout=5.0),
    timeout=240.0,
    config={"faults": "raise:1:4 kill:3:10"},
)

LONELY = gossip("lonely", 3, min_available_nodes=3, join_timeout=6.0)
WRONG = ("no-listener", "twin", "wrong-address", "no-peer")
"""SuperNodes with something wrong with them; the error of the last one ends the run."""


@dataclass
class Deployment:
    """The SuperNodes by name, and the addresses of those that have a wrong one."""

    link: SuperLink
    stack: ExitStack
    folder: Path
    wrong_address: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    nodes: dict[str, Program] = field(default_factory=dict)

    @property
    def no_listener(self) -> str:
        """An address of a peer that is not there."""
        return f"unix:{self.folder}/peer"

    def add(self, name: str, partition: int, options: tuple[str, ...] = (), **config: str) -> None:
        """Start a SuperNode, with a peer unless the config names one ("" for none)."""
        peer = "gossip-peer" not in config
        values = {key: value for key, value in config.items() if value}
        program = supernode(
            self.link,
            {"partition-id": partition, "num-partitions": NODES, **values},
            name=name,
            peer=peer,
            peer_options=options,
        )
        self.nodes[name] = self.stack.enter_context(program)

    def flower_id(self, name: str) -> int:
        """Return Flower's id of a SuperNode."""
        found = re.search(r"SuperNode ID: (\d+)", read(self.nodes[name].log))
        assert found is not None
        return int(found[1])

    def only(self, case: Case, *names: str) -> Case:
        """Return the case over these nodes of those that run now."""
        hidden = tuple(self.flower_id(name) for name in self.nodes if name not in names)
        return replace(case, hidden=hidden)

    def watch(self, line: str) -> None:
        """Kill node 2 when the time has come, and start another in its place."""
        if f"[ROUND {KILL_AFTER}/{FAILING.rounds}]" in line:
            kill_all(self.nodes["node-2"])
            self.add("node-2-again", 2)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with superlink() as link, ExitStack() as stack:
        deployment = Deployment(link, stack, tmp_path_factory.mktemp("deployment"))
        for node in range(NODES):
            deployment.add(f"node-{node}", node)
        deployment.add("no-peer", 1, **{"gossip-peer": ""})
        deployment.add("no-listener", 1, **{"gossip-peer": deployment.no_listener})
        deployment.add("twin", 0)
        deployment.add("wrong-address", 1, ("--advertise", deployment.wrong_address))
        yield deployment


@pytest.fixture(scope="module")
def played(deployment: Deployment) -> Played:
    def wrong(name: str) -> Case:
        options = {"min_available_nodes": 2, "peer_timeout": 4.0, "join_timeout": 90.0}
        pair = gossip(name, 4, unreachable="refuse", **options)
        return replace(deployment.only(pair, "node-0", name), last=name == WRONG[-1])

    good = [f"node-{node}" for node in range(NODES)]
    cases = [
        *(deployment.only(case, *good) for case in WHOLE),
        deployment.only(SEARCH, *good),
        deployment.only(SINGLE, "node-0"),
        deployment.only(LONELY, "node-0"),
        *(wrong(name) for name in WRONG[:-1]),
        deployment.only(FAILING, *good),
        wrong(WRONG[-1]),
    ]
    return play(deployment.link, cases, timeout_s=RUN_S, on_line=deployment.watch, check=False)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_the_numbers_of_the_reference(played: Played, case: Case) -> None:
    check_whole(case, played.outcomes[case.name], NODES)
    evaluated = {(node, t) for node in range(NODES) for t in stops(case)}
    assert played.outcomes[case.name].evaluated.keys() == evaluated


def stops(case: Case) -> range:
    """Return the rounds after which the nodes evaluate."""
    if case.options["fraction_evaluate"] == 0.0:
        return range(0)
    every = case.options["evaluate_every"]
    return range(every, case.rounds + 1, every)


def test_a_search_tries_all_candidates(played: Played) -> None:
    check_search(SEARCH, played.outcomes["search"], NODES)


def test_a_single_node(played: Played) -> None:
    check_whole(SINGLE, played.outcomes["single"], num_nodes=1)


def test_the_server_is_shown_the_mean_of_the_models(played: Played) -> None:
    models, x0 = played.outcomes["segments"].models, to_vector(initial(SEGMENTS.size))
    for round in (0, 6, 12):
        expected = dense(SEGMENTS.plan(NODES), x0, local_update, round).mean(axis=0)
        np.testing.assert_allclose(models[f"server-{round}"], expected, **CLOSE)
    assert models.keys() == {"server-0", "server-6", "server-12", "arrays"}


# --- what goes through the server -------------------------------------------------------------


def test_the_run_leaves_its_folder(played: Played) -> None:
    check_folder(SEGMENTS, played.outcomes["segments"], "deployment")


def test_between_the_first_and_the_last_message_only_control_goes_through_the_server(
    played: Played,
) -> None:
    outcome = played.outcomes["large"]
    model = 4 * LARGE
    control = outcome.raw["traffic"]["bytes_through_server"] - 2 * NODES * model
    fedavg = LARGE_MODEL.rounds * 2 * NODES * model
    assert 0 < control < 1e-3 * fedavg
    # Were there a part of it that grows with the model, it would not be small next to one model.
    assert control < 0.02 * model
    reads = sum(
        term.node != node
        for t in range(1, LARGE_MODEL.rounds + 1)
        for slot, node in enumerate(_readers_of(t))
        for term in outcome.plan.row(slot, t)
    )
    assert outcome.raw["traffic"]["bytes_between_clients"] == pytest.approx(reads * model, rel=1e-3)


def _readers_of(round: int) -> tuple[int, ...]:
    """Return who mixes the models of ``round``, slot by slot: after the last, who trained it."""
    plan = LARGE_MODEL.plan(NODES)
    return plan.active(min(round + 1, plan.num_rounds))


def test_the_superlink_saw_no_more_than_that(played: Played) -> None:
    """All cases together, as the SuperLink counts them, the app itself included.

    It stores equal objects once, so of the final models, which may be equal, it can see fewer.
    """
    initial = final = NODES * 4 * LARGE
    seen = played.run.bytes_to_nodes + played.run.bytes_from_nodes
    assert initial < seen < initial + final + 0.25 * 4 * LARGE


# --- what fails -------------------------------------------------------------------------------


def test_failures_name_the_nodes_that_failed_and_say_why(played: Played) -> None:
    failures = played.outcomes["failing"].failures
    assert failures.keys() == {1, 2, 3}
    assert failures[1] == ["round 4: RuntimeError: the disk is full"]
    assert "its client process ended without a word" in failures[3][0]
    assert re.search(r"node 2's peer at 127\.0\.0\.1:\d+ ", failures[2][0])


def test_losses_are_the_models_that_the_failed_nodes_did_not_make(played: Played) -> None:
    outcome = played.outcomes["failing"]
    # Nobody can tell how far node 2 came in its last segment; what it held then went with it.
    last = min(loss.round for loss in outcome.losses if loss.holder == 2)
    end = KILL_AFTER + SEGMENT
    assert KILL_AFTER <= last <= end
    gone = {1: range(4, 7), 3: range(10, 13), 2: range(last, end + 1)}
    expected = {
        (reader, t, node)
        for node, rounds in gone.items()
        for t in rounds
        for reader in ((node - 1) % NODES, (node + 1) % NODES)
        if (reader, t + 1) in outcome.given
    }
    assert outcome.missing == expected
    assert {loss.used for loss in outcome.losses} == {"rest of the row"}


def test_the_others_go_on_with_the_numbers_of_the_reference(played: Played) -> None:
    outcome = played.outcomes["failing"]
    check_numbers(FAILING, outcome, outcome.plan, outcome.missing)
    always = {(0, t) for t in range(1, FAILING.rounds + 1)}
    assert always <= outcome.given.keys()
    for node in (1, 2):
        assert (node, FAILING.rounds) in outcome.given, f"node {node} did not come back"
        assert f"node {node} (partition-id {node}) is back" in played.run.text


def test_no_death_stalls_the_others(played: Played) -> None:
    """Six segments and three deaths; a stall would be one of Flower's 60 s, or of ``timeout``."""
    assert played.outcomes["failing"].raw["seconds"] < FAILING.timeout


# --- what is set up wrongly -------------------------------------------------------------------


def test_too_few_nodes(played: Played) -> None:
    says = r"RosterError: [01] node\(s\) were ready after join_timeout=6 s, 3 are needed \(min_av"
    assert re.match(says, played.errors["lonely"])


def test_a_peer_that_is_not_there(played: Played, deployment: Deployment) -> None:
    error, node = played.errors["no-listener"], deployment.flower_id("no-listener")
    assert f"Flower node {node} (partition-id 1) cannot take part" in error
    assert f"own peer at '{deployment.no_listener}' does not answer" in error
    assert "flwr-gossip supernode" in error


def test_a_partition_id_given_twice(played: Played, deployment: Deployment) -> None:
    error = played.errors["twin"]
    assert "RosterError: partition-id 0 is claimed by 2 nodes" in error
    assert str(deployment.flower_id("twin")) in error
    assert str(deployment.flower_id("node-0")) in error


def test_an_advertised_address_that_others_cannot_reach(
    played: Played, deployment: Deployment
) -> None:
    error = played.errors["wrong-address"]
    assert error.startswith("PeerUnreachable: some peers cannot be reached")
    assert "check --listen, --advertise" in error
    assert "1 of 2 pairs of nodes that were probed cannot talk" in error
    (pair,) = re.findall(rf"0 +1 +{deployment.wrong_address} .*", error)
    assert "refused" in pair


def test_an_error_ends_the_run_and_stands_in_the_log(played: Played) -> None:
    """The SuperNode without a peer: no case before it, right or wrong, has ended the run."""
    error = played.errors[WRONG[-1]]
    assert error.startswith(
        "RosterError: node 1 (partition-id 1) has no gossip-peer in its node-config; start its "
        "SuperNode with 'flwr-gossip supernode"
    )
    assert played.run.status == "finished:failed"
    assert len(re.findall(f"{re.escape(error)}$", played.run.text, re.MULTILINE)) == 1
    assert set(played.errors) == {"lonely", *WRONG}
