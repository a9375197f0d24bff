"""The README's commands and code do what it says: each is run here, or named as run by CI."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trustme
from flwr.app import Array, ArrayRecord

from apps import quadratic_app
from flwr_gossip.server_free import topologies
from flwr_gossip.strategies import Settings, Teleportation

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEADLINE_S = 60.0

BY_CI = {"make lint", "make test"}
"""What .ci/run itself calls."""

BY_TESTS = {"make demo", "make deploy-demo"}
"""Their scripts run in tests/integration, at a small size."""


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
    others = [c for c in commands() if c not in known and not c.startswith("flwr-gossip supernode")]
    assert others == []
    ci = (ROOT / ".ci" / "run").read_text()
    assert all(re.search(rf"make .*{command.split()[1]}", ci) for command in BY_CI)


@pytest.mark.parametrize("command", sorted(BY_CI | BY_TESTS))
def test_every_make_target_exists(command: str) -> None:
    done = subprocess.run(
        ["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code: str) -> None:
    model = ArrayRecord({"w": Array(np.zeros((2, 3), np.float32))})
    given = {"client_app": quadratic_app(), "Teleportation": Teleportation, "initial_arrays": model}
    code = code.replace("num_rounds=100", "num_rounds=3")
    exec(compile(code, "README.md", "exec"), given)
    assert given["result"].served_round == 3  # type: ignore[attr-defined]


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
    paragraph = README[README.index("Both take `seed`") :].split("\n\n")[0]
    named = re.findall(r"`([a-z_]+)`", paragraph.split("explains each")[0])
    assert set(named) <= set(Settings.__dataclass_fields__)
