"""A model in a file: a checked header and the chunks of the wire, nothing pickled.

Layout: ``MAGIC``, then length and CRC-32 of the header (two little-endian uint32), the header as
JSON, and the chunks one after another. The header has the tensors, the chunks' sizes and
CRC-32, and what the writer adds. Whatever is not as stated is a ``WireError``.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .checksums import crc32
from .codecs import Chunk, EncodedModel, check_specs
from .errors import WireError
from .models import TensorSpec

__all__ = ["read_model", "to_parts"]

MAGIC = b"flwr-gossip model 1\n"
PREFIX = struct.Struct("<II")


def to_parts(model: EncodedModel, about: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the content of a file with ``model``; ``about`` is JSON that comes back with it."""
    content = {
        "about": about,
        "tensors": [[spec.name, spec.shape, spec.dtype] for spec in model.tensors],
        "nbytes": model.nbytes,
        "chunks": [[len(chunk.data), chunk.crc32] for chunk in model.chunks],
    }
    header = json.dumps(content, separators=(",", ":")).encode()
    yield MAGIC + PREFIX.pack(len(header), crc32(header))
    yield header
    for chunk in model.chunks:
        yield bytes(chunk.data)


def read_model(path: Path) -> tuple[EncodedModel, dict[str, Any]]:
    """Return the model in a file and what its writer said about it.

    Raises
    ------
    WireError
        If the file is damaged, cut short or of another kind.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = _header(file, size)
        try:
            tensors = tuple(
                TensorSpec(str(name), tuple(map(int, shape)), str(dtype))
                for name, shape, dtype in header["tensors"]
            )
            nbytes, about = int(header["nbytes"]), dict(header["about"])
            sizes = [(int(length), int(crc)) for length, crc in header["chunks"]]
        except (KeyError, TypeError, ValueError) as error:
            raise WireError(f"its header is none: {type(error).__name__}: {error}") from error
        check_specs(tensors, nbytes, max_bytes=size)
        if min((length for length, _ in sizes), default=0) < 0:
            raise WireError("its header states a chunk of less than no bytes")
        if (end := file.tell() + nbytes) != size or sum(length for length, _ in sizes) != nbytes:
            raise WireError(f"it has {size} bytes, its header states {end}")
        chunks = tuple(_chunk(file, length, crc) for length, crc in sizes)
    return EncodedModel(tensors, nbytes, chunks), about


def _header(file: BinaryIO, size: int) -> dict[str, Any]:
    start = file.read(len(MAGIC) + PREFIX.size)
    if not start.startswith(MAGIC) or len(start) < len(MAGIC) + PREFIX.size:
        raise WireError("it does not begin as a model file of this version does")
    length, crc = PREFIX.unpack(start[len(MAGIC) :])
    if length > size:
        raise WireError(f"it has {size} bytes, too few for its header of {length}")
    text = file.read(length)
    if len(text) != length or crc32(text) != crc:
        raise WireError("its header is damaged: the CRC-32 differs")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise WireError("its header is none")
    return header


def _chunk(file: BinaryIO, length: int, crc: int) -> Chunk:
    at, data = file.tell(), file.read(length)
    if len(data) != length or crc32(data) != crc:
        raise WireError(f"the chunk at byte {at} is damaged: its CRC-32 differs")
    return Chunk(data, crc)
