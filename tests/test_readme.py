"""The README's commands and code do what it says: each is run here, or named as run by CI."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trustme
from typer.testing import CliRunner

from apps import initial, quadratic_app
from flwr_gossip.clients.cli import app
from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.reachability import Unreachable, pairs_table
from flwr_gossip.strategies import Settings, Teleportation
from run_samples import write_sample

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEADLINE_S = 110.0

BY_CI = {"make lint", "make test"}
"""What .ci/run itself calls."""

BY_TESTS = {"make demo", "make deploy-demo"}
"""Their scripts run in tests/integration, at a small size."""


RUN_AS_THEY_STAND = ("flwr-gossip topology", "flwr-gossip simulate", "flwr-gossip watch")
"""Run below, each line of the README that begins so."""


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Return the commands of the shell blocks, without comments, one line each."""
    joined = "\n".join(blocks("sh")).replace("\\\n", " ")
    stripped = (re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines())
    return [" ".join(line.split()) for line in stripped if line]


def test_every_command_is_run_somewhere() -> None:
    known = BY_CI | BY_TESTS
    run_here = ("flwr-gossip supernode", *RUN_AS_THEY_STAND)
    others = [c for c in commands() if c not in known and not c.startswith(run_here)]
    assert others == []
    ci = (ROOT / ".ci" / "run").read_text()
    assert all(re.search(rf"make .*{command.split()[1]}", ci) for command in BY_CI)


@pytest.mark.parametrize("command", sorted(BY_CI | BY_TESTS))
def test_every_make_target_exists(command: str) -> None:
    done = subprocess.run(
        ["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr


def run_block(word: str, given: dict[str, object]) -> dict[str, object]:
    """Run the one Python block with this word, for three rounds; return its names."""
    (code,) = (block for block in blocks("python") if word in block)
    given = {"Teleportation": Teleportation, **given}
    exec(compile(code.replace("num_rounds=100", "num_rounds=3"), "README.md", "exec"), given)
    return given


def test_every_python_block_is_run_below() -> None:
    assert all("InProcessGrid" in code or "simulate(" in code for code in blocks("python"))


def test_the_grid_runs() -> None:
    given = {"client_app": quadratic_app(), "initial_arrays": initial()}
    result: Any = run_block("InProcessGrid", given)["result"]
    assert result.served_round == 3
    assert not result.failures


def test_the_vectorized_runtime_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    given = {
        "net": torch.nn.Linear(5, 3),
        "inputs": inputs,
        "labels": labels,
        "test_inputs": inputs,
        "test_labels": labels,
        "partition": np.arange(60).reshape(20, 3),
    }
    history = run_block("simulate(", given)["run"].history  # type: ignore[attr-defined]
    assert [record["round"] for record in history] == [1, 2, 3]
    assert history[-1]["seconds"] > 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["accuracy.png", "teleportation.jsonl"]


@pytest.mark.parametrize("start", RUN_AS_THEY_STAND)
def test_commands_run_as_they_stand(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_GOSSIP_RUNS", str(tmp_path))
    write_sample(tmp_path / "run")
    found = [command for command in commands() if command.startswith(start)]
    assert found
    for command in found:
        program, *arguments = shlex.split(command)
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr


def test_the_ranking_is_the_one_printed() -> None:
    (command,) = (c for c in commands() if c.startswith("flwr-gossip topology"))
    (table,) = (block for block in blocks("text") if "n_W" in block)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    rows = [line.split() for line in table.splitlines() if "x3." in line]
    assert len(rows) == 6
    assert [row for row in map(str.split, done.output.splitlines()) if row in rows] == rows


def test_the_table_of_pairs_is_the_one_logged() -> None:
    (table,) = (block for block in blocks("text") if "pairs of nodes" in block)
    closed = "nobody listens on port 9400 of 10.0.0.4"
    wrong = "wrong host name: its certificate is not for 10.0.0.3"
    pairs = [
        Unreachable(0, 2, "10.0.0.4:9400", "refused", closed, relay=1),
        Unreachable(2, 1, "10.0.0.3:9400", "certificate", wrong, relay=0),
    ]
    assert table.splitlines() == pairs_table(pairs, num_probed=6)


def test_the_supernode_command_starts_a_peer_with_mutual_tls(tmp_path: Path) -> None:
    (command,) = (c for c in commands() if c.startswith("flwr-gossip supernode"))
    ca = trustme.CA()
    certificate = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "peer.key"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "peer.pem"))
    local = command.replace("0.0.0.0:9400", "127.0.0.1:0").replace("10.0.0.1:8000", "127.0.0.1:1")
    local = local.replace("--advertise 10.0.0.3:9400", "")
    arguments = shlex.split(local)
    program = str(Path(sys.executable).parent / arguments[0])
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [program, *arguments[1:]], cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while "peer ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def test_the_topologies_are_those_that_exist() -> None:
    listed = re.findall(r"^\| `([a-zA-Z:,-]+)` \|", README, flags=re.MULTILINE)
    assert sorted(listed) == sorted(topologies.SPECS)


def test_the_options_are_those_that_exist() -> None:
    paragraph = README[README.index("All take `seed`") :].split("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+)`", paragraph.split("explains each")[0]))
    fields = set(Settings.__dataclass_fields__)
    assert named <= fields
    described = {name for name in fields if not name.endswith(("_key", "_fn"))}
    assert named >= described
