"""Between the messages of peer.proto and our own values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from ..codecs import CHUNK_BYTES, MAX_DIMENSIONS, Chunk, EncodedModel
from ..errors import WireError
from ..models import TensorSpec
from . import peer_pb2 as pb
from .links import WIRE_VERSION, Membership, ModelId, PeerInfo, TlsFiles
from .tokens import fingerprint, make_nonce, make_token
from .training import Absent, NotReady

__all__ = [
    "CHANNEL_OPTIONS",
    "MIN_CHUNK_BYTES",
    "absent_frame",
    "challenge_frame",
    "chunks_of",
    "fetch_request",
    "from_description",
    "from_id",
    "from_state",
    "from_tensors",
    "header_frame",
    "not_ready_frame",
    "publish_checksums",
    "publish_header",
    "to_description",
]

MAX_MESSAGE_BYTES = 16 << 20
"""A chunk is far smaller; the header of a model with 100,000 tensors still fits."""
MAX_TENSORS = 1 << 17
MIN_CHUNK_BYTES = 1 << 10
AHEAD_BYTES = 8 << 20
"""How much of a stream may be under way, unread: senders need not wait for each reading."""
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.lookahead_bytes", AHEAD_BYTES),
)


def from_id(id: pb.ModelId) -> ModelId:
    """Return the id; raises ``ValueError`` for one that cannot be."""
    return ModelId(id.round, id.slot, id.node)


def _id(id: ModelId) -> pb.ModelId:
    return pb.ModelId(round=id.round, slot=id.slot, node=id.node)


def from_tensors(header: pb.Header) -> tuple[TensorSpec, ...]:
    """Return the specs a header claims, unchecked but for how many they are."""
    if len(header.tensors) > MAX_TENSORS:
        raise WireError(f"the model has {len(header.tensors)} tensors, at most {MAX_TENSORS} go")
    if any(len(tensor.shape) > MAX_DIMENSIONS for tensor in header.tensors):
        raise WireError(f"a tensor of the model has more than {MAX_DIMENSIONS} dimensions")
    return tuple(TensorSpec(t.name, tuple(t.shape), t.dtype) for t in header.tensors)


@lru_cache(maxsize=8)
def _header(tensors: tuple[TensorSpec, ...], nbytes: int, chunk_bytes: int) -> pb.Header:
    """Return the header of a model without its checksums, which is copied and never changed."""
    specs = (pb.Tensor(name=t.name, dtype=t.dtype, shape=t.shape) for t in tensors)
    return pb.Header(nbytes=nbytes, tensors=specs, chunk_bytes=chunk_bytes)


# ----- fetch


def fetch_request(
    membership: Membership, id: ModelId, silence_s: float, challenge: bytes = b""
) -> pb.FetchRequest:
    """Return a request with a fresh nonce and its token for the peer's ``challenge``."""
    key, nonce = membership.key, make_nonce()
    return pb.FetchRequest(
        protocol=WIRE_VERSION,
        training=membership.training,
        id=_id(id),
        requester=membership.node,
        segment=membership.segment,
        silence_s=silence_s,
        run=fingerprint(key),
        nonce=nonce,
        token=make_token(key, membership.training, id, membership.node, nonce, challenge),
        challenge=challenge,
        via=membership.relay_to(id.node),
    )


def _state(state: NotReady) -> pb.State:
    return pb.State(
        started=state.started,
        round=state.round,
        waiting=state.waiting,
        working_s=state.working_s,
    )


def from_state(frame: pb.FetchFrame) -> NotReady:
    """Return what a sign of life, or the frame that opens a model, says of the holder."""
    state = frame.not_ready if frame.WhichOneof("frame") == "not_ready" else frame.state
    return NotReady(
        state.started, state.round, dict(frame.known_missing), state.waiting, state.working_s
    )


def not_ready_frame(answer: NotReady) -> pb.FetchFrame:
    """Return a sign of life."""
    return pb.FetchFrame(not_ready=_state(answer), known_missing=answer.known_missing)


def challenge_frame(challenge: bytes) -> pb.FetchFrame:
    """Return the frame that asks for a token for ``challenge``."""
    return pb.FetchFrame(challenge=challenge)


def absent_frame(answer: Absent) -> pb.FetchFrame:
    """Return the frame of a model that will not come."""
    return pb.FetchFrame(absent=pb.Absent(kind=answer.kind, reason=answer.reason))


def header_frame(model: EncodedModel, state: NotReady) -> pb.FetchFrame:
    """Return the frame that opens a model."""
    header = _header(model.tensors, model.nbytes, model.chunk_bytes)
    frame = pb.FetchFrame(header=header, known_missing=state.known_missing, state=_state(state))
    frame.header.crc32.extend(model.checksums)
    return frame


def chunks_of(
    message: bytes | memoryview, header: pb.Header, checksums: Iterator[int]
) -> Iterator[Chunk]:
    """Yield the chunks in a message of bytes; raises ``WireError`` if there are no more of them."""
    whole, step = memoryview(message), max(header.chunk_bytes, MIN_CHUNK_BYTES)
    for start in range(0, len(whole), step):
        checksum = next(checksums, None)
        if checksum is None:
            raise WireError(f"there are more chunks than the {len(header.crc32)} of the header")
        yield Chunk(message if len(whole) <= step else whole[start : start + step], checksum)


# ----- publish


def publish_header(
    membership: Membership,
    id: ModelId,
    tensors: tuple[TensorSpec, ...],
    nbytes: int,
    readers: Iterable[int],
    keep: bool = False,
) -> pb.PublishFrame:
    """Return the frame that opens a publication."""
    header = pb.PublishHeader(
        training=membership.training,
        id=_id(id),
        readers=sorted(readers),
        header=_header(tensors, nbytes, CHUNK_BYTES),
        keep=keep,
        run=fingerprint(membership.key),
    )
    return pb.PublishFrame(header=header)


def publish_checksums(crc32: Iterable[int]) -> pb.PublishFrame:
    """Return the frame that ends a publication: the CRC-32 of each chunk."""
    return pb.PublishFrame(checksums=pb.Checksums(crc32=crc32))


# ----- describe


def to_description(info: PeerInfo) -> pb.DescribeReply:
    """Return what a peer tells its local client about itself."""
    files = info.tls_files
    paths: Mapping[str, str] = {}
    if files is not None:
        paths = {
            "certfile": files.certfile,
            "keyfile": files.keyfile,
            "ca_certfile": files.ca_certfile or "",
        }
    return pb.DescribeReply(
        address=info.address, version=info.version, protocol=info.protocol, tls=info.tls, **paths
    )


def from_description(reply: pb.DescribeReply) -> PeerInfo:
    """Return what a peer told about itself."""
    files = None
    if reply.tls:
        files = TlsFiles(reply.certfile, reply.keyfile, reply.ca_certfile or None)
    return PeerInfo(reply.address, reply.version, reply.protocol, reply.tls, files)
