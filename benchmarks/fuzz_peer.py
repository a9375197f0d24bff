"""Throws nonsense at a real peer process and says what became of it: one table.

    python benchmarks/fuzz_peer.py --runs 10000

Requests of every method of both services, over gRPC and as bytes on the line: random bytes, damaged
good requests, hostile names, numbers and shapes, huge declared lengths, bad tokens, streams that
end early. Each must be refused with a status, or be answered without a byte of a model. Afterwards
the peer still serves who may read, its memory is within its limit, and there is no file outside
its store. The decoders of what a peer sends get as much again, in this process.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from workers import peak_bytes, rss_bytes

from flwr_gossip.server_free.codecs import Chunk, Decoder
from flwr_gossip.server_free.errors import GossipError
from flwr_gossip.server_free.peers import frames
from flwr_gossip.server_free.peers import peer_pb2 as pb
from flwr_gossip.server_free.peers.links import Membership, Missing, ModelId, Patience, connect
from flwr_gossip.server_free.peers.peer_pb2_grpc import PeerStub
from flwr_gossip.server_free.peers.raw import pack, unpack

KEY = b"k" * 32
GOOD = ModelId(1, 0, 0)
MAX_MEMORY = 64 << 20
SLACK = 64 << 20
"""gRPC's own buffers and Python's heap, beside the models."""
LOG_BYTES = 64 << 10
ANSWER_S = 10.0
REFUSALS = {
    *("INVALID_ARGUMENT", "PERMISSION_DENIED", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"),
    *("UNIMPLEMENTED", "NOT_FOUND"),
}
HARMLESS = {"answered", "not_ready", "challenge", "absent"}
TEXTS = [
    *("", "t", "../../../../tmp/flwr-gossip-fuzz", "/etc/passwd", "\0", "a\nb", "%s%n", "~", "."),
    *("..", "con", "\u202e", "\U0001f4a5" * 50, "x" * 300, "x" * 5000, "{}", "a/b", "\\"),
]
NUMBERS = [0, 1, 2, -1, -2, 7, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63), 2**64 - 1]
FLOATS = [0.0, -1.0, 1e-300, 1e308, float("inf"), float("-inf"), float("nan"), 0.01]
SIZES = [0, 1, 8, 15, 16, 17, 31, 32, 33, 200, 4000]
DTYPES = ["float32", "int8", "object", "O", "float32\0", "|V8", "<f4", "complex64", "bool"]
LIMITS = {
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
}


@dataclass
class Report:
    """What became of the inputs: (side, kind, outcome) -> how many, and what must not be."""

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    start_bytes: int = 0
    end_bytes: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return sum(self.outcomes.values())

    def table(self) -> str:
        """Return the table."""
        lines = ["side      kind               outcome               inputs"]
        for (side, kind, outcome), number in sorted(self.outcomes.items()):
            lines.append(f"{side:9} {kind:18} {outcome:20} {number:7,}")
        memory = [f"{size / 2**20:.0f} MiB" for size in (self.start_bytes, self.end_bytes)]
        lines.append(
            f"{self.inputs:,} inputs in {self.seconds:.0f} s; {len(self.wrong)} went wrong"
        )
        lines.append(
            f"memory of the peer: {memory[0]} before, {memory[1]} after, "
            f"{self.peak_bytes / 2**20:.0f} MiB at most; models may have {MAX_MEMORY >> 20} MiB"
        )
        return "\n".join([*lines, *self.wrong[:20]])


# ----- a peer


@dataclass(frozen=True)
class Peer:
    """A peer in a process of its own, whose files are all in ``folder``."""

    process: subprocess.Popen[str]
    address: str
    local: str
    folder: Path

    def memory(self) -> tuple[int, int]:
        """Return its memory now and at most, in bytes."""
        return rss_bytes(self.process.pid), peak_bytes(self.process.pid)

    def strays(self) -> list[str]:
        """Return the files it made outside its store."""
        allowed = {self.folder / "log", self.folder / "peer.sock"}
        files = (path for path in self.folder.rglob("*") if not path.is_dir())
        return [
            str(path)
            for path in files
            if path not in allowed and self.folder / "store" not in path.parents
        ]


@contextmanager
def running_peer() -> Iterator[Peer]:
    """Run ``flwr-gossip peer`` with a store, in a fresh folder that is its home and its world."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/tmp") as name:
        folder = Path(name)
        command = [sys.executable, "-B", "-m", "flwr_gossip.clients.cli", "peer", "--insecure"]
        command += ["--listen", "127.0.0.1:0", "--local", f"unix:{folder}/peer.sock"]
        command += ["--max-memory", str(MAX_MEMORY), "--store", f"{folder}/store"]
        places = dict.fromkeys(("HOME", "TMPDIR", "FLWR_HOME"), name)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **places},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            found = re.search(r"advertise=(\S+) local=(\S+)", line)
            if found is None:
                raise RuntimeError((folder / "log").read_text())
            yield Peer(process, found[1], found[2], folder)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                process.kill()


