"""Batches: uniform, without doubles, and from seed, round, step and node alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from flwr_gossip.server_free.simulation.sampling import draw_batches


def draw(
    seed: int, round: int, nodes: list[int], size: int, count: int, steps: int = 1
) -> np.ndarray:
    sizes = np.full(len(nodes), size)
    return draw_batches(seed, round, steps, np.array(nodes), sizes, count)


def test_a_draw_is_the_same_whoever_else_is_drawn() -> None:
    together = draw(3, 9, [5, 70_000, 2, 11], 50, 8, steps=3)
    for place, node in enumerate([5, 70_000, 2, 11]):
        assert (draw(3, 9, [node], 50, 8, steps=1)[0, 0] == together[0, place]).all()
        assert (draw(3, 9, [node], 50, 8, steps=3)[:, 0] == together[:, place]).all()


def test_a_node_does_not_depend_on_the_sizes_of_others() -> None:
    mixed = draw_batches(0, 1, 1, np.array([4, 5]), np.array([20, 900]), 6)
    assert (mixed[0, 0] == draw(0, 1, [4], 20, 6)[0, 0]).all()
    assert (mixed[0, 1] == draw(0, 1, [5], 900, 6)[0, 0]).all()


def test_draws_stay_the_same_between_versions() -> None:
    assert draw(0, 1, [0, 1], 100, 5).tolist() == [[[37, 79, 33, 47, 15], [80, 49, 15, 1, 72]]]
    assert draw(7, 12, [3], 10, 4, steps=2).tolist() == [[[6, 2, 7, 9]], [[5, 7, 2, 9]]]


@pytest.mark.parametrize("size", [9, 33, 1000])
def test_no_sample_comes_twice_in_a_batch(size: int) -> None:
    drawn = draw(1, 2, list(range(500)), size, 8, steps=2)
    assert drawn.min() >= 0 and drawn.max() < size
    assert (np.diff(np.sort(drawn, axis=-1), axis=-1) > 0).all()


def test_all_subsets_are_equally_likely() -> None:
    drawn = np.sort(draw(0, 1, list(range(20_000)), 5, 3)[0], axis=-1)
    subsets = list(combinations(range(5), 3))
    counts = [int((drawn == subset).all(axis=-1).sum()) for subset in subsets]
    expected = 20_000 / len(subsets)
    assert sum((count - expected) ** 2 / expected for count in counts) < 27.9  # p = 0.001, 9 dof


def test_seeds_rounds_steps_and_nodes_are_independent() -> None:
    base = draw(0, 1, list(range(4000)), 100, 1, steps=2)
    others = [
        draw(1, 1, list(range(4000)), 100, 1)[0],
        draw(0, 2, list(range(4000)), 100, 1)[0],
        base[1],
        np.roll(base[0], 1, axis=0),
    ]
    for other in others:
        assert abs((base[0] == other).mean() - 0.01) < 0.006


def test_a_batch_of_all_samples_has_them_in_order() -> None:
    assert draw(0, 1, [8, 9], 4, 4, steps=2).tolist() == [[[0, 1, 2, 3]] * 2] * 2
