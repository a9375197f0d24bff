"""Mailboxes on disk: what a peer holds outlives its process.

One folder a training, named by a hash of the training id; in it one file a model, named by its
numbers, and one with the key and the state of the training. Nothing that came from elsewhere
becomes a name. Files are written beside and renamed, and checked by CRC-32 when they are read:
what is damaged is skipped and logged.

The key of the run is kept too, readable by this user alone, as the models beside it are. Otherwise
a restarted peer would serve nothing till its own client registers the run again, and in
Teleportation the node of that client may not be at work for many rounds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path
from typing import TypeVar

from ..codecs import EncodedModel
from ..disk import TEMPORARY, FolderInUse, FolderLock, disk_is_full, private_folder, write_whole
from ..errors import MailboxFull, PeerError, WireError
from ..model_files import read_model, to_parts
from .links import KEY_BYTES, ModelId

__all__ = ["MAX_AGE_S", "Store", "StoredModel", "StoredTraining"]

MAX_AGE_S = 7 * 24 * 3600.0
"""A training in which nothing was written for so long is deleted."""

RECORD = "training.json"
MODEL = ".model"

T = TypeVar("T")
log = getLogger("flwr")


@dataclass(frozen=True, slots=True)
class StoredTraining:
    """What is kept of a training beside its models; the fields are those of ``Training``."""

    name: str
    key: bytes
    addresses: tuple[str, ...]
    finished: bool
    resumed: int
    segment_no: int
    recent: tuple[str, ...]
    former: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model as it was put into the mailbox."""

    id: ModelId
    model: EncodedModel
    readers: frozenset[int]
    keep: bool
    segment_no: int


class Store:
    """A folder with the mailbox of one peer.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there; nobody else may be able to write in it.
    wait_s : float (default: 0.0)
        How long :meth:`open` waits for another process to give the folder back.
    max_age_s : float (default: 7 days)
        A training in which nothing was written for so long is deleted.
    """

    def __init__(
        self, folder: str | Path, *, wait_s: float = 0.0, max_age_s: float = MAX_AGE_S
    ) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.max_age_s = max_age_s
        self._wait_s = wait_s
        self._lock: FolderLock | None = None

    def open(self) -> None:
        """Take the folder for this process, and delete what is too old.

        Raises
        ------
        ValueError
            If the folder cannot be used.
        PeerError
            If another peer uses it.
        """
        private_folder(self.folder, "store")
        try:
            self._lock = FolderLock(self.folder, self._wait_s)
        except FolderInUse as error:
            raise PeerError(
                f"store is {str(self.folder)!r}: {error}. Every peer needs a folder of its own"
            ) from None
        try:
            self._clear()
        except BaseException:
            self.close()
            raise

    def _clear(self) -> None:
        """Delete what is half written and what is too old."""
        for left_over in self.folder.glob(f"*/*{TEMPORARY}"):
            left_over.unlink(missing_ok=True)
        for folder in self._folders():
            if time.time() - _changed_at(folder) > self.max_age_s:
                log.info("store: a training in %s is too old and deleted", folder)
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Give the folder back; does nothing when closed."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    # ----- writing

    def note(self, training: StoredTraining) -> None:
        """Keep the state of a training; a disk that is full is logged, not raised."""
        content = asdict(training) | {"key": training.key.hex()}
        text = json.dumps(content, separators=(",", ":")).encode()
        folder = self._folder_of(training.name)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(folder / RECORD, [f"{zlib.crc32(text):08x}\n".encode(), text], durable=True)
        except OSError as error:
            log.warning("store: the state of a training is not kept: %s", self._trouble(error))

    def write(self, training: str, stored: StoredModel) -> None:
        """Keep a model; one that a resumed run will need outlives a power cut too.

        Raises
        ------
        MailboxFull
            If the disk is full.
        PeerError
            If it cannot be written for another reason.
        """
        about = {
            "id": [stored.id.round, stored.id.slot, stored.id.node],
            "readers": sorted(stored.readers),
            "keep": stored.keep,
            "segment_no": stored.segment_no,
        }
        folder = self._folder_of(training)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            parts = to_parts(stored.model, about)
            durable = stored.keep or stored.id.round == 0
            write_whole(folder / _name(stored.id), parts, durable=durable)
        except OSError as error:
            kind = MailboxFull if disk_is_full(error) else PeerError
            raise kind(f"a model of {stored.model.nbytes} bytes: {self._trouble(error)}") from None

    def remove(self, training: str, ids: Iterable[ModelId]) -> None:
        """Delete models that are no longer held."""
        folder = self._folder_of(training)
        for id in ids:
            with suppress(OSError):
                (folder / _name(id)).unlink()

    def forget(self, training: str) -> None:
        """Delete a training with all its models."""
        shutil.rmtree(self._folder_of(training), ignore_errors=True)

    def _trouble(self, error: OSError) -> str:
        return (
            f"the store {str(self.folder)!r} cannot be written: {error.strerror}. Make room there, "
            "or start the peer with another --store; it goes on serving what it has"
        )

    # ----- reading

    def trainings(self) -> list[tuple[StoredTraining, float]]:
        """Return what is kept, newest first, each with the seconds since it last changed."""
        now, found = time.time(), []
        for folder in self._folders():
            training = _unless_damaged(_read_record, folder / RECORD)
            if training is not None and self._folder_of(training.name) == folder:
                found.append((training, max(0.0, now - _changed_at(folder))))
        return sorted(found, key=lambda pair: pair[1])

    def models(self, training: str) -> Iterator[StoredModel]:
        """Yield the models of a training; what is damaged is logged and left out.

        Those of round 0 come first and then the newest: memory may not have room for all.
        """
        paths = sorted(self._folder_of(training).glob(f"*{MODEL}"))
        for path in sorted(paths, key=lambda path: _turn(path.name)):
            stored = _unless_damaged(_read_stored, path)
            if stored is not None and _name(stored.id) == path.name:
                yield stored

    def _folder_of(self, training: str) -> Path:
        name = hashlib.sha256(training.encode(errors="surrogatepass")).hexdigest()
        return self.folder / name[:32]

    def _folders(self) -> list[Path]:
        """Return the folders of trainings: ours, and not writable by anybody else."""
        found = []
        for entry in os.scandir(self.folder):
            if len(entry.name) == 32 and entry.is_dir(follow_symlinks=False):
                about = entry.stat(follow_symlinks=False)
                if about.st_uid == os.geteuid() and not stat.S_IMODE(about.st_mode) & 0o022:
                    found.append(Path(entry.path))
                else:
                    log.warning("store: %s is skipped: others can write in it", entry.path)
        return found


