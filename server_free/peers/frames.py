"""Between the messages of peer.proto and our own values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..codecs import MAX_DIMENSIONS, Chunk
from ..errors import WireError
from ..models import TensorSpec
from . import peer_pb2 as pb
from .links import WIRE_VERSION, Membership, ModelId, PeerInfo, TlsFiles
from .tokens import fingerprint, make_nonce, make_token
from .training import Absent, NotReady, Ready

__all__ = [
    "CHANNEL_OPTIONS",
    "absent_frame",
    "challenge_frame",
    "chunk_frame",
    "fetch_request",
    "from_chunk",
    "from_description",
    "from_id",
    "from_state",
    "from_tensors",
    "header_frame",
    "not_ready_frame",
    "publish_chunk",
    "publish_header",
    "to_description",
]

MAX_MESSAGE_BYTES = 16 << 20
"""A chunk is far smaller; the header of a model with 100,000 tensors still fits."""
MAX_TENSORS = 1 << 17
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
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


def _header(tensors: Iterable[TensorSpec], nbytes: int) -> pb.Header:
    specs = (pb.Tensor(name=t.name, dtype=t.dtype, shape=t.shape) for t in tensors)
    return pb.Header(nbytes=nbytes, tensors=specs)


def _chunk(chunk: Chunk) -> pb.Chunk:
    return pb.Chunk(data=chunk.data, crc32=chunk.crc32)


def from_chunk(chunk: pb.Chunk) -> Chunk:
    """Return the chunk, unchecked."""
    return Chunk(chunk.data, chunk.crc32)


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


def header_frame(answer: Ready) -> pb.FetchFrame:
    """Return the frame that opens a model."""
    return pb.FetchFrame(
        header=_header(answer.model.tensors, answer.model.nbytes),
        known_missing=answer.state.known_missing,
        state=_state(answer.state),
    )


def chunk_frame(chunk: Chunk) -> pb.FetchFrame:
    """Return the frame of a chunk."""
    return pb.FetchFrame(chunk=_chunk(chunk))


# ----- publish


def publish_header(
    membership: Membership,
    id: ModelId,
    tensors: Iterable[TensorSpec],
    nbytes: int,
    readers: Iterable[int],
    keep: bool = False,
) -> pb.PublishFrame:
    """Return the frame that opens a publication."""
    header = pb.PublishHeader(
        training=membership.training,
        id=_id(id),
        readers=sorted(readers),
        header=_header(tensors, nbytes),
        keep=keep,
    )
    return pb.PublishFrame(header=header)


def publish_chunk(chunk: Chunk) -> pb.PublishFrame:
    """Return the frame of a chunk that is published."""
    return pb.PublishFrame(chunk=_chunk(chunk))


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
