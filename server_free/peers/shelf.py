"""Files in memory through which the clients of a machine hand models to their peer.

A client writes the bytes once, into a file that the peer made; the peer serves from that file. The
file has no name any more as soon as it is whole, so that nothing is left of it when the peer ends,
however it does. Names are the peer's, random, in a folder that only this user enters; a folder
that a killed peer left is removed by the next one.
"""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, overload

from ..codecs import Chunk, StoredChunks
from ..disk import FolderInUse, FolderLock
from ..errors import WireError

__all__ = ["FileChunks", "Handover", "Shelf", "write_chunks"]

MEMORY = "/dev/shm"
PREFIX = "flwr-gossip-shelf-"
YOUNG_S = 60.0
"""A folder that is younger may be one whose peer has not locked it yet."""


class Shelf:
    """Makes files for models; :meth:`close` deletes what is left.

    Parameters
    ----------
    base : str | None (default: None)
        The folder in which it makes its own; that of files in memory if there is one, else that
        of temporary files.
    """

    def __init__(self, base: str | None = None) -> None:
        chosen = Path(base or (MEMORY if os.access(MEMORY, os.W_OK) else tempfile.gettempdir()))
        _remove_stale(chosen)
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=chosen))
        self._lock = FolderLock(self._folder)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = 4096 if soft < 0 else soft // 4
        self._files: list[int] = []

    def offer(self) -> Handover | None:
        """Return a new file; None when this process has many open, or no more can be made."""
        if len(self._files) >= self._most:
            return None
        path = self._folder / secrets.token_hex(16)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return Handover(path, _Descriptor(os.open(path, flags, 0o600), self._files))
        except OSError:
            return None

    def close(self) -> None:
        """Delete the folder; files that are served are so to the end."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()


def _remove_stale(base: Path) -> None:
    """Remove the folders of peers that have ended without a word."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            old = time.time() - found.st_mtime > YOUNG_S
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and old:
                with suppress(FolderInUse):
                    lock = FolderLock(folder)
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.release()


class _Descriptor:
    """An open file, closed with the last use of it."""

    def __init__(self, number: int, among: list[int]) -> None:
        self.number, self._among = number, among
        among.append(number)

    def __del__(self) -> None:
        self._among.remove(self.number)
        os.close(self.number)


class Handover:
    """One file that a client is asked to write."""

    def __init__(self, path: Path, file: _Descriptor) -> None:
        self.path, self._file = path, file

    def take(self, nbytes: int, chunk_bytes: int, checksums: Sequence[int]) -> FileChunks:
        """Return the chunks in the file; raises ``WireError`` if it is not as stated."""
        size = os.fstat(self._file.number).st_size
        if chunk_bytes <= 0 or len(checksums) != -(-nbytes // chunk_bytes):
            raise WireError(f"{nbytes} bytes in a file came with {len(checksums)} checksums")
        if size != nbytes:
            raise WireError(f"the file has {size} bytes, the header states {nbytes}")
        return FileChunks(self._file, nbytes, chunk_bytes, tuple(checksums))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take its name away."""
        self.path.unlink(missing_ok=True)


class FileChunks(StoredChunks):
    """The chunks of a model in a file; they are read when they are asked for."""

    def __init__(
        self, file: _Descriptor, nbytes: int, chunk_bytes: int, checksums: tuple[int, ...]
    ) -> None:
        self._file, self._nbytes = file, nbytes
        self._chunk_bytes, self._checksums = chunk_bytes, checksums

    def __len__(self) -> int:
        return len(self._checksums)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Chunk, ...]: ...

    def __getitem__(self, index: int | slice) -> Chunk | tuple[Chunk, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        return Chunk(self.joined(number, number + 1), self._checksums[number])

    @property
    def checksums(self) -> Sequence[int]:
        """The CRC-32 of each, as the client stated them."""
        return self._checksums

    @property
    def chunk_bytes(self) -> int:
        """The size of each but the last."""
        return self._chunk_bytes

    def joined(self, start: int, stop: int) -> bytes:
        """Return the bytes of some chunks in one piece."""
        begin, end = start * self._chunk_bytes, min(stop * self._chunk_bytes, self._nbytes)
        data = os.pread(self._file.number, end - begin, begin)
        if len(data) != end - begin:
            raise WireError(f"the file of a model was cut to {begin + len(data)} bytes")
        return data


def write_chunks(path: str, chunks: Iterable[Chunk]) -> list[int]:
    """Write a file that the own peer offers; returns the checksums.

    Raises
    ------
    OSError
        If it cannot be reached or written: it is another container's, or memory is short.
    """
    number = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size:
            raise OSError(f"{path} is not the empty file that the peer offers")
        return [_write(number, chunk) for chunk in chunks]
    finally:
        os.close(number)


def _write(number: int, chunk: Chunk) -> int:
    left = memoryview(chunk.data)
    while left:
        left = left[os.write(number, left) :]
    return chunk.crc32
