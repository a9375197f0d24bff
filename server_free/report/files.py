"""A report's files: the page, and its pictures as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..disk import write_whole
from ..errors import RunError
from .page import page, sections
from .reading import Reading

__all__ = ["write_pngs", "write_report"]


def write_report(readings: Sequence[Reading], path: Path) -> None:
    """Write the page, whole or not at all; ``RunError`` says why it cannot be."""
    try:
        write_whole(path, [page(readings).encode()])
        path.chmod(0o644)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from error


def write_pngs(readings: Sequence[Reading], folder: Path) -> list[Path]:
    """Write each picture of the report into a folder, which is made where it is not there.

    Needs matplotlib, the extra ``[plots]``. Returns the files.
    """
    from ..pictures import save_picture
    from .png import drawn

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {error.strerror}.") from error
    written = []
    for _, pictures, _ in sections(readings):
        for picture in pictures:
            written.append(folder / f"{picture.name}.png")
            save_picture(drawn(picture), written[-1])
    return written
