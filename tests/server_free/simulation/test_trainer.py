"""Chunks: all slots once, in parts that do not let the wish for a size change results."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation.trainer import _cut  # noqa: E402


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 47, 100, 256])
@pytest.mark.parametrize("wanted", [1, 16, 40, 64, 10_000])
def test_parts_are_whole_units_up_to_the_last(length: int, wanted: int) -> None:
    parts = list(_cut(length, wanted))
    assert [place for part in parts for place in range(length)[part]] == list(range(length))
    sizes = [part.stop - part.start for part in parts]
    rest = length % 16
    assert all(size % 16 == 0 for size in sizes[: -1 if rest else None])
    if rest:
        assert sizes[-1] == min(length, 16 + rest)  # whatever is wanted
    assert max(sizes) <= max(wanted, 31)


def test_parts_have_one_size_where_that_goes() -> None:
    assert [part.stop - part.start for part in _cut(256, 80)] == [64, 64, 64, 64]
