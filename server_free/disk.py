"""Files that are whole or not there, and folders that one process uses at a time."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = [
    "FOR_ALL",
    "TEMPORARY",
    "FolderInUse",
    "FolderLock",
    "disk_is_full",
    "private_folder",
    "write_whole",
]

FOR_ALL = 0o666
"""The mode of a file for everyone whom the umask lets read it."""

TEMPORARY = ".part"
"""Ends the name of a file that is being written; one that is left over may be deleted."""

LOCK_FILE = ".lock"
LOOK_S = 0.05


class FolderInUse(OSError):
    """Another process has the folder; the text says which."""


def disk_is_full(error: OSError) -> bool:
    """Return whether an error says that no more may be written: disk, quota or file size."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(
    path: Path, parts: Iterable[bytes | memoryview], *, durable: bool = False, mode: int = 0o600
) -> None:
    """Write a file that appears under its name when it is complete.

    Parameters
    ----------
    path : Path
        What is replaced, if it is there.
    parts : Iterable[bytes | memoryview]
        The content.
    durable : bool (default: False)
        Whether it must outlive a power cut from the moment this returns. Without it, it outlives
        the end of this process.
    mode : int (default: 0o600)
        Who may read it, less the process's umask: this user alone, unless told otherwise.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left of it and the old file stays.
    """
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(beside, flags, mode), "wb") as file:
            file.writelines(parts)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def private_folder(folder: Path, field: str) -> Path:
    """Return ``folder``, made for this user alone if it is not there.

    Raises
    ------
    ValueError
        If it is no folder, or others can write in it; the text names ``field``.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise ValueError(
            f"{field} is {str(folder)!r}, which cannot be used: {error.strerror}. Give a folder "
            "that this user can write in"
        ) from None
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ValueError(
            f"{field} is {str(folder)!r}, where others than this user can write. Give a folder of "
            f"your own, or: chmod 700 {folder}"
        )
    return folder


class FolderLock:
    """Keeps a folder for one process; the system takes it back when that ends, however it does.

    Parameters
    ----------
    folder : Path
        The folder, which must be there.
    wait_s : float (default: 0.0)
        How long to wait for a process that is about to end.

    Raises
    ------
    FolderInUse
        If another process, or another lock of this one, has it.
    """

    def __init__(self, folder: Path, wait_s: float = 0.0) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(folder / LOCK_FILE, flags, 0o600)
        try:
            self._acquire(folder, time.monotonic() + wait_s)
        except BaseException:
            os.close(self._file)
            raise

    def _acquire(self, folder: Path, deadline: float) -> None:
        import fcntl  # not on all systems, and needed by nobody who keeps nothing on disk

        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(self._file, 20, 0).decode(errors="replace").strip()
                    raise FolderInUse(f"{folder} is in use by process {holder}") from None
            time.sleep(LOOK_S)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the folder back, once."""
        os.close(self._file)
