"""Every kind of request over every kind of connection ends as docs/security.md says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from flwr_gossip.server_free.codecs import encode
from flwr_gossip.server_free.peers import frames
from flwr_gossip.server_free.peers import peer_pb2 as pb
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, ModelId, TlsFiles
from flwr_gossip.server_free.peers.peer_pb2_grpc import PeerStub
from offices import Office

DOCS = Path(__file__).parents[3] / "docs" / "security.md"
FIRST = ModelId(1, 0, 0)
MODES = ("`--insecure`", "TLS", "mutual TLS")
READER = Membership("t", b"k" * 32, 1, "s", ("localhost:1", "localhost:2"))
STRANGER = replace(READER, key=b"x" * 32)


def stated() -> dict[tuple[str, str], str]:
    """Return (request, mode) -> outcome as the table of the docs has it."""
    lines = DOCS.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| request |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    (_, *modes), _, *body = rows
    assert tuple(modes) == MODES
    return {(row[0], mode): cell for row in body for mode, cell in zip(modes, row[1:], strict=True)}


STATED = stated()


@dataclass(frozen=True)
class Place:
    """Peers of each mode, and the certificates that who dials may show."""

    hosts: Mapping[str, PeerHost]
    files: Mapping[str, TlsFiles | None]
    certificates: Mapping[str, TlsFiles]

    @contextmanager
    def dial(self, host: PeerHost, mode: str, shown: str) -> Iterator[PeerStub]:
        """Dial with the certificate ``shown``, or with "none", or in "plain" text."""
        port = host.listen_address.rpartition(":")[2]
        target, files = f"localhost:{port}", self.certificates["own"]
        if mode == MODES[0] or shown == "plain":
            channel = grpc.insecure_channel(target)
        else:
            root = Path(files.ca_certfile or "").read_bytes()
            pair: tuple[bytes | None, bytes | None] = (None, None)
            if shown != "none":
                files = self.certificates[shown]
                pair = Path(files.keyfile).read_bytes(), Path(files.certfile).read_bytes()
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(root, *pair))
        with channel:
            yield PeerStub(channel)


def started(files: TlsFiles | None) -> PeerHost:
    host = PeerHost(advertise="localhost:0", tls=files).start()
    host.mailbox.open("t", READER.key, READER.addresses)
    host.mailbox.put("t", FIRST, encode({"w": np.ones(3)}))
    return host


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    office = Office(tmp_path_factory.mktemp("ours"))
    other = Office(tmp_path_factory.mktemp("theirs"), "theirs")
    own = office.issue("localhost", ca=office.ca)
    files = dict(zip(MODES, (None, replace(own, ca_certfile=None), own), strict=True))
    certificates = {
        "own": own,
        "of another node": office.issue("elsewhere.example", ca=office.ca),
        "of another CA": other.issue("localhost", ca=office.ca),
    }
    with ExitStack() as stack:
        hosts = {mode: started(files[mode]) for mode in MODES}
        for host in hosts.values():
            stack.callback(host.stop)
        yield Place(hosts, files, certificates)


def outcome(stub: PeerStub, request: pb.FetchRequest) -> str:
    """Return in a word what comes of the request."""
    call = stub.Fetch(request, timeout=10)
    try:
        frame = next(call)
    except grpc.RpcError as error:
        words = {"PERMISSION_DENIED": "refused", "UNAVAILABLE": "no connection"}
        return words[error.code().name]
    finally:
        call.cancel()
    if frame.WhichOneof("frame") == "not_ready":
        assert not frame.not_ready.started and not frame.known_missing
    words = {"header": "served", "not_ready": "waits", "challenge": "asked again"}
    return words[frame.WhichOneof("frame")]


def ask(
    stub: PeerStub, member: Membership = READER, **changes: object
) -> tuple[str, pb.FetchRequest]:
    """Ask for the challenge, then for the model; return what came of it, and the request."""
    challenge = b""
    if member is READER:
        try:
            [told] = stub.Fetch(frames.fetch_request(member, FIRST, 1), timeout=10)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
        else:
            challenge = told.challenge
    request = frames.fetch_request(member, FIRST, 1, challenge)
    for name, value in changes.items():
        setattr(request, name, value)
    return outcome(stub, request), request


def played(kind: str, mode: str, place: Place) -> str:
    """Play one cell of the table with a real peer."""
    host = place.hosts[mode]
    shown = {
        "right token, certificate of another node": "of another node",
        "right token, certificate of another CA": "of another CA",
        "right token, no certificate": "none",
        "right token, in plain text": "plain",
    }.get(kind, "own")
    with place.dial(host, mode, shown) as stub:
        if kind == "wrong token":
            return ask(stub, token=b"x" * 32)[0]
        if kind == "no token":
            return ask(stub, token=b"")[0]
        if kind == "token of another run":
            return ask(stub, STRANGER)[0]
        first, request = ask(stub)
        if not kind.startswith("replayed"):
            return first
        assert first == "served"
        if kind == "replayed":
            return outcome(stub, request)
    restarted = started(place.files[mode])
    try:
        with place.dial(restarted, mode, shown) as stub:
            return outcome(stub, request)
    finally:
        restarted.stop()


@pytest.mark.parametrize(("kind", "mode"), STATED)
def test_the_outcome_is_the_stated_one(kind: str, mode: str, place: Place) -> None:
    assert played(kind, mode, place) == STATED[kind, mode]


def test_the_table_is_complete() -> None:
    kinds = {"right token", "wrong token", "token of another run", "replayed", "no token"}
    assert STATED.keys() >= {(kind, mode) for kind in kinds for mode in MODES}
