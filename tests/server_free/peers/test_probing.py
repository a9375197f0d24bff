"""Probes name what is wrong between two peers: address, port, TLS, certificate, key, version."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from flwr_gossip.server_free.peers import host, probing
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, TlsFiles, connect
from flwr_gossip.server_free.peers.memory import MemoryHost
from flwr_gossip.server_free.reachability import Unreachable
from offices import Office
from proxies import Proxy, free_port, mute_socket

KEY = b"k" * 32


class Company(Office):
    """An office that keeps every certificate it issues, and names its own CA beside it."""

    def issue(self, *hosts: str, **options: Any) -> TlsFiles:
        self.folder = self.folder / "next"
        self.folder.mkdir()
        return super().issue(*(hosts or ("127.0.0.1",)), **{"ca": self.ca, **options})


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let peers start with certificates that they would refuse, or that got bad later."""
    monkeypatch.setattr(host, "check_files", lambda files, address=None: files)


@pytest.fixture
def ours(tmp_path: Path) -> Company:
    return Company(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Company:
    return Company(tmp_path / "theirs")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def probe(stack: ExitStack, mine: TlsFiles | None, *addresses: str) -> list[Unreachable]:
    """Probe these addresses from node 0, whose peer has the files ``mine``."""
    own = stack.enter_context(PeerHost(tls=mine))
    membership = Membership("t", KEY, 0, "s", (own.address, *addresses))
    link = stack.enter_context(connect(own.local_address, membership))
    found = link.probe(range(1, len(addresses) + 1))
    assert link.known_missing.keys() == {one.holder for one in found}
    return found


def peer(stack: ExitStack, files: TlsFiles | None, **options: Any) -> str:
    return stack.enter_context(PeerHost(tls=files, **options)).address


def test_who_can_talk_is_not_named(stack: ExitStack, ours: Company) -> None:
    addresses = [peer(stack, ours.issue()) for _ in range(3)]
    assert probe(stack, ours.issue(), *addresses) == []


def test_plain_peers_can_talk(stack: ExitStack) -> None:
    assert probe(stack, None, peer(stack, None)) == []


def test_a_line_that_breaks_once_is_tried_again(stack: ExitStack) -> None:
    limits = [1]  # of the first connection one byte of the answer comes through
    peers = peer(stack, None)
    proxy = stack.enter_context(closing(Proxy(peers, lambda: limits.pop() if limits else None)))
    assert probe(stack, None, proxy.address) == []
    assert not limits and proxy.connections > 1


def test_all_that_can_be_wrong_with_an_address(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PROBE_S", 1.0)
    monkeypatch.setattr("flwr_gossip.server_free.peers.grpc_link.PROBE_S", 1.0)
    monkeypatch.setattr(probing, "DIAGNOSE_S", 1.0)
    closed = f"127.0.0.1:{free_port()}"
    mute = stack.enter_context(mute_socket())
    found = probe(stack, None, closed, mute, "no-such-host.invalid:9400", peer(stack, None))
    assert [(one.reader, one.holder, one.address) for one in found] == [
        (0, 1, closed),
        (0, 2, mute),
        (0, 3, "no-such-host.invalid:9400"),
    ]
    assert [one.kind for one in found] == ["refused", "timed-out", "no-such-name"]
    assert "did not answer within 1 s" in found[1].reason
    assert "'no-such-host.invalid' does not resolve" in found[2].reason


def expired() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


@pytest.mark.usefixtures("unchecked")
def test_what_can_be_wrong_with_their_certificate(
    stack: ExitStack, ours: Company, theirs: Company
) -> None:
    found = probe(
        stack,
        ours.issue(),
        peer(stack, theirs.issue(ca=ours.ca)),
        peer(stack, ours.issue("10.0.0.9")),
        peer(stack, ours.issue(ends=expired())),
        peer(stack, None),
    )
    assert [one.kind for one in found] == [*["certificate"] * 3, "plain-text"]
    reasons = [one.reason for one in found]
    assert reasons[0] == f"unknown CA: {ours.ca} did not sign its certificate"
    assert reasons[1] == "wrong host name: its certificate is not for 127.0.0.1"
    assert reasons[2].startswith("expired: its certificate has expired")
    assert "it speaks plain text" in reasons[3]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("problem", "kind", "says"),
    [
        ("plain", "plain-text", "it speaks TLS and this peer does not"),
        ("other CA", "certificate", "no other peer would accept it"),
        ("expired", "certificate", "expired"),
        ("other host", "certificate", "is not one for its own address 127.0.0.1:"),
    ],
)
def test_what_can_be_wrong_with_the_own_certificate(
    stack: ExitStack, ours: Company, theirs: Company, problem: str, kind: str, says: str
) -> None:
    mine = {
        "plain": None,
        "other CA": theirs.issue(ca=ours.ca),
        "expired": ours.issue(ends=expired()),
        "other host": ours.issue("10.0.0.9"),
    }[problem]
    (found,) = probe(stack, mine, peer(stack, ours.issue()))
    assert (found.kind, says in found.reason) == (kind, True), found


def test_no_client_certificate(
    stack: ExitStack, ours: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ours.ca)  # the system's CAs: then TLS is not mutual
    (found,) = probe(stack, ours.issue(ca=None), peer(stack, ours.issue()))
    assert found.kind == "certificate"
    assert "demands a client certificate" in found.reason


def test_another_key_of_the_run(stack: ExitStack) -> None:
    other = stack.enter_context(PeerHost())
    other.open("t", KEY)
    stack.enter_context(_tokens_of(b"x" * 32))
    (found,) = probe(stack, None, other.address)
    assert (found.kind, found.reason) == ("token", "the token is not good for this run")


def _tokens_of(key: bytes) -> Any:
    patch = pytest.MonkeyPatch()
    make = probing.make_token
    patch.setattr(probing, "make_token", lambda _, *signed: make(key, *signed))
    stack = ExitStack()
    stack.callback(patch.undo)
    return stack


def test_another_version(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    address = peer(stack, None)
    request = probing._request
    changed = [99]

    def from_the_future(*args: Any) -> Any:
        made = request(*args)
        made.protocol = changed[0]
        return made

    monkeypatch.setattr(probing, "_request", from_the_future)
    monkeypatch.setattr(probing, "WIRE_VERSION", 99)
    answer = probing.answer_probe
    monkeypatch.setattr(
        "flwr_gossip.server_free.peers.network_service.answer_probe",
        lambda *args: _as_of_now(answer(*args)),
    )
    (found,) = probe(stack, None, address)
    assert found.kind == "version"
    assert "install the same version" in found.reason


def _as_of_now(reply: Any) -> Any:
    reply.protocol = 1
    return reply


def test_hosts_of_one_process_need_no_probe() -> None:
    with MemoryHost() as own, MemoryHost() as other:
        membership = Membership("t", KEY, 0, "s", (own.address, other.address))
        with connect(own.local_address, membership) as link:
            assert link.probe([1]) == []


def test_a_client_does_not_tell_others_whom_it_cannot_reach(stack: ExitStack) -> None:
    own = stack.enter_context(PeerHost())
    addresses = (own.address, f"127.0.0.1:{free_port()}", own.address)
    membership = Membership("t", KEY, 0, "s", addresses)
    reader = stack.enter_context(connect(own.local_address, membership))
    assert [one.holder for one in reader.probe([1])] == [1]
    reader.report_missing({1: "no model", 2: "gone"})
    told = own.mailbox.known_missing("t", "s")
    assert dict(told) == {2: "gone"}
