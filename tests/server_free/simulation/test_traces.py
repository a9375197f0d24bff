"""CSV files: what they mean, and what an error in one says."""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.traces import read_availability, read_network

HEADER = "node,compute_s,latency_s,upload_bytes_per_s,download_bytes_per_s\n"
NODES = np.arange(2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "0,1.5,0.01,100,200\n1,3,0,inf,1e6\n",
        HEADER + "1,3,0,inf,1e6\n0,1.5,0.01,100,200",
        "# a comment, \n\n"
        + HEADER
        + "0, 1.5, 0.01, 100, 200\r\n# and one\r\n\r\n1,3,0,inf,1e6\r\n",
        "\ufeffcompute_s,node,latency_s,download_bytes_per_s,upload_bytes_per_s\n"
        "3,1,0,1e6,inf\n1.5,0,0.01,200,100\n",
    ],
    ids=["plain", "unordered", "spaces-and-comments", "other-columns-order"],
)
def test_a_table_gives_every_node_its_numbers(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
    network = read_network(path, loss_probability=0.25, seed=3)
    assert network.compute(NODES, 1).tolist() == [1.5, 3.0]
    assert network.latency(NODES, NODES[::-1], 1).tolist() == [0.01, 0.01]
    assert np.array(network.rates(NODES)).tolist() == [[100, inf], [200, 1e6]]
    assert (network.loss_probability, network.seed) == (0.25, 3)


def test_a_trace_gives_every_node_its_times(path: Path) -> None:
    path.write_text("node,from_s,to_s\n0,660,inf\n0,0,600\n1,0,0\n2,5,7\n2,7,9\n")
    trace = read_availability(str(path))
    assert trace.nodes == (0, 1, 2)
    online = {time: trace.online(np.arange(3), time)[0].tolist() for time in (0.0, 630.0, 7.0, 9.0)}
    assert online == {
        0.0: [True, False, False],
        7.0: [True, False, True],
        9.0: [True, False, False],
        630.0: [False, False, False],
    }


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("0,1,0,fast,5", "line 2, column upload_bytes_per_s: 'fast', allowed: bytes per second"),
        ("0,1,0,5,0", "line 2, column download_bytes_per_s: '0', allowed: bytes per second above"),
        ("0,1,0,nan,1", "line 2, column upload_bytes_per_s: 'nan'"),
        ("0,-1,0,5,5", "line 2, column compute_s: '-1', allowed: finite seconds from 0"),
        ("0,1,inf,5,5", "line 2, column latency_s: 'inf', allowed: finite seconds from 0"),
        ("0,1,,5,5", "line 2, column latency_s: ''"),
        ("0,1,0,5,5\n-1,1,0,5,5", "line 3, column node: '-1', allowed: a whole number from 0"),
        ("1.0,1,0,5,5", "line 2, column node: '1.0'"),
        ("0,1,0,5,5\n\n0,1,0,5,5", "line 4, column node: '0', allowed: each node once"),
        ("0,1,0,5,5\n2,1,0,5,5", "has no line for node 1; allowed are nodes 0 to n - 1"),
        ("4000000000,1,0,5,5", "has no line for node 0"),
        ("0,1,0,5", "line 2: 4 values, allowed are 5, one for each of node,compute_s"),
        ("", "has no lines below its header"),
    ],
)
def test_an_error_in_a_table_names_its_place(path: Path, lines: str, named: str) -> None:
    path.write_text(HEADER + lines)
    with pytest.raises(PlanError) as caught:
        read_network(path)
    assert str(caught.value).startswith(str(path))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("0,5,4", "line 2, column to_s: '4', allowed: seconds from from_s, 5, on"),
        ("0,-5,4", "line 2, column from_s: '-5', allowed: finite seconds from 0"),
        ("0,inf,inf", "line 2, column from_s: 'inf'"),
        ("0,0,x", "line 2, column to_s: 'x', allowed: seconds from 0"),
        ("x,0,1", "line 2, column node: 'x'"),
        ("0,0,5\n1,0,5\n0,4,6", "line 4, column from_s: '4', allowed: times that do not overlap"),
    ],
)
def test_an_error_in_a_trace_names_its_place(path: Path, lines: str, named: str) -> None:
    path.write_text("node,from_s,to_s\n" + lines)
    with pytest.raises(PlanError) as caught:
        read_availability(path)
    assert str(caught.value).startswith(str(path))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", r"line 1: the columns are \(none\); allowed are exactly node,from_s,to_s"),
        (b"node,from,to\n0,0,1\n", "line 1: the columns are node,from,to; allowed are exactly"),
        (b"node,from_s,to_s,more\n0,0,1,2\n", "the columns are node,from_s,to_s,more"),
        ("node,from_s,to_s\n".encode("utf-16"), "is not UTF-8 text: .*; save it as CSV in UTF-8"),
    ],
)
def test_another_file_is_refused(path: Path, content: bytes, named: str) -> None:
    path.write_bytes(content)
    with pytest.raises(PlanError, match=named):
        read_availability(path)