# ----- nonsense


def hostile(descriptor: Descriptor, rng: random.Random, depth: int = 0) -> Message:
    """Return a message whose fields hold what no honest client sends."""
    message = GetMessageClass(descriptor)()
    for one in descriptor.fields:
        if rng.random() < 0.25 or depth > 3:
            continue
        repeated = one.label == FieldDescriptor.LABEL_REPEATED
        if one.message_type is not None and one.message_type.GetOptions().map_entry:
            for _ in range(rng.randrange(4)):
                getattr(message, one.name)[rng.choice(NUMBERS[:8])] = rng.choice(TEXTS)
        elif one.message_type is not None:
            values = [hostile(one.message_type, rng, depth + 1) for _ in range(rng.randrange(4))]
            if repeated:
                getattr(message, one.name).extend(values)
            elif values:
                getattr(message, one.name).CopyFrom(values[0])
        elif repeated:
            getattr(message, one.name).extend(value(one, rng) for _ in range(rng.randrange(6)))
        else:
            setattr(message, one.name, value(one, rng))
    return message


def value(one: FieldDescriptor, rng: random.Random) -> Any:
    """Return a value of the field's type; some are right, so that the rest is looked at too."""
    if one.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(DTYPES if one.name == "dtype" else TEXTS)
    if one.type == FieldDescriptor.TYPE_BYTES:
        return KEY if one.name == "key" else rng.randbytes(rng.choice(SIZES))
    if one.type == FieldDescriptor.TYPE_BOOL:
        return rng.random() < 0.5
    if one.type == FieldDescriptor.TYPE_DOUBLE:
        return rng.choice(FLOATS)
    if one.name == "protocol" and rng.random() < 0.7:
        return frames.WIRE_VERSION
    least, most = LIMITS[one.type]
    return min(max(rng.choice(NUMBERS), least), most)


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Return ``whole`` with bytes flipped, cut off, doubled or put in."""
    data = bytearray(whole)
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(data) + 1)
        how = rng.randrange(4)
        if how == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[place:]
        elif how == 2:
            data[place:place] = rng.randbytes(rng.randrange(9))
        else:
            data += data[place:]
        if not data:
            break
    return bytes(data)


def overstated(rng: random.Random) -> bytes:
    """Return a field whose stated length is far more than what follows."""
    length, varint = rng.choice([2**20, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1]), bytearray()
    while length > 127:
        varint.append(length & 127 | 128)
        length >>= 7
    varint.append(length)
    return bytes([rng.randrange(1, 12) << 3 | 2]) + bytes(varint) + rng.randbytes(20)


def good_request(address: str, challenge: bytes = b"") -> pb.FetchRequest:
    """Return a request for the good model that would be served with this challenge."""
    return frames.fetch_request(Membership("good", KEY, 1, "s", (address,)), GOOD, 1.0, challenge)


def challenge_of(peer: Peer) -> bytes:
    """Ask the peer's network side for its challenge."""
    with grpc.insecure_channel(peer.address) as channel:
        [told] = PeerStub(channel).Fetch(good_request(peer.address), timeout=ANSWER_S)
        return bytes(told.challenge)


