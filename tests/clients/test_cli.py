"""The commands as a user meets them: real processes, real signals, one-line errors."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trustme
from typer.testing import CliRunner

from flwr_gossip.clients.cli import app
from flwr_gossip.clients.peer_options import parse_size
from flwr_gossip.server_free.peers.links import (
    INITIAL,
    WIRE_VERSION,
    Membership,
    Patience,
    connect,
    describe,
)

CLI = [sys.executable, "-m", "flwr_gossip.clients.cli"]
READY = re.compile(r"peer ready: listen=(\S+) advertise=(\S+) local=(\S+)\n")
ENDS_S = 30.0

# Stands for flower-supernode: says what it was told, then does what the test wants.
FAKE = """
import os, signal, subprocess, sys, time
from flwr.common.config import parse_config_args
config = parse_config_args([sys.argv[sys.argv.index("--node-config") + 1]])
print("config", config["gossip-peer"], os.getpid(), flush=True)
todo = sys.argv[1]
if todo == "exit": sys.exit(7)
if todo == "crash": os.kill(os.getpid(), signal.SIGKILL)
if todo == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if todo == "polite":
    def bye(number, frame):
        print("got", number, flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, bye); signal.signal(signal.SIGINT, bye)
if todo == "parent":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    print("grandchild", child.pid, flush=True)
    sys.exit(0)
print("waiting", flush=True)
time.sleep(100)
"""
RUN_FAKE = """
import sys
from flwr_gossip.clients import supernode
from flwr_gossip.server_free.peers.host import PeerHost
supernode.GRACE_S = 1.0
program = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
sys.exit(supernode.run_supernode(PeerHost(), ["--node-config", "a=1"], program))
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program; it is killed at the end if it still runs."""
    running: list[subprocess.Popen[str]] = []

    def start_one(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ready(process: subprocess.Popen[str]) -> tuple[str, str, str]:
    """Return where the peer listens, what it advertises, and its local address."""
    match = READY.fullmatch(line(process))
    assert match is not None, process.communicate(timeout=ENDS_S)
    return match[1], match[2], match[3]


def is_alive(pid: int) -> bool:
    """Whether the process runs (a zombie that nobody has reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_ends(pid: int) -> None:
    deadline = time.monotonic() + ENDS_S
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


# ----- flwr-gossip peer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_peer_serves_till_it_is_told_to_stop(start: Start, number: signal.Signals) -> None:
    process = start(*CLI, "peer", "--listen", "127.0.0.1:0", "--insecure")
    listen, advertise, local = ready(process)
    assert listen == advertise
    assert describe(local).address == advertise
    with connect(local, Membership("t", b"k" * 32, 0, "s", (advertise,))) as link:
        link.publish(INITIAL, {"w": np.ones(3)}, readers=[])
        [model] = link.fetch([INITIAL], Patience())
        assert model["w"].tolist() == [1, 1, 1]
        process.send_signal(number)
        out, errors = process.communicate(timeout=ENDS_S)
    assert (process.returncode, out, errors) == (0, "", "")
    assert not os.path.exists(local.removeprefix("unix:"))


def test_the_addresses_of_a_peer(start: Start, tmp_path: Path) -> None:
    local = f"unix:{tmp_path}/p.sock"
    address = ["--listen", "0.0.0.0:0", "--advertise", "node3.example:9400", "--local", local]
    process = start(*CLI, "peer", *address, "--insecure")
    listen, advertise, told = ready(process)
    assert listen.startswith("0.0.0.0:") and not listen.endswith(":0")
    assert (advertise, told) == ("node3.example:9400", local)


def test_a_peer_with_certificates(start: Start, tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "k.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "c.pem"))
    files = [f"--ssl-{name}={tmp_path}/{short}.pem" for name, short in
             [("certfile", "c"), ("keyfile", "k"), ("ca-certfile", "ca")]]  # fmt: skip
    command = [*CLI, "peer", "--listen", "127.0.0.1:0", *files]
    process = start(*command, "--advertise", "localhost:0")
    assert describe(ready(process)[2]).tls
    process = start(*command)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert "c.pem' is not good for the advertised address 127.0.0.1:0" in errors


def test_a_peer_with_metrics(start: Start) -> None:
    pytest.importorskip("prometheus_client")
    process = start(*CLI, "peer", "--listen", "127.0.0.1:0", "--insecure", "--metrics", "0")
    assert process.stdout is not None
    found = re.search(r" metrics=(http://127\.0\.0\.1:\d+/metrics)\n", process.stdout.readline())
    assert found is not None
    with urllib.request.urlopen(found[1], timeout=5) as reply:
        assert b"flwr_gossip_peer_mailbox_bytes 0.0" in reply.read()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "127.0.0.1:0"], "--ssl-certfile and --ssl-keyfile, or --insecure"),
        (["--listen", "127.0.0.1:0", "--ssl-certfile", "x"], "or --insecure"),
        (["--listen", "127.0.0.1:0", "--ssl-certfile", "x", "--insecure"], "exclude each other"),
        (
            ["--listen", "127.0.0.1:0", "--ssl-certfile", "/no", "--ssl-keyfile", "/no"],
            "certfile '/no' cannot be read: No such file",
        ),
        (["--listen", "0.0.0.0:0", "--insecure"], "--advertise HOST:PORT"),
        (["--listen", "9400", "--insecure"], "listen is '9400', must be HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--insecure", "--max-memory", "much"], "--max-memory is 'm"),
        (["--listen", "127.0.0.1:0", "--insecure", "--local", "unix:/no/p"], "there is no folder"),
        (["--listen", "127.0.0.1:{taken}", "--insecure"], "Address already in use"),
    ],
)
def test_mistakes_are_one_line_and_code_2(start: Start, options: list[str], says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(*CLI, "peer", *[o.replace("{taken}", port) for o in options])
        out, errors = process.communicate(timeout=ENDS_S)
    assert process.returncode == 2
    assert out == ""
    assert errors.startswith("flwr-gossip peer: error: ")
    assert errors.count("\n") == 1
    assert says in errors


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 << 30), ("500MB", 500_000_000), ("1.5 KiB", 1536), ("77", 77), ("2g", 2 * 10**9)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "f") == size


