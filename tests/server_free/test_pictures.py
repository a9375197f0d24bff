"""Picture files: written whole or not at all, in the format of their name."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from flwr_gossip.server_free.errors import GossipError, PlanError
from flwr_gossip.server_free.pictures import check_picture, color_of, new_figure, save_picture


def line() -> Figure:
    figure = new_figure(4.0, 4.0)
    figure.subplots().plot([1, 2, 3], [3, 1, 2], color=color_of(9))
    return figure


def is_picture(path: Path) -> bool:
    pixels = imread(path)
    return (
        min(pixels.shape[:2]) > 300 and len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 9
    )


def test_a_picture_comes_whole_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "ring.png"
    path.write_bytes(b"old")
    save_picture(line(), path)
    assert is_picture(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ring.png"]


@pytest.mark.parametrize(
    ("name", "start"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("A.PNG", b"\x89PNG")]
)
def test_the_suffix_says_the_format(tmp_path: Path, name: str, start: bytes) -> None:
    save_picture(line(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "ring.png"
    path.write_bytes(b"old")
    figure = line()
    with files_of_at_most(1000), pytest.raises(PlanError, match=r"ring\.png cannot be written"):
        save_picture(figure, path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["ring.png"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the kernel refuse to write more bytes than this to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_where_a_picture_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for path, says in [
        (tmp_path / "a.gif", r"ends in one of \.pdf, \.png, \.svg"),
        (tmp_path / "a", "ends in one of"),
        (tmp_path / "none" / "a.png", "there is no folder"),
        (tmp_path / "folder.png", "is a folder"),
    ]:
        with pytest.raises(PlanError, match=says):
            check_picture(path)


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(GossipError, match=r"pip install 'flwr-gossip\[plots\]'"):
        check_picture(tmp_path / "a.png")
    with pytest.raises(GossipError, match=r"pip install 'flwr-gossip\[plots\]'"):
        new_figure(3.0, 3.0)
