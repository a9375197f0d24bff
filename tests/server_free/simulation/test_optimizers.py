"""Where momentum buffers lie between rounds."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation.optimizers import NodeMomenta, SlotMomenta  # noqa: E402


def visit(momenta: NodeMomenta | SlotMomenta, slots: list[int], nodes: list[int]) -> list[float]:
    """Add 1 to some buffers, and return what they were."""
    rows = momenta.rows(np.array(slots), np.array(nodes))
    before = rows[:, 0].tolist()
    rows += 1
    momenta.keep(np.array(slots), np.array(nodes), rows)
    return before


def test_a_nodes_buffer_waits_for_it() -> None:
    momenta = NodeMomenta(10, torch.zeros(1, 4))
    assert visit(momenta, [0, 1, 2], [7, 3, 9]) == [0, 0, 0]
    assert visit(momenta, [0, 1, 2], [3, 0, 7]) == [1, 0, 1]
    assert visit(momenta, [0, 1, 2, 3, 4], [0, 9, 7, 3, 1]) == [1, 1, 2, 2, 0]


def test_a_slots_buffer_goes_with_the_slot() -> None:
    momenta = SlotMomenta(4, torch.zeros(1, 4))
    assert visit(momenta, [0, 1, 3], [7, 3, 9]) == [0, 0, 0]
    assert visit(momenta, [1, 2, 3], [1, 5, 6]) == [1, 0, 1]


def test_memory_is_that_of_the_nodes_seen() -> None:
    momenta = NodeMomenta(1000, torch.zeros(1, 4))
    for first in range(0, 40, 4):
        visit(momenta, [0, 1, 2, 3], list(range(first, first + 4)))
    assert 40 <= len(momenta._rows) <= 80