@pytest.mark.parametrize("text", ["", "0", "-1", "4TiB", "GiB", "1e9", "nan"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"f is .*must be a size such as"):
        parse_size(text, "f")


# ----- flwr-gossip supernode


def start_fake(start: Start, todo: str) -> tuple[subprocess.Popen[str], str, int]:
    """Start a launcher around a fake; return it, the peer's local address and the fake's pid."""
    process = start(sys.executable, "-c", RUN_FAKE, FAKE, todo)
    local = ready(process)[2]
    word, told, pid = line(process).split()
    assert (word, told) == ("config", local)
    return process, local, int(pid)


def test_the_launcher_ends_with_its_child_and_returns_its_code(start: Start) -> None:
    process, local, _ = start_fake(start, "exit")
    assert process.wait(ENDS_S) == 7
    assert not os.path.exists(local.removeprefix("unix:"))


def test_a_child_that_dies_of_a_signal(start: Start) -> None:
    process, _, _ = start_fake(start, "crash")
    assert process.wait(ENDS_S) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_handed_on(start: Start, number: signal.Signals) -> None:
    process, local, pid = start_fake(start, "polite")
    assert line(process) == "waiting\n"
    assert describe(local).protocol == WIRE_VERSION
    process.send_signal(number)
    out, errors = process.communicate(timeout=ENDS_S)
    assert (process.returncode, out, errors) == (0, f"got {int(number)}\n", "")
    assert not is_alive(pid)


def test_a_child_that_does_not_heed_signals_is_killed(start: Start) -> None:
    process, _, pid = start_fake(start, "stubborn")
    assert line(process) == "waiting\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(ENDS_S) == 128 + signal.SIGKILL
    assert not is_alive(pid)


def test_what_the_child_leaves_behind_is_ended(start: Start) -> None:
    process, _, _ = start_fake(start, "parent")
    word, pid = line(process).split()
    assert word == "grandchild"
    assert process.wait(ENDS_S) == 0
    assert_ends(int(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of that")
def test_the_child_ends_when_the_launcher_is_killed(start: Start) -> None:
    process, _, pid = start_fake(start, "polite")
    assert line(process) == "waiting\n"
    process.kill()
    assert_ends(pid)


def test_a_mistake_of_the_peer_starts_no_supernode(start: Start) -> None:
    process = start(*CLI, "supernode", "--listen", "127.0.0.1:0", "--", "--insecure")
    out, errors = process.communicate(timeout=ENDS_S)
    assert process.returncode == 2
    assert out == ""
    assert errors.count("\n") == 1
    assert errors.startswith("flwr-gossip supernode: error: give --ssl-certfile")


def test_a_field_given_twice_starts_no_supernode(start: Start) -> None:
    options = ["--", "--insecure", "--node-config", "gossip-peer='unix:/x'"]
    process = start(*CLI, "supernode", "--listen", "127.0.0.1:0", "--insecure", *options)
    _, errors = process.communicate(timeout=ENDS_S)
    assert process.returncode == 2
    assert "gossip-peer already" in errors
    assert errors.count("\n") == 1


def lines_until(process: subprocess.Popen[str], text: str, within_s: float = 60.0) -> str:
    """Return what the process logs till a line has ``text``, or for so many seconds."""
    seen: list[str] = []

    def read() -> None:
        for line in process.stderr or ():
            seen.append(line)
            if text in line:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(within_s)
    return "".join(seen)


@pytest.mark.integration
def test_a_real_supernode(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the options, tries a SuperLink that is not there, and stops when told to."""
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")  # for which Flower would wait at its end
    monkeypatch.setenv("FLWR_DISABLE_UPDATE_CHECK", "1")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        ports = [unused.getsockname()[1]]
    with socket.create_server(("127.0.0.1", 0)) as unused:
        ports.append(unused.getsockname()[1])
    process = start(
        *[*CLI, "supernode", "--listen", "127.0.0.1:0", "--insecure", "--", "--insecure"],
        *["--superlink", f"127.0.0.1:{ports[0]}", "--port", str(ports[1])],
        *["--node-config", "partition-id=0 num-partitions=2"],
    )
    _, _, local = ready(process)
    seen = lines_until(process, "Starting Flower SuperNode")
    assert process.poll() is None, "it has ended by itself"
    assert describe(local).protocol == WIRE_VERSION
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, errors = process.communicate(timeout=ENDS_S)
    assert time.monotonic() - began < ENDS_S
    assert "Starting Flower SuperNode" in seen
    # Flower, told twice to stop while it stops, may show a trace of its own; ours are not in it.
    assert not re.search(r'File ".*(clients|server_free|flwr_gossip)/', errors)


@pytest.mark.integration
def test_a_real_supernode_that_refuses_its_options(start: Start) -> None:
    process = start(
        *CLI, "supernode", "--listen", "127.0.0.1:0", "--insecure", "--", "--no-such-option"
    )
    _, errors = process.communicate(timeout=ENDS_S)
    assert process.returncode == 2
    assert "--no-such-option" in errors


@pytest.mark.parametrize(
    "command, says",
    [
        ("peer", ["Needs flwr-gossip[metrics]."]),
        ("supernode", ["What follows -- goes to flower-supernode"]),
        ("simulate", ["APP_DIR is the app's folder"]),
        ("topology", ["SPEC, such as ring or torus:4x8"]),
        ("report", ["RUN is the folder of a run", "needs flwr-gossip[plots]"]),
        ("watch", ["RUN is the folder whose place a run prints"]),
    ],
)
def test_help_says_what_the_arguments_are_and_which_extra_is_needed(
    command: str, says: list[str]
) -> None:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    told = " ".join(done.output.replace("│", " ").split())
    for text in says:
        assert text in told
