"""A whole deployment with TLS: SuperLink, SuperNodes, and peers that know each other by their CA.

Two SuperNodes with names in place of partition ids work; a third has a peer whose certificate is
of another CA, so that nobody can talk to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from flwr_gossip.server_free.peers.links import TlsFiles
from integration.cases import Case, Played, check_whole, play
from integration.test_deployment import Deployment
from local_flower import Certificates, superlink
from offices import Office

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

GOSSIP = Case(
    "gossip",
    "gossip",
    {
        "topology": "ring",
        "fraction_evaluate": 0.0,
        "min_available_nodes": 2,
        "rounds_per_message": 4,
    },
    rounds=8,
)


def options(files: TlsFiles) -> tuple[str, ...]:
    names = {"certfile": files.certfile, "keyfile": files.keyfile, "ca-certfile": files.ca_certfile}
    return tuple(f"--ssl-{name}={path}" for name, path in names.items())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("certificates")
    office, other = Office(folder / "ours"), Office(folder / "theirs", "theirs")
    files = office.issue("127.0.0.1", ca=office.ca)
    stranger = other.issue("127.0.0.1", ca=other.ca)
    certificates = Certificates(files.certfile, files.keyfile, office.ca)
    with superlink(certificates) as link, ExitStack() as stack:
        deployment = Deployment(link, stack, Path(folder))
        for node, name in enumerate(("a", "b")):
            deployment.add(name, node, options(files), **{"peer-name": f"hospital-{name}"})
        deployment.add("c", 2, options(stranger), **{"peer-name": "hospital-c"})
        refusing = {**GOSSIP.options, "min_available_nodes": 3, "unreachable": "refuse"}
        wrong = replace(GOSSIP, name="wrong", options=refusing)
        cases = [
            deployment.only(GOSSIP, "a", "b"),
            replace(wrong, last=True),
        ]
        yield play(link, cases, timeout_s=240.0, check=False)


def test_the_numbers_of_the_reference(played: Played) -> None:
    check_whole(GOSSIP, played.outcomes["gossip"], num_nodes=2)
    assert played.outcomes["gossip"].raw["traffic"]["bytes_between_clients"] > 0


def test_a_peer_with_a_certificate_of_another_ca_is_named(
    played: Played,
) -> None:
    error = played.errors["wrong"]
    assert error.startswith("PeerUnreachable: some peers cannot be reached")
    pairs = re.findall(r"(\d) +(\d) +127\.0\.0\.1:\d+ +certificate +- +unknown CA", error)
    assert set(pairs) == {("0", "2"), ("2", "0"), ("1", "2"), ("2", "1")}