def requests(peer: Peer, descriptor: Descriptor, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield (kind, message) of one method without end."""
    challenge = challenge_of(peer)
    while True:
        yield "random bytes", rng.randbytes(rng.choice(SIZES))
        yield "hostile fields", hostile(descriptor, rng).SerializeToString()
        yield "hostile fields", hostile(descriptor, rng).SerializeToString()
        yield "overstated length", overstated(rng)
        message = hostile(descriptor, rng).SerializeToString()
        yield "damaged", damaged(message, rng)
        if descriptor.name == "PublishHeader":  # it comes packed, with bytes behind it
            packed = pack(hostile(descriptor, rng), rng.randbytes(rng.choice(SIZES)))
            yield "hostile fields", packed
            yield "damaged", damaged(packed, rng)
        if descriptor.name == "FetchRequest":
            request = good_request(peer.address, challenge)
            request.token = rng.randbytes(rng.choice([0, 32, *SIZES]))
            yield "bad token", request.SerializeToString()
            yield "damaged request", damaged(request.SerializeToString(), rng)
        if rng.random() < 0.02:
            yield "too large", rng.randbytes(rng.randrange(70_000, 1_000_000))


# ----- throwing it


def throw(channel: grpc.Channel, path: str, streams: bool, messages: list[bytes]) -> str:
    """Send the messages to a method and return what came of it."""
    make = channel.stream_stream if streams else channel.unary_stream
    call = make(path)(iter(messages) if streams else messages[0], timeout=ANSWER_S)
    try:
        answer = next(call, None)
    except grpc.RpcError as error:
        return str(error.code().name)
    finally:
        call.cancel()
    if path.endswith(("/Fetch", "/Ask")) and answer is not None:
        packed = path.endswith("/Ask")
        frame = unpack(pb.FetchFrame, answer)[0] if packed else pb.FetchFrame.FromString(answer)
        kind = frame.WhichOneof("frame")
        return "SERVED" if kind == "header" else str(kind)
    return "answered"


def shout(peer: Peer, rng: random.Random) -> str:
    """Send bytes to the port that are no gRPC, or only begin as such."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    junk = rng.randbytes(rng.choice(SIZES))
    frame = struct.pack(">I", rng.randrange(2**24) << 8 | rng.randrange(12)) + rng.randbytes(5)
    host, port = peer.address.split(":")
    with socket.create_connection((host, int(port)), timeout=ANSWER_S) as line:
        line.sendall(rng.choice([junk, preface + junk, preface + frame, preface + frame + junk]))
        line.settimeout(0.02)
        try:
            while line.recv(4096):
                pass
        except TimeoutError:
            return "nothing said"
        except OSError:
            return "closed"
    return "closed"


def fuzz_service(peer: Peer, side: str, runs: int, rng: random.Random, report: Report) -> None:
    """Throw ``runs`` inputs at all methods of the network or the local service."""
    names = ("LocalPeer",) if side == "local" else ("Peer", "Relay")
    address = peer.address if side == "network" else peer.local
    methods = [
        (f"/{service.full_name}/{one.name}", one.client_streaming, one.input_type)
        for service in map(pb.DESCRIPTOR.services_by_name.get, names)
        for one in service.methods
    ]
    sources = {path: requests(peer, kind, rng) for path, _, kind in methods}
    with grpc.insecure_channel(address, options=frames.CHANNEL_OPTIONS) as channel:
        for number in range(runs):
            if side == "network" and number % 20 == 0:
                report.outcomes[side, "no gRPC", shout(peer, rng)] += 1
                continue
            path, streams, _ = methods[number % len(methods)]
            kind, message = next(sources[path])
            messages = [message]
            if streams:
                messages += [next(sources[path])[1] for _ in range(rng.randrange(3))]
            outcome = throw(channel, path, streams, messages)
            report.outcomes[side, kind, outcome] += 1
            if outcome not in REFUSALS | HARMLESS:
                report.wrong.append(f"{outcome}: {path} {kind} {messages[0][:200]!r}")


def fuzz_decoders(runs: int, rng: random.Random, report: Report) -> None:
    """Decode nonsense as a client does with what a peer sends."""
    header = pb.DESCRIPTOR.message_types_by_name["Header"]
    frame = pb.DESCRIPTOR.message_types_by_name["FetchFrame"]
    for number in range(runs):
        kind = ("random bytes", "overstated length", "hostile header", "damaged frame")[number % 4]
        try:
            if number % 4 == 0:
                decode_frame(rng.randbytes(rng.choice(SIZES)))
            elif number % 4 == 1:
                decode_frame(overstated(rng))
            elif number % 4 == 2:
                decode_model(hostile(header, rng), rng)
            else:
                decode_frame(damaged(hostile(frame, rng).SerializeToString(), rng))
            outcome = "decoded"
        except (GossipError, ValueError, DecodeError) as error:
            outcome = type(error).__name__
        except Exception as error:
            outcome = type(error).__name__
            report.wrong.append(f"the decoder raised {error!r} for {kind}")
        report.outcomes["decoder", kind, outcome] += 1


def decode_frame(data: bytes) -> None:
    """Parse a frame and look at all of it."""
    frame = pb.FetchFrame.FromString(data)
    frames.from_state(frame)
    if frame.WhichOneof("frame") == "header":
        Decoder(frames.from_tensors(frame.header), frame.header.nbytes, MAX_MEMORY)


def decode_model(header: Any, rng: random.Random) -> None:
    """Decode a model with this header and random chunks."""
    decoder = Decoder(frames.from_tensors(header), header.nbytes, MAX_MEMORY)
    for _ in range(rng.randrange(3)):
        decoder.feed(Chunk(rng.randbytes(rng.choice(SIZES)), rng.randrange(2**32)))
    decoder.finish()


# ----- before and after


def publish_good(peer: Peer) -> None:
    """Put a model there that a right token gets."""
    with connect(peer.local, Membership("good", KEY, 0, "s", (peer.address,))) as link:
        link.publish(GOOD, {"w": np.zeros(10_000, np.float32)}, [], keep=True)


def serves(peer: Peer) -> bool:
    """Whether who may read still gets the good model."""
    with connect(peer.local, Membership("good", KEY, 1, "", (peer.address,))) as link:
        [answer] = link.fetch([GOOD], Patience(10, 10, 10))
    return not isinstance(answer, Missing)


def fuzz(runs: int, seed: int = 0, tell: Callable[[str], None] = print) -> Report:
    """Throw ``runs`` inputs in all: two fifths at each service, a fifth at the decoders."""
    rng, report, began = random.Random(seed), Report(), time.monotonic()
    with running_peer() as peer:
        publish_good(peer)
        report.start_bytes, _ = peer.memory()
        for side in ("network", "local"):
            fuzz_service(peer, side, 2 * runs // 5, rng, report)
            tell(f"{side}: {report.inputs:,} inputs so far")
        fuzz_decoders(runs - report.inputs, rng, report)
        if peer.process.poll() is not None:
            report.wrong.append("the peer has ended: " + (peer.folder / "log").read_text()[-2000:])
            return report
        if not serves(peer):
            report.wrong.append("the peer no longer serves who may read")
        report.end_bytes, report.peak_bytes = peer.memory()
        if report.peak_bytes > report.start_bytes + MAX_MEMORY + SLACK:
            report.wrong.append("the peer took more memory than its limit")
        log = (peer.folder / "log").read_text()
        if "Traceback" in log or len(log) > LOG_BYTES:
            report.wrong.append(f"the log has {len(log)} bytes: {log[-2000:]}")
        report.wrong += [f"a file outside the store: {path}" for path in peer.strays()]
    report.seconds = time.monotonic() - began
    return report


def main() -> int:
    """Fuzz, print the table, and say by the exit code whether all went well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="1,000 inputs")
    options = parser.parse_args()
    report = fuzz(1_000 if options.quick else options.runs, options.seed)
    print(report.table())
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