def _name(id: ModelId) -> str:
    return f"r{id.round:08d}-s{id.slot}-n{id.node}{MODEL}"


def _turn(name: str) -> int:
    """Return what orders the names of models: round 0, then the newest round first."""
    digits = name[1:].partition("-")[0]
    round = int(digits) if digits.isdecimal() else 0
    return -round if round else -sys.maxsize


def _changed_at(folder: Path) -> float:
    """Return when something was written in a folder, in seconds of the wall clock."""
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def _unless_damaged(read: Callable[[Path], T], path: Path) -> T | None:
    """Return what ``read`` gives, or None, with a line in the log, if it cannot."""
    try:
        return read(path)
    except (WireError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("store: %s is skipped: %s", path, error)
        return None


def _read_record(path: Path) -> StoredTraining:
    checksum, _, text = path.read_bytes().partition(b"\n")
    if checksum != f"{zlib.crc32(text):08x}".encode():
        raise WireError("it is damaged: its CRC-32 differs")
    content = json.loads(text)
    key = bytes.fromhex(content["key"])
    if len(key) != KEY_BYTES:
        raise WireError(f"its key has {len(key)} bytes")
    return StoredTraining(
        name=str(content["name"]),
        key=key,
        addresses=tuple(map(str, content["addresses"])),
        finished=bool(content["finished"]),
        resumed=int(content["resumed"]),
        segment_no=int(content["segment_no"]),
        recent=tuple(map(str, content["recent"])),
        former=tuple(bytes.fromhex(one).hex() for one in content.get("former", ())),
    )


def _read_stored(path: Path) -> StoredModel:
    model, about = read_model(path)
    return StoredModel(
        id=ModelId(*map(int, about["id"])),
        model=model,
        readers=frozenset(map(int, about["readers"])),
        keep=bool(about["keep"]),
        segment_no=int(about["segment_no"]),
    )
