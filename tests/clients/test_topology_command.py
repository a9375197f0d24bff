"""``flwr-gossip topology`` as a user meets it: what it prints, its files, its one-line errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from typer.testing import CliRunner

from flwr_gossip.clients.advice_view import print_advice, size_text
from flwr_gossip.clients.cli import app
from flwr_gossip.clients.losses_file import EXAMPLE, read_losses
from flwr_gossip.clients.topology_view import blocks, facts, print_topology
from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.theory.advice import recommend
from flwr_gossip.server_free.theory.neighbors import effective_neighbors
from flwr_gossip.server_free.theory.spectra import consensus_rate, spectral_gap
from flwr_gossip.strategies import Gossip, Teleportation


def run(*arguments: str) -> str:
    """Return what the command prints; it must succeed in silence otherwise."""
    done = CliRunner().invoke(app, ["topology", *arguments])
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def refused(*arguments: str) -> str:
    """Return the one line that says what is wrong."""
    done = CliRunner().invoke(app, ["topology", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    line = done.stderr.removeprefix("flwr-gossip topology: error: ")
    assert line != done.stderr
    assert line.count("\n") == 1
    return line


# ----- which topology to take


def test_the_advice_has_a_line_to_paste() -> None:
    printed = run("--nodes", "32", "--max-degree", "2")
    found = recommend(32, max_degree=2)
    (line,) = re.findall(r"^    strategy = (.*)$", printed, flags=re.MULTILINE)
    assert line == found.best.code
    strategy = eval(line, {"Gossip": Gossip, "Teleportation": Teleportation})
    assert strategy.plan(32, 5).topology.max_degree <= 2
    words = " ".join(printed.split())
    assert found.why in words
    for note in found.notes:
        assert note in words
    assert f"{len(found.excluded)} candidates are above the limits" in words


def test_the_table_lists_the_candidates_in_order() -> None:
    printed = run("--nodes", "9", "--top", "4")
    found = recommend(9)
    rows = re.findall(r"^(?:Gossip|Teleportation) .*$", printed, flags=re.MULTILINE)
    rows = [row for row in rows if "needs about" not in row]
    assert len(rows) == 4
    for row, one in zip(rows, found.candidates, strict=False):
        assert row.split() == [
            one.strategy,
            one.spec,
            str(one.num_active),
            str(one.degree),
            f"{one.effective_neighbors:.1f}",
            f"x{one.learning_rate_multiplier:.1f}",
            str(one.rounds),
            str(one.models_received),
            f"{one.models_per_round:,.0f}",
            f"{one.total_models:,.0f}",
        ]
    assert f"and {len(found.candidates) - 4} more: --top {len(found.candidates)}" in printed


def test_every_option_reaches_the_advice() -> None:
    given = run_json(
        *["--nodes", "16", "--gamma", "0.9", "--heterogeneity", "0.5", "--max-degree", "3"],
        *["--max-bytes", "1MB", "--model-parameters", "80_000".replace("_", "")],
        *["--active", "4", "--active", "6"],
    )
    found = recommend(
        16,
        gamma=0.9,
        heterogeneity=0.5,
        max_degree=3,
        max_bytes=10**6,
        model_bytes=320_000,
        num_active=[4, 6],
    )
    assert (given["gamma"], given["heterogeneity"], given["why"]) == (0.9, 0.5, found.why)
    assert [one["code"] for one in given["candidates"]] == [c.code for c in found.candidates]
    assert [one["rounds"] for one in given["candidates"]] == [c.rounds for c in found.candidates]
    assert given["best"] == given["candidates"][0]
    assert {one["num_active"] for one in given["candidates"]} == {4, 6, 16}
    assert all(one["bytes_received"] <= 10**6 for one in given["candidates"])
    assert {one["reason"] for one in given["excluded"]} >= {"degree 15 is above 3"}


def test_top_limits_json_too() -> None:
    assert len(run_json("--nodes", "8", "--top", "2")["candidates"]) == 2


def test_bytes_are_shown_where_the_size_of_a_model_is_known() -> None:
    printed = run("--nodes", "16", "--model-bytes", "4MB", "--max-degree", "1", "--active", "8")
    one = recommend(16, max_degree=1, model_bytes=4 * 10**6, num_active=[8]).best
    assert one.bytes_per_round is not None
    assert f"{size_text(one.bytes_per_round)} " in printed
    assert re.search(r"rounds +a node +a round +in all\n", printed)
    assert re.search(r"^ +bytes +bytes +bytes\n", printed, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (999.9, "1 kB"), (4e6, "4 MB"), (1.536e9, "1.54 GB")],
)
def test_sizes_are_short(count: float, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize("num_nodes", [1, 2, 7])
def test_any_number_of_nodes_gets_advice(num_nodes: int) -> None:
    assert "strategy = " in run("--nodes", str(num_nodes))


# ----- measured losses


def measured_losses() -> dict[str, dict[str, float]]:
    """Return losses that follow gamma = 0.951 exactly."""

    def loss(neighbors: float) -> float:
        return 1 / (1 + log(neighbors))

    ring = effective_neighbors(topologies.ring(16), 0.951)
    return {
        "complete": {str(n): loss(n) for n in (1, 2, 4, 8, 16)},
        "topologies": {"ring": loss(ring)},
    }


def test_gamma_is_fitted_to_a_file_of_losses(tmp_path: Path) -> None:
    content = measured_losses()
    (tmp_path / "losses.json").write_text(json.dumps(content))
    rows = [f"complete,{n},{loss}" for n, loss in content["complete"].items()]
    ring = content["topologies"]["ring"]
    rows += [f"ring,,{ring - 0.1}", f"ring,16,{ring + 0.1}"]  # two runs, whose mean counts
    (tmp_path / "losses.csv").write_text("\n".join(["topology,num_nodes,loss", *rows]))
    for name in ("losses.json", "losses.csv"):
        found = run_json("--nodes", "16", "--losses", str(tmp_path / name), "--active", "4")
        assert found["gamma"] == pytest.approx(0.951, abs=1e-3)
        assert "is fitted" in found["notes"][0]


def test_the_example_of_a_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(EXAMPLE)
    found = read_losses(tmp_path / "a", 8)
    assert found.complete == {2: 0.52, 4: 0.40, 8: 0.33}
    assert found.topologies == {"ring": 0.37}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("{}", "has no 'complete'"),
        ('{"complete": {"2": 1}, "topologies": [1]}', "has no 'topologies'"),
        ('{"complete": {"two": 1}, "topologies": {}}', "complete, two: the number of nodes is"),
        ('{"complete": {"0": 1}, "topologies": {}}', "the number of nodes is '0'"),
        ('{"complete": {"2": "x"}, "topologies": {}}', "the loss is 'x', allowed is a finite"),
        ('{"complete": {"2": NaN}, "topologies": {}}', "the loss is nan"),
        ('{"complete": {"2": 1, "4": 0.5}, "topologies": {"rung": 1}}', "'rung' is unknown"),
        ('{"complete": {"2": 1}, "topologies": {"ring": 1}}', "complete_losses has 1 entries"),
        ("", "must be JSON such as"),
        ("a,b\n1,2\n", "CSV with the header topology,num_nodes,loss"),
        ("topology,num_nodes,loss\ncomplete,,1\n", "line 2: the number of nodes is ''"),
        ("topology,num_nodes,loss\nring,8,\n", "line 2: the loss is ''"),
        ("topology,num_nodes,loss\nring,16,1\n", "line 2: ring has 16 nodes, allowed are all 8"),
        ("topology,num_nodes,loss\nring\n", "line 2: the loss is None"),
        (b"\xff\xfe", "is not text"),
    ],
)
def test_files_of_losses_that_are_none(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = tmp_path / "losses"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in refused("--nodes", "8", "--losses", str(path))


def test_a_file_of_losses_that_is_not_there(tmp_path: Path) -> None:
    says = refused("--nodes", "8", "--losses", str(tmp_path / "none"))
    assert "none cannot be read: No such file or directory" in says


# ----- one topology


@pytest.mark.parametrize(
    ("spec", "nodes"),
    [("torus:4x8", None), ("grid:2x5", None), ("davis-southern-women", None), ("star", 9)],
)
def test_the_facts_of_a_topology(spec: str, nodes: int | None) -> None:
    known = run_json(spec, *(() if nodes is None else ("--nodes", str(nodes))), "--gamma", "0.951")
    topology = topologies.from_spec(spec, known["num_nodes"])
    assert known["max_degree"] == topology.max_degree
    assert known["symmetric"] == topology.symmetric
    assert known["spectral_gap"] == pytest.approx(spectral_gap(topology))
    assert known["consensus_rate"] == pytest.approx(consensus_rate(topology))
    (entry,) = (one for one in known["effective_neighbors"] if one["gamma"] == 0.951)
    for mode in ("mean", "worst"):
        assert entry[mode] == pytest.approx(effective_neighbors(topology, 0.951, mode=mode))
    for round, rows in known["rows"].items():
        for node, row in rows.items():
            found = {int(sender): weight for sender, weight in row.items()}
            assert found == topology.weights(int(node), int(round))


def test_the_terminal_shows_facts_rows_and_w() -> None:
    printed = run("one-peer-exponential", "--nodes", "4", "--gamma", "0.951")
    topology = topologies.one_peer_exponential(4)
    assert printed.startswith("one-peer-exponential, 4 nodes\n")
    assert re.search(r"neighbours a round, at most +1\b", printed)
    assert re.search(r"period +2 rounds", printed)
    assert re.search(r"W symmetric +no", printed)
    shown = re.search(r"mean over the nodes +(.*)", printed)
    assert shown is not None
    count = f"{effective_neighbors(topology, 0.951):.3f}"
    assert count in shown[1].split()
    assert re.search(r"^3 +1 +0 \(0\.5\), 3 \(0\.5\)", printed, flags=re.MULTILINE)
    assert re.search(r"^ +2 +1 \(0\.5\), 3 \(0\.5\)", printed, flags=re.MULTILINE)
    assert "W, round 1" in printed
    assert "W, round 2" in printed


def test_w_as_blocks() -> None:
    assert blocks(topologies.ring(4), 1).split("\n") == [
        "████  ██",
        "██████  ",
        "  ██████",
        "██  ████",
    ]
    # The star's leaves keep 2/3 and give the centre 1/3: full, and the second of four shades.
    assert blocks(topologies.star(3), 1, ".:*#").split("\n") == ["::::::", "::##  ", "::  ##"]


def test_a_terminal_without_these_letters_gets_others() -> None:
    command = [sys.executable, "-m", "flwr_gossip.clients.cli", "topology", "ring", "--nodes", "4"]
    done = subprocess.run(
        command, capture_output=True, timeout=60, env={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert "####  ##" in done.stdout.decode("ascii")


def test_many_nodes_are_shown_in_part() -> None:
    printed = run("ring", "--nodes", "2000")
    assert "1994 more nodes" in printed
    assert "--plot FILE.png" in printed
    assert len(printed.splitlines()) < 30
    crowded = run("complete", "--nodes", "50")
    assert "and 44 more" in crowded


def test_what_theory_does_not_know_is_said() -> None:
    topology = topologies.chain(4100)  # too many for the worst node
    known = facts(topology, [0.9])
    assert known["effective_neighbors"][0]["worst"] is None
    console = Console(width=100)
    with console.capture() as captured:
        print_topology(console, topology, known)
    assert re.search(r"worst node +not known", captured.get())


def test_the_pictures_of_w_fit_the_width() -> None:
    topology = topologies.one_peer_exponential(16)
    for width in (40, 80, 150):
        console = Console(width=width)
        with console.capture() as captured:
            print_topology(console, topology, facts(topology, [0.9]))
        lines = captured.get().splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("W, round 1"))
        assert all(len(line) <= width for line in lines[first:])
        assert lines[first].count("W, round") == (width + 3) // 35
        assert lines[first + 1].startswith("████")


def test_a_narrow_terminal_cuts_no_number() -> None:
    topology, found = topologies.ring(8), recommend(8, model_bytes=4 * 10**6)
    shown = {}
    for width in (20, 60, 150):
        console = Console(width=width)
        with console.capture() as captured:
            print_topology(console, topology, facts(topology, [0.5, 0.9, 0.99]))
            print_advice(console, found, 5)
        lines = captured.get().splitlines()
        shown[width] = [line for line in lines if re.search(r"mean over|^Gossip +\S+ +8 ", line)]
        assert not any("\u2026" in line for line in shown[width])
    assert len(shown[150]) > 2
    assert shown[20] == shown[60] == shown[150]


# ----- pictures


def is_picture(path: Path) -> bool:
    pixels = imread(path)
    return min(pixels.shape[:2]) > 300 and len(np.unique(pixels[..., :3])) > 9


@pytest.mark.parametrize(
    "arguments", [["torus:2x3"], ["--nodes", "9", "--max-degree", "2"], ["ring", "--nodes", "1"]]
)
def test_a_picture(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "a.png"
    printed = run(*arguments, "--plot", str(path))
    assert printed.endswith(f"Picture: {path}\n")
    assert is_picture(path)


def test_a_picture_beside_json(tmp_path: Path) -> None:
    assert run_json("ring", "--nodes", "5", "--plot", str(tmp_path / "a.svg"))["num_nodes"] == 5
    assert (tmp_path / "a.svg").exists()


def test_without_matplotlib_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "a.png"
    assert "pip install 'flwr-gossip[plots]'" in refused(
        "ring", "--nodes", "4", "--plot", str(path)
    )
    assert not path.exists()


# ----- mistakes


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say how many nodes there are: --nodes N"),
        (["ring"], "say how many nodes 'ring' has: --nodes N"),
        (["edges:a.txt"], "say how many nodes 'edges:a.txt' has"),
        (["wring"], "topology 'wring' is unknown (did you mean 'ring'?)"),
        (["torus:4x8", "--nodes", "31"], "has 32 nodes, but num_nodes is 31"),
        (["torus:4"], "write torus:RxC"),
        (["hypercube", "--nodes", "6"], "allowed are powers of two"),
        (["ring", "--nodes", "0"], "--nodes is 0"),
        (["--nodes", "-3"], "--nodes is -3"),
        (["--nodes", "4", "--gamma", "1"], "--gamma is 1.0"),
        (["--nodes", "4", "--heterogeneity", "-1"], "heterogeneity is -1.0"),
        (["--nodes", "4", "--top", "0"], "--top is 0"),
        (["--nodes", "4", "--max-bytes", "1MB"], "max_bytes needs model_bytes"),
        (["--nodes", "4", "--max-bytes", "lots"], "--max-bytes is 'lots', must be a size such as"),
        (["--nodes", "4", "--model-bytes", "-4"], "--model-bytes is '-4'"),
        (["--nodes", "4", "--model-bytes", "4", "--model-parameters", "1"], "give one of them"),
        (["--nodes", "4", "--model-parameters", "0"], "--model-parameters is 0"),
        (
            ["--nodes", "4", "--active", "5"],
            "num_active is 5, allowed is 1..",
        ),
        (["--nodes", "4", "--gamma", "0.9", "--losses", "x"], "goes without --gamma"),
        (["ring", "--nodes", "4", "--max-degree", "2"], "--max-degree is for choosing"),
        (["ring", "--nodes", "4", "--active", "2"], "--active is for choosing"),
        (["--nodes", "4", "--plot", "a.gif"], "ends in one of .pdf, .png, .svg"),
        (["--nodes", "4", "--plot", "/no/a.png"], "there is no folder /no"),
        (["ring", "--nodes", "1025", "--plot", "a.png"], "a picture is drawn up to 1024"),
        (["--nodes", "8", "--model-bytes", "9", "--max-bytes", "1"], "reaches the target; allow"),
    ],
)
def test_mistakes_are_one_line_and_code_2(arguments: list[str], says: str) -> None:
    assert says in refused(*arguments)


def test_a_wrong_word_for_a_number_is_code_2() -> None:
    assert CliRunner().invoke(app, ["topology", "--nodes", "many"]).exit_code == 2


def test_the_other_commands_do_not_pay_for_this_one() -> None:
    code = """
import sys
import flwr_gossip.clients.cli
heavy = ["scipy", "networkx", "matplotlib", "flwr_gossip.server_free.theory"]
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(PlanError, match="is too large"):
        read_losses(tmp_path / "a", 8)
