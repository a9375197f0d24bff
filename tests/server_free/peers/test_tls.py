"""Peers over TLS: who may dial, who may answer, and what a bad file says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import (
    INITIAL,
    Membership,
    Missing,
    ModelId,
    Patience,
    PeerLink,
    TlsFiles,
    connect,
    describe,
)
from offices import Office

FIRST = ModelId(1, 0, 0)
MODEL = {"w": np.arange(1000, dtype=np.float32)}
HASTY = Patience(silence_s=2, start_s=2, ceiling_s=2)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "ours", "ours")


@pytest.fixture
def start() -> Iterator[Callable[..., PeerHost]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(PeerHost(**options))


@pytest.fixture
def link() -> Iterator[Callable[..., PeerLink]]:
    with ExitStack() as stack:

        def open_link(host: PeerHost, node: int, *addresses: str) -> PeerLink:
            membership = Membership("t", b"k" * 32, node, "s", addresses)
            return stack.enter_context(connect(host.local_address, membership))

        yield open_link


def pair(start: Callable[..., PeerHost], *files: TlsFiles | None) -> list[PeerHost]:
    return [start(advertise="localhost:0", listen="127.0.0.1:0", tls=tls) for tls in files]


def elsewhere(start: Callable[..., PeerHost], files: TlsFiles) -> PeerHost:
    """Start a peer that says it is on another host, as its certificate does."""
    return start(advertise="elsewhere.example:1", listen="127.0.0.1:0", tls=files)


def fetch(hosts: list[PeerHost], link: Callable[..., PeerLink]) -> Any:
    """Node 0 publishes, node 1 fetches."""
    addresses = [f"localhost:{host.listen_address.rpartition(':')[2]}" for host in hosts]
    link(hosts[0], 0, *addresses).publish(FIRST, MODEL, readers=[1])
    [answer] = link(hosts[1], 1, *addresses).fetch([FIRST], HASTY)
    return answer


def test_mutual_tls(
    office: Office, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    files = office.issue("localhost", ca=office.ca)
    answer = fetch(pair(start, files, files), link)
    np.testing.assert_array_equal(answer["w"], MODEL["w"])


@pytest.fixture(params=["mutual", "one-sided"])
def tls(request: pytest.FixtureRequest, office: Office) -> TlsFiles:
    return office.issue("localhost", ca=office.ca if request.param == "mutual" else None)


def test_a_client_reads_from_its_own_peer(
    tls: TlsFiles, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    hosts = pair(start, tls, None)
    own = link(hosts[0], 0, *(host.address for host in hosts))
    own.publish(INITIAL, MODEL, readers=[])
    own.publish(FIRST, MODEL, readers=[])
    for answer in own.fetch([INITIAL, FIRST], HASTY):
        np.testing.assert_array_equal(answer["w"], MODEL["w"])


def test_a_client_that_forks_goes_on_with_its_own_peer(
    tls: TlsFiles, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    """A fork closes all connections: the next call dials the own peer again."""
    hosts = pair(start, tls, None)
    own = link(hosts[0], 0, *(host.address for host in hosts))
    own.sleep()  # type: ignore[attr-defined]
    own.wake()  # type: ignore[attr-defined]
    own.publish(FIRST, MODEL, readers=[])
    [answer] = own.fetch([FIRST], HASTY)
    np.testing.assert_array_equal(answer["w"], MODEL["w"])


def test_rounds_of_two_peers_under_mutual_tls(
    office: Office, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    files = office.issue("localhost", ca=office.ca)
    hosts = pair(start, files, files)
    links = [link(host, node, *(host.address for host in hosts)) for node, host in enumerate(hosts)]
    models = [{"w": np.array([1.0])}, {"w": np.array([5.0])}]
    for own, model in zip(links, models, strict=True):
        own.publish(INITIAL, model, readers=[])
        assert own.fetch([INITIAL], HASTY)[0]["w"] == model["w"]
    for round in range(1, 5):
        ids = [ModelId(round, node, node) for node in (0, 1)]
        for own, id, model in zip(links, ids, models, strict=True):
            own.publish(id, model, readers=[0, 1])
        both = [own.fetch(ids, HASTY) for own in links]
        models = [{"w": 0.75 * a["w"] + 0.25 * b["w"]} for a, b in (both[0], both[1][::-1])]
    assert [model["w"][0] for model in models] == [2.875, 3.125]
    assert all(own.traffic.fetches == 4 for own in links)


def test_the_local_client_is_told_the_files(office: Office, start: Callable[..., PeerHost]) -> None:
    files = office.issue("localhost", ca=office.ca)
    [host] = pair(start, files)
    info = describe(host.local_address)
    assert info.tls
    assert info.tls_files == files


def test_the_network_side_speaks_tls_and_nothing_else(
    office: Office, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    [host] = pair(start, office.issue("localhost"))
    context = ssl.create_default_context(cafile=office.ca)
    context.set_alpn_protocols(["h2"])
    port = int(host.address.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
    [insecure] = pair(start, None)
    answer = fetch([host, insecure], link)
    assert isinstance(answer, Missing)
    assert answer.kind in ("unreachable", "silent")


def test_without_a_ca_the_systems_cas_are_asked(
    office: Office,
    start: Callable[..., PeerHost],
    link: Callable[..., PeerLink],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = pair(start, office.issue("localhost"), office.issue("localhost"))
    answer = fetch(hosts, link)
    assert isinstance(answer, Missing) and answer.kind == "unreachable"
    monkeypatch.setenv("SSL_CERT_FILE", office.ca)
    np.testing.assert_array_equal(fetch(hosts, link)["w"], MODEL["w"])


def test_a_certificate_of_another_ca_is_shut_out(
    office: Office, tmp_path: Path, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    theirs = Office(tmp_path / "theirs", "theirs")
    stranger = theirs.issue("localhost", ca=theirs.ca)
    answer = fetch(pair(start, office.issue("localhost", ca=office.ca), stranger), link)
    assert isinstance(answer, Missing)
    assert answer.kind in ("unreachable", "silent")


def test_a_peer_with_the_certificate_of_another_host_is_not_trusted(
    office: Office, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    wrong = office.issue("elsewhere.example", ca=office.ca)
    right = office.issue("localhost", ca=office.ca)
    answer = fetch([elsewhere(start, wrong), *pair(start, right)], link)
    assert isinstance(answer, Missing)
    assert answer.kind in ("unreachable", "silent")


def test_nobody_reads_in_the_name_of_a_node_on_another_host(
    office: Office, start: Callable[..., PeerHost], link: Callable[..., PeerLink]
) -> None:
    [right] = pair(start, office.issue("localhost", ca=office.ca))
    hosts = [right, elsewhere(start, office.issue("elsewhere.example", ca=office.ca))]
    answer = fetch(hosts, link)
    assert isinstance(answer, Missing)
    assert answer.kind == "refused"
    assert "not one for node 1 at localhost:" in answer.reason
