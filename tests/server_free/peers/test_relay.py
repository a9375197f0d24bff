"""A third peer stands in where two cannot connect: numbers, bytes, who may, and what fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from flwr_gossip.server_free.peers import frames, relay
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, Missing, ModelId, Patience, connect
from flwr_gossip.server_free.peers.peer_pb2_grpc import RelayStub
from flwr_gossip.server_free.reachability import Relayed
from offices import Office
from proxies import free_port, mute_socket

KEY = b"k" * 32
A, B, C = 0, 1, 2
OF_C = ModelId(1, C, C)
MODEL = {"w": np.arange(1_000_000, dtype=np.float32)}
HASTY = Patience(silence_s=2, start_s=2, ceiling_s=4)
PAIR = (Relayed(A, C, B),)


class Three:
    """Three peers; A does not know where C's peer really is."""

    def __init__(self, stack: ExitStack, office: Office | None = None) -> None:
        options = [{}, {}, {}] if office is None else [on_host(office, node) for node in range(3)]
        self.hosts = [stack.enter_context(PeerHost(**options[node])) for node in range(3)]
        self.addresses = [host.address for host in self.hosts]
        self._stack = stack

    def membership(self, node: int, relayed: tuple[Relayed, ...] = PAIR) -> Membership:
        addresses = list(self.addresses)
        if node == A:
            addresses[C] = f"127.0.0.1:{free_port()}"
        return Membership("t", KEY, node, f"s{node}", tuple(addresses), relayed=relayed)

    def link(self, node: int, relayed: tuple[Relayed, ...] = PAIR) -> Any:
        local = self.hosts[node].local_address
        return self._stack.enter_context(connect(local, self.membership(node, relayed)))


def on_host(office: Office, node: int) -> dict[str, Any]:
    """Return the options of a peer that seems to be on a host of its own."""
    host = f"127.0.0.{node + 1}"
    return {"listen": f"{host}:0", "tls": office.issue(host, ca=office.ca)}


@pytest.fixture
def three() -> Iterator[Three]:
    with ExitStack() as stack:
        yield Three(stack)


def test_a_model_comes_through_a_third_peer(three: Three) -> None:
    reader, _, holder = three.link(A), three.link(B), three.link(C)
    holder.publish(OF_C, MODEL, [A])
    (model,) = reader.fetch([OF_C], HASTY)
    np.testing.assert_array_equal(model["w"], MODEL["w"])
    assert reader.traffic.bytes_relayed == reader.traffic.bytes_fetched == MODEL["w"].nbytes


def test_a_reader_waits_for_a_relay_and_a_holder_that_begin_later(
    three: Three, in_background: Callable[..., Any]
) -> None:
    reader = three.link(A)
    patient = Patience(silence_s=5, start_s=20, ceiling_s=20)
    fetched = in_background(lambda: reader.fetch([OF_C], patient))
    three.link(B)
    three.link(C).publish(OF_C, MODEL, [A])
    np.testing.assert_array_equal(fetched()[0]["w"], MODEL["w"])


def test_a_dead_holder_is_missing_and_the_relay_says_why(three: Three) -> None:
    reader, _ = three.link(A), three.link(B)
    three.hosts[C].stop()
    (missing,) = reader.fetch([OF_C], HASTY)
    assert isinstance(missing, Missing)
    assert (missing.kind, missing.id) == ("unreachable", OF_C)
    assert f"node {B}, which relays, got from {three.addresses[C]}" in missing.reason


def test_who_is_read_through_a_relay_is_not_called_missing_to_others(three: Three) -> None:
    reader, other = three.link(A), three.link(B)
    reader.report_missing({C: "A's relay is gone"})
    assert reader.known_missing == {C: "A's relay is gone"}
    other.fetch([ModelId(1, A, A)], Patience(silence_s=1, start_s=0.2, ceiling_s=0.2))
    assert other.known_missing == {}


@pytest.mark.parametrize("knows", ["relay", "holder"])
def test_nobody_relays_or_is_relayed_unless_the_run_says_so(three: Three, knows: str) -> None:
    reader = three.link(A)
    three.link(B, PAIR if knows == "relay" else ())
    three.link(C, PAIR if knows == "holder" else ()).publish(OF_C, MODEL, [A])
    (missing,) = reader.fetch([OF_C], HASTY)
    assert isinstance(missing, Missing)
    assert missing.kind == "not-started"


