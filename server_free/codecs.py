"""Models as bytes: the specs of the tensors and one little-endian buffer, cut into chunks.

Layout of the buffer: the tensors in the model's order, each from the next multiple of
``ALIGN_BYTES``; the gaps are zero. Nothing is pickled and the numbers are not changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .checksums import crc32
from .errors import ModelError, WireError
from .models import Model, ReadOnlyModel, TensorSpec, signature

__all__ = [
    "CHUNK_BYTES",
    "DTYPES",
    "Chunk",
    "Decoder",
    "EncodedModel",
    "StoredChunks",
    "decode",
    "encode",
    "encoded_bytes",
    "joined",
    "stream",
]

CHUNK_BYTES = 1 << 18
"""Small enough that over a slow line (30 kB/s) each chunk still comes within a silence of 10 s."""
ALIGN_BYTES = 8
MAX_DIMENSIONS = 32
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the buffer and its CRC-32."""

    data: bytes | memoryview
    crc32: int


class StoredChunks(Sequence[Chunk]):
    """Chunks that are kept elsewhere: each is read when it is asked for, all but the last alike."""

    @property
    def chunk_bytes(self) -> int:
        """The size of each chunk but the last, which may be shorter."""
        raise NotImplementedError

    @property
    def checksums(self) -> Sequence[int]:
        """The CRC-32 of each chunk."""
        raise NotImplementedError

    def joined(self, start: int, stop: int) -> bytes:
        """Return the bytes of some chunks in one piece."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class EncodedModel:
    """A model as it is kept and sent: specs, size of the buffer in bytes, and its chunks."""

    tensors: tuple[TensorSpec, ...]
    nbytes: int
    chunks: Sequence[Chunk]

    @property
    def chunk_bytes(self) -> int:
        """The size of each chunk but the last, which may be shorter."""
        if isinstance(self.chunks, StoredChunks):
            return self.chunks.chunk_bytes
        return len(self.chunks[0].data) if self.chunks else 0

    @property
    def checksums(self) -> Sequence[int]:
        """The CRC-32 of each chunk."""
        if isinstance(self.chunks, StoredChunks):
            return self.chunks.checksums
        return [chunk.crc32 for chunk in self.chunks]

    def same_bytes(self, other: EncodedModel) -> bool:
        """Return whether both are the same model bit for bit, however they were cut."""
        if (self.tensors, self.nbytes) != (other.tensors, other.nbytes):
            return False
        if self.chunk_bytes == other.chunk_bytes:  # one chunk after the other, not all at once
            return all(a.data == b.data for a, b in zip(self.chunks, other.chunks, strict=True))
        return b"".join(c.data for c in self.chunks) == b"".join(c.data for c in other.chunks)

    def encoded(self) -> EncodedModel:
        """Return itself."""
        return self

    def decoded(self) -> ReadOnlyModel:
        """Return its arrays as :func:`decode` does."""
        return decode(self)


def encode(model: Model, chunk_bytes: int | None = CHUNK_BYTES) -> EncodedModel:
    """Encode ``model``, as one chunk if ``chunk_bytes`` is None; it shares no memory with it.

    Raises
    ------
    ModelError
        If a tensor has a dtype that is not in ``DTYPES`` or a name that is not text.
    """
    tensors, nbytes, chunks = stream(model, chunk_bytes)
    return EncodedModel(tensors, nbytes, tuple(chunks))


def stream(
    model: Model, chunk_bytes: int | None = CHUNK_BYTES
) -> tuple[tuple[TensorSpec, ...], int, Iterator[Chunk]]:
    """Return specs, size and chunks of ``model`` as :func:`encode` does, one chunk at a time.

    The arrays must not change till the last chunk is taken.
    """
    specs = signature(model)
    nbytes = encoded_bytes(specs)
    pieces = _cut(_pieces(model), chunk_bytes or nbytes + 1)
    return specs, nbytes, (Chunk(piece, crc32(piece)) for piece in pieces)


@lru_cache(maxsize=64)
def encoded_bytes(tensors: tuple[TensorSpec, ...]) -> int:
    """Return the size of the buffer; ``ModelError`` for a tensor that :func:`encode` refuses."""
    for spec in tensors:
        _check_encodable(spec)
    return _offsets(tensors)[-1]


def decode(encoded: EncodedModel) -> ReadOnlyModel:
    """Return the arrays of ``encoded``; one chunk is viewed, not copied.

    Raises
    ------
    WireError
        If the chunks are damaged, too short or too long, or the specs are impossible.
    """
    decoder = Decoder(encoded.tensors, encoded.nbytes, max_bytes=encoded.nbytes)
    for chunk in encoded.chunks:
        decoder.feed(chunk)
    return decoder.finish()


def joined(chunks: Sequence[Chunk], start: int, stop: int) -> bytes:
    """Return the bytes of ``chunks[start:stop]``."""
    if isinstance(chunks, StoredChunks):
        return chunks.joined(start, stop)
    some = chunks[start:stop]
    return bytes(some[0].data) if len(some) == 1 else b"".join(chunk.data for chunk in some)


def _fresh(nbytes: int) -> NDArray[np.uint8]:
    return np.empty(nbytes, np.uint8)


class Decoder:
    """Takes the chunks of one model as they come and gives its arrays.

    Parameters
    ----------
    tensors : Sequence[TensorSpec]
        The specs the sender claims; checked here before anything is allocated.
    nbytes : int
        Size of the buffer that the sender claims.
    max_bytes : int
        The largest buffer accepted.
    memory : Callable[[int], NDArray[np.uint8]] (default: fresh memory)
        Gives the buffer, of the size that it is called with; not before bytes have come.

    Raises
    ------
    WireError
        Here and in the methods, for whatever is not as claimed.
    """

    def __init__(
        self,
        tensors: Sequence[TensorSpec],
        nbytes: int,
        max_bytes: int,
        memory: Callable[[int], NDArray[np.uint8]] = _fresh,
    ) -> None:
        check_specs(tensors, nbytes, max_bytes)
        self._memory = memory
        self._tensors = tuple(tensors)
        self._nbytes = nbytes
        self._received = 0
        self._buffer: bytes | memoryview | NDArray[np.uint8] = b""

    def feed(self, chunk: Chunk) -> None:
        """Check the next chunk and take it."""
        end = self._received + len(chunk.data)
        if end > self._nbytes:
            raise WireError(f"the model has more than the {self._nbytes} bytes its header states")
        if crc32(chunk.data) != chunk.crc32:
            raise WireError(f"the chunk at byte {self._received} is damaged: its CRC-32 differs")
        self._place(chunk.data, end)
        self._received = end

    def _place(self, data: bytes | memoryview, end: int) -> None:
        if self._received == 0 and end == self._nbytes:
            self._buffer = data if _is_constant(data) else bytes(data)  # in one chunk: no copy
            return
        if not isinstance(self._buffer, np.ndarray):
            self._buffer = self._memory(self._nbytes)
        self._buffer[self._received : end] = np.frombuffer(data, np.uint8)

    def finish(self) -> ReadOnlyModel:
        """Return the arrays, read-only views of one buffer."""
        if self._received != self._nbytes:
            raise WireError(f"the model ends after {self._received} of {self._nbytes} bytes")
        if isinstance(self._buffer, np.ndarray):
            self._buffer.flags.writeable = False
        starts = _offsets(self._tensors)
        return ReadOnlyModel(
            (spec.name, _view(self._buffer, spec, start))
            for spec, start in zip(self._tensors, starts[:-1], strict=True)
        )


def check_specs(tensors: Sequence[TensorSpec], nbytes: int, max_bytes: int) -> None:
    """Raise ``WireError`` unless the specs are possible and make exactly ``nbytes`` bytes."""
    names = {spec.name for spec in tensors}
    if len(names) != len(tensors):
        raise WireError("two tensors of the model have the same name")
    for spec in tensors:
        _check_spec(spec)
    if (stated := _offsets(tensors)[-1]) != nbytes:
        raise WireError(f"the header states {nbytes} bytes but its tensors make {stated}")
    if nbytes > max_bytes:
        raise WireError(f"the model has {nbytes} bytes, more than the {max_bytes} allowed")


def _check_spec(spec: TensorSpec) -> None:
    if spec.dtype not in DTYPES:
        raise WireError(f"tensor {spec.name!r} has dtype {spec.dtype!r}; allowed: {[*DTYPES]}")
    if len(spec.shape) > MAX_DIMENSIONS or any(not 0 <= size < 2**63 for size in spec.shape):
        raise WireError(f"tensor {spec.name!r} has the impossible shape {spec.shape}")


def _check_encodable(spec: TensorSpec) -> None:
    if spec.dtype not in DTYPES or len(spec.shape) > MAX_DIMENSIONS:
        raise ModelError(
            f"tensor {spec.name!r} has dtype {spec.dtype} and {len(spec.shape)} dimensions; "
            f"models travel with dtypes {[*DTYPES]} and up to {MAX_DIMENSIONS} dimensions. "
            "Convert it before returning it."
        )
    try:
        spec.name.encode()
    except UnicodeEncodeError as error:
        raise ModelError(f"tensor name {spec.name!r} is not valid Unicode text") from error


def _offsets(tensors: Sequence[TensorSpec]) -> list[int]:
    """Return where each tensor starts, then the size of the whole buffer."""
    offsets, end = [], 0
    for spec in tensors:
        start = -(-end // ALIGN_BYTES) * ALIGN_BYTES
        offsets.append(start)
        end = start + math.prod(spec.shape) * DTYPES[spec.dtype].itemsize
    return [*offsets, end]


def _pieces(model: Model) -> Iterator[memoryview]:
    """Yield the bytes of the buffer, tensor by tensor, copied only where numpy must."""
    end = 0
    for spec, array in zip(signature(model), model.values(), strict=True):
        if gap := -end % ALIGN_BYTES:
            yield memoryview(bytes(gap))
        raw = np.ascontiguousarray(array, DTYPES[spec.dtype]).reshape(-1).view(np.uint8)
        yield raw.data
        end += gap + raw.nbytes


def _cut(pieces: Iterable[memoryview], chunk_bytes: int) -> Iterator[bytes]:
    """Join and cut ``pieces`` into chunks of ``chunk_bytes`` (the last may be shorter)."""
    parts: list[memoryview] = []
    room = chunk_bytes
    for piece in pieces:
        while len(piece) >= room:
            yield b"".join([*parts, piece[:room]])
            piece, parts, room = piece[room:], [], chunk_bytes
        if len(piece):
            parts.append(piece)
            room -= len(piece)
    if parts:
        yield b"".join(parts)


def _is_constant(data: bytes | memoryview) -> bool:
    return isinstance(data if isinstance(data, bytes) else data.obj, bytes)


def _view(
    buffer: bytes | memoryview | NDArray[np.uint8], spec: TensorSpec, start: int
) -> NDArray[np.generic]:
    try:
        count = math.prod(spec.shape)
        if count == 0:
            return np.empty(spec.shape, DTYPES[spec.dtype])
        flat = np.frombuffer(buffer, DTYPES[spec.dtype], count=count, offset=start)
        return flat.reshape(spec.shape)
    except ValueError as error:
        raise WireError(f"tensor {spec.name!r} has the impossible shape {spec.shape}") from error
