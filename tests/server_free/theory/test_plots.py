"""The pictures: what is in them, and where the nodes are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.theory.layouts import edges, is_wrapped, positions
from flwr_gossip.server_free.theory.neighbors import effective_neighbors, effective_neighbors_limit
from flwr_gossip.server_free.theory.plots import MEMORIES, draw_curves, draw_topology

SPECS = [
    ("alone", 5),
    ("base-graph:1", 25),
    ("binary-tree", 32),
    ("chain", 9),
    ("complete", 6),
    ("davis-southern-women", 32),
    ("directed-ring", 7),
    ("erdos-renyi:0.3", 16),
    ("exponential", 32),
    ("grid:3x4", 12),
    ("hypercube", 16),
    ("one-peer-exponential", 8),
    ("one-peer-hypercube", 8),
    ("random-regular:4", 12),
    ("ring", 1),
    ("ring", 2),
    ("simple-base-graph:2", 9),
    ("small-world:4,0.1", 20),
    ("star", 10),
    ("torus:4x8", 32),
    ("two-cliques", 11),
]


def panels(figure: Figure) -> list[str]:
    """Return the titles of the panels, in order."""
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def drawn(figure: Figure, kind: type, title: str) -> int:
    """Return how many lines, or heads of arrows, the panel of this title has."""
    (axes,) = (axes for axes in figure.axes if axes.get_title() == title)
    return sum(len(c.get_paths()) for c in axes.collections if type(c) is kind)


def curves(figure: Figure) -> dict[str, np.ndarray]:
    lines = figure.axes[-1].get_lines()
    return {str(one.get_label()): np.asarray(one.get_ydata()) for one in lines}


@pytest.mark.parametrize(("spec", "num_nodes"), SPECS)
def test_no_two_nodes_lie_on_each_other(spec: str, num_nodes: int) -> None:
    topology = topologies.from_spec(spec, num_nodes)
    mutual, single = edges(topology, 1)
    points = positions(topology, [*mutual, *single])
    assert points.shape == (num_nodes, 2)
    assert np.abs(points).max(initial=0) <= 1 + 1e-9
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(num_nodes)
    assert apart.min() > 0.02
    assert np.array_equal(points, positions(topology, [*mutual, *single]))


@pytest.mark.parametrize(("spec", "num_nodes"), SPECS)
def test_the_edges_are_those_of_the_matrix(spec: str, num_nodes: int) -> None:
    topology = topologies.from_spec(spec, num_nodes)
    for round in range(1, min(topology.period or 1, 3) + 1):
        mutual, single = edges(topology, round)
        built = np.eye(num_nodes, dtype=bool)
        for sender, receiver in [*mutual, *[(b, a) for a, b in mutual], *single]:
            built[receiver, sender] = True
        assert np.array_equal(built, topology.matrix(round) + np.eye(num_nodes) > 0)


def test_the_edges_around_a_torus_are_those_that_would_cross_it() -> None:
    topology = topologies.torus(4, 5)
    mutual, _ = edges(topology, 1)
    around = [edge for edge in mutual if is_wrapped(topology, edge)]
    assert len(mutual) == 40
    assert len(around) == 4 + 5  # one for each row and each column
    figure = draw_topology(topology)
    assert drawn(figure, LineCollection, "each round") == (40 - 9) + 2 * 9


def test_edges_that_go_one_way_are_arrows() -> None:
    figure = draw_topology(topologies.directed_ring(7))
    assert drawn(figure, PolyCollection, "each round, sender to receiver") == 7
    both_ways = draw_topology(topologies.ring(7))
    assert drawn(both_ways, PolyCollection, "each round") == 0
    assert drawn(both_ways, LineCollection, "each round") == 7


def test_each_round_of_a_period_has_its_graph_and_its_matrix() -> None:
    figure = draw_topology(topologies.one_peer_exponential(8))
    rounds = [f"round {t}" for t in (1, 2, 3)]
    assert set(panels(figure)) == {
        *rounds,
        *[f"W of {name}" for name in rounds],
        "effective number of neighbours",
    }
    assert drawn(figure, PolyCollection, "round 1") == 8
    # A shift by half the circle goes both ways: lines without heads.
    assert drawn(figure, PolyCollection, "round 3") == 0
    assert drawn(figure, LineCollection, "round 3") == 4


def test_a_long_period_is_cut_and_says_so() -> None:
    figure = draw_topology(topologies.base_graph(25, 1))
    assert sum(title.startswith("W of round") for title in panels(figure)) == 8
    title = figure.get_suptitle()
    assert "9 rounds a period, the first 8 drawn" in title


def test_a_fresh_w_each_round_is_said() -> None:
    figure = draw_topology(topologies.random_regular(12, 4))
    assert "a fresh W each round" in figure.get_suptitle()
    assert "W of round 1" in panels(figure)


def test_the_matrix_in_the_picture_is_w() -> None:
    topology = topologies.star(6)
    figure = draw_topology(topology)
    (axes,) = (axes for axes in figure.axes if axes.get_title() == "W of each round")
    shown = np.ma.filled(axes.images[0].get_array(), 0.0)
    assert np.array_equal(shown, topology.matrix(1))


def test_the_curves_are_effective_neighbors() -> None:
    found = curves(draw_topology(topologies.star(16), gamma=0.9))
    for label, spec in (("star", "star"), ("ring", "ring")):
        topology = topologies.from_spec(spec, 16)
        expected = [effective_neighbors(topology, 1 - 1 / m) for m in MEMORIES]
        assert np.allclose(found[label], expected)
    worst = effective_neighbors(topologies.star(16), 1 - 1 / MEMORIES[8], mode="worst")
    assert found["star, worst node"][8] == pytest.approx(worst)
    ring = curves(draw_topology(topologies.ring(16)))
    limit = effective_neighbors_limit("ring", 1 - 1 / MEMORIES[8])
    assert ring["ring, infinitely many nodes"][8] == pytest.approx(limit)
    assert "ring, worst node" not in ring  # all nodes look alike


def test_several_topologies_in_one_picture() -> None:
    chosen = [("A", topologies.ring(8)), ("B", topologies.complete(32))]
    figure = draw_curves(chosen, gamma=0.9, title="mine")
    found = curves(figure)
    assert panels(figure) == ["mine"]
    assert np.allclose(found["B"], 32)
    assert found["A"].max() < 8.001


def test_too_many_nodes_for_a_picture() -> None:
    with pytest.raises(PlanError, match="has 1025 nodes; a picture is drawn up to 1024"):
        draw_topology(topologies.ring(1025))


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from flwr_gossip.server_free.pictures import save_picture
from flwr_gossip.server_free.theory import plots
from flwr_gossip.server_free import topologies
assert "matplotlib" not in sys.modules
save_picture(plots.draw_topology(topologies.ring(4)), Path({str(tmp_path / "a.png")!r}))
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_whole_catalogue_can_be_drawn() -> None:
    for spec, num_nodes in SPECS:
        figure = draw_topology(topologies.from_spec(spec, num_nodes))
        assert figure.get_suptitle().startswith(f"{spec}, {num_nodes} node")