def test_under_mutual_tls_the_relay_is_who_shows_a_certificate(tmp_path: Path) -> None:
    with ExitStack() as stack:
        three = Three(stack, Office(tmp_path / "ca"))
        reader, relaying, holder = three.link(A), three.link(B), three.link(C)
        holder.publish(OF_C, MODEL, [A])
        np.testing.assert_array_equal(reader.fetch([OF_C], HASTY)[0]["w"], MODEL["w"])
        # B reads in A's name only as the relay that it was made.
        posing = replace(three.membership(B), node=A, relayed=())
        posed = stack.enter_context(connect(three.hosts[B].local_address, posing))
        (missing,) = posed.fetch([OF_C], HASTY)
        assert isinstance(missing, Missing)
        assert (missing.kind, "not one for node 0" in missing.reason) == ("refused", True)
        assert relaying.traffic.bytes_relayed == 0


def ask(three: Three, membership: Membership, **changes: Any) -> grpc.StatusCode:
    """Ask B to relay a request with these changes; return how it ends."""
    request = frames.fetch_request(membership, OF_C, 2.0)
    for name, value in changes.items():
        setattr(request, name, value)
    with grpc.insecure_channel(three.addresses[B]) as channel:
        call = RelayStub(channel).Fetch(request, timeout=5)
        try:
            list(call)
        except grpc.RpcError as error:
            return error.code()
        return call.code()


def test_a_relay_serves_only_who_has_the_key(three: Three) -> None:
    three.link(B)
    three.link(C).publish(OF_C, MODEL, [A])
    membership = three.membership(A)
    assert ask(three, membership) == grpc.StatusCode.OK
    denied = grpc.StatusCode.PERMISSION_DENIED
    assert ask(three, membership, token=b"x" * 32) == denied
    assert ask(three, membership, nonce=b"x" * 16) == denied


def test_a_relay_hands_on_the_holders_refusal_of_a_replay(three: Three) -> None:
    three.link(B)
    three.link(C).publish(OF_C, MODEL, [A])
    membership = three.membership(A)
    with grpc.insecure_channel(three.addresses[B]) as channel:
        fetch = RelayStub(channel).Fetch
        (challenged,) = fetch(frames.fetch_request(membership, OF_C, 2.0), timeout=5)
        request = frames.fetch_request(membership, OF_C, 2.0, challenged.challenge)
        assert next(iter(fetch(request, timeout=5))).WhichOneof("frame") == "header"
        with pytest.raises(grpc.RpcError) as again:
            list(fetch(request, timeout=5))
    assert again.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "was used before" in again.value.details()


def test_a_relay_has_a_limit(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_RELAYED", 0)
    reader, _ = three.link(A), three.link(B)
    three.link(C).publish(OF_C, MODEL, [A])
    (missing,) = reader.fetch([OF_C], HASTY)
    assert isinstance(missing, Missing)


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("SILENT_S", r"node 1, which relays, got nothing from .* for 0\.3 s"),
        ("LONGEST_S", "got from"),
    ],
)
def test_a_relay_waits_with_a_deadline_of_its_own_for_a_holder_that_says_nothing(
    three: Three, monkeypatch: pytest.MonkeyPatch, limit: str, says: str
) -> None:
    monkeypatch.setattr(relay, limit, 0.3)
    with mute_socket() as nobody, ExitStack() as stack:
        three.addresses[C] = nobody
        three.link(B)
        channel = stack.enter_context(grpc.insecure_channel(three.addresses[B]))
        request = frames.fetch_request(three.membership(A), OF_C, 2.0)
        with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED") as ended:
            list(RelayStub(channel).Fetch(request, timeout=30))
    assert re.search(says, ended.value.details())


@pytest.mark.parametrize("nodes", [(0, 0, 1), (0, 1, 1), (0, 1, -1)])
def test_a_relay_is_a_third_node(nodes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=str(nodes[2])):
        Relayed(*nodes)
