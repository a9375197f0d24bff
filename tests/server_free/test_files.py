"""Topologies from files: the edges that stand there, and a line number for what is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive
from flwr_gossip.server_free.topologies import Topology, files
from flwr_gossip.server_free.topologies.files import davis_southern_women, from_edge_file


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what writes ``edges.txt`` into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> str:
        data = content.encode() if isinstance(content, str) else content
        Path("edges.txt").write_bytes(data)
        return "edges.txt"

    return write


def edges(topology: Topology) -> set[tuple[int, int]]:
    """Return (low, high) of all edges; W is symmetric."""
    w = topology.matrix(1)
    assert (w == w.T).all()
    return {(int(a), int(b)) for a, b in np.argwhere(w > 0) if a < b}


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "0 1\n1 2\n2 3\n",
        "0 1\n1 2\n2 3",
        "0,1\n1,2\n2,3\n",
        "0, 1\n1 , 2\n2 ,3\n",
        "0\t1\n1\t2\n  2   3  \n",
        "# a chain\n\n0 1 # first\n#1 3\n1 2\n   \n2 3\n",
        "0 1\r\n1 2\r\n2 3\r\n",
        "0 1\r1 2\r2 3\r",
        "\ufeff0 1\n1 2\n2 3\n",
        "0 1\n1 0\n0 1\n2 1\n3 2\n",
        "0 0\n0 1\n1 2\n2 2\n2 3\n",
        "00 01\n1 2\n2 003\n",
        "# n\u0153uds\n0 1\n1 2\n2 3\n",
    ],
)
def test_edges_are_read_however_they_are_written(written: Any, content: str) -> None:
    topology = from_edge_file(written(content), 4)
    assert edges(topology) == {(0, 1), (1, 2), (2, 3)}
    np.testing.assert_allclose(
        topology.matrix(1), topologies.chain(4).matrix(1), rtol=0, atol=1e-15
    )
    assert topology.max_degree == 2


@pytest.mark.parametrize("delimiter", [" ", ",", "\t"])
def test_what_networkx_writes_is_the_same_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delimiter: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in (2, 7, 29):
        graph = nx.compose(nx.path_graph(n), nx.gnp_random_graph(n, 0.2, seed=n))
        nx.write_edgelist(graph, "edges.txt", delimiter=delimiter, data=False)
        expected = topologies.from_networkx(graph)
        np.testing.assert_array_equal(from_edge_file("edges.txt", n).matrix(1), expected.matrix(1))


def test_one_node_needs_no_edge(written: Any) -> None:
    for content in ("", "# nobody else\n", "0 0\n"):
        assert from_edge_file(written(content), 1).weights(0, 1) == {0: 1.0}


def test_the_file_is_not_needed_any_more(written: Any) -> None:
    path = written("0 1\n1 2\n")
    topology = from_edge_file(path, 3)
    Path(path).unlink()
    assert topology.spec == "edges:edges.txt"
    text = Plan(topology, AllActive(3), 5).to_json()
    arrived = Plan.from_json(text).topology
    assert arrived == topology
    np.testing.assert_array_equal(arrived.matrix(2), topology.matrix(2))


def test_a_path_object_names_the_same_file(written: Any) -> None:
    path = written("0 1\n")
    assert from_edge_file(Path(path), 2) == from_edge_file(path, 2)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("0 1\n\n1 x7\n", r"edges\.txt line 3: node 'x7' is unknown, allowed are 0\.\.9"),
        ("source,target\n0,1\n", r"line 1: node 'source' is unknown, allowed are 0\.\.9"),
        ("0 10\n", r"line 1: node '10' is unknown, allowed are 0\.\.9"),
        ("-1 2\n", r"line 1: node '-1' is unknown"),
        ("0 1.0\n", r"line 1: node '1\.0' is unknown"),
        ("0 1e0\n", "line 1: node '1e0' is unknown"),
        ("0 \u0661\n", "line 1: node '\u0661' is unknown"),
        ("0 " + "9" * 5000 + "\n", "line 1: node '9{80}' is unknown"),
        ("0 1\n2\n", r"line 2: '2' is not an edge; allowed are two nodes of 0\.\.9, separated by"),
        ("0 1 0.5\n", r"line 1: '0 1 0\.5' is not an edge"),
        ("0,1,\n", r"line 1: node '1,' is unknown"),
        ("0;1\n", "line 1: '0;1' is not an edge"),
        (",\n", "line 1: ',' is not an edge"),
        ("", r"edges\.txt has no edges; write one a line, two nodes such as '0 1'"),
        ("# nothing\n\n", r"edges\.txt has no edges"),
        (b"0 1\n\xff\xfe\n", r"edges\.txt is not text: .* at byte 4"),
        ("0 1\n".encode("utf-16"), r"edges\.txt is not text"),
        (b"0 1\n\0\0\0\n", r"edges\.txt is not text: it has a zero byte"),
    ],
)
def test_files_that_are_no_edges_name_the_line(written: Any, content: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        from_edge_file(written(content), 10)
    assert isinstance(caught.value, PlanError)
    assert len(str(caught.value)) < 200


def test_nodes_that_no_edge_reaches_are_named(written: Any) -> None:
    with pytest.raises(
        PlanError, match=r"edges:edges\.txt has 2 parts .* node 0 to node 2 and back.*Add an edge"
    ):
        from_edge_file(written("0 1\n3 2\n"), 4)
    with pytest.raises(PlanError, match=r"2 parts .* from node 0 to node 3 and back"):
        from_edge_file(written("0 1\n1 2\n2 0\n3 3\n"), 4)


def test_files_that_cannot_be_read_are_named(written: Any, tmp_path: Path) -> None:
    for path, reason in (
        ("missing.txt", "No such file"),
        ("", "No such file|Is a directory"),
        (tmp_path, "Is a directory"),
        ("zero\0.txt", "null"),
    ):
        with pytest.raises(PlanError, match=rf"cannot be read: .*({reason})"):
            from_edge_file(path, 4)


def test_a_file_may_not_fill_the_memory(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 8)
    assert from_edge_file(written("0 1\n1 2\n"), 3).num_nodes == 3
    with pytest.raises(PlanError, match=r"edges\.txt is too large, allowed are 8 bytes"):
        from_edge_file(written("0 1\n1 2\n\n"), 3)
    if Path("/dev/zero").exists():
        with pytest.raises(PlanError, match="/dev/zero is too large"):
            from_edge_file("/dev/zero", 3)


@pytest.mark.parametrize("path", [None, 0, 3.5, b"edges.txt", ["edges.txt"], True])
def test_a_path_is_a_path(written: Any, path: Any) -> None:
    written("0 1\n")
    with pytest.raises(PlanError, match=r"path is .*, allowed is the path of a text file"):
        from_edge_file(path, 2)


@pytest.mark.parametrize("n", [0, -2, True, 2.0, "2", None])
def test_the_number_of_nodes_is_whole(written: Any, n: Any) -> None:
    with pytest.raises(PlanError, match=f"num_nodes is {n!r}, allowed is a whole number from 1"):
        from_edge_file(written("0 1\n"), n)


# --- Davis Southern women -----------------------------------------------------------------------


def test_davis_southern_women_is_the_graph_of_networkx() -> None:
    topology = davis_southern_women()
    graph = nx.davis_southern_women_graph()
    names = list(graph)
    assert topology.num_nodes == 32
    assert topology.spec == "davis-southern-women"
    assert topology.payload == b""
    assert {(names[a], names[b]) for a, b in edges(topology)} == set(graph.edges)
    assert topology.max_degree == max(degree for _, degree in graph.degree) == 14
    women = [name for name in names if graph.nodes[name]["bipartite"] == 0]
    assert names[:18] == women
    assert all(a < 18 <= b for a, b in edges(topology))


def test_davis_southern_women_never_changes() -> None:
    # The spec travels, not the edges: networkx may not order or join its nodes in another way.
    listed = repr(sorted(edges(davis_southern_women()))).encode()
    assert len(edges(davis_southern_women())) == 89
    assert hashlib.sha256(listed).hexdigest()[:16] == "f919ff2c6bc9958c"
