"""Models as rows: where parameters lie, and that views and rows are the same memory."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation.layout import Layout  # noqa: E402


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.PReLU(), torch.nn.Linear(5, 2))
    made.scale = torch.nn.Parameter(torch.tensor(2.0))
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_hold_the_parameters_aligned_to_cache_lines(dtype: torch.dtype) -> None:
    given = model().to(dtype)
    layout = Layout.of(given)
    assert layout.size == sum(p.numel() for p in given.parameters()) == 34
    assert layout.num_bytes == 34 * dtype.itemsize
    assert all(offset * dtype.itemsize % 64 == 0 for offset in (*layout.offsets, layout.width))
    rows = layout.row_of(given).repeat(3, 1)
    for view, parameter in zip(layout.views(rows), given.parameters(), strict=True):
        assert view.shape == (3, *parameter.shape)
        assert all(one.equal(parameter) for one in view)
    named = layout.unpacked(layout.compact(rows)[1])
    assert all(named[name].equal(parameter) for name, parameter in given.named_parameters())


def test_views_write_to_the_rows() -> None:
    layout = Layout.of(model())
    rows = torch.zeros(2, layout.width)
    for view in layout.views(rows):
        view += 1
    assert rows.sum() == 2 * layout.size  # the gaps stay zero
    assert layout.compact(rows).eq(1).all()
