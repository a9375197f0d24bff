"""The servers of a private Flower: SuperLinks and SuperNodes on loopback; see ``local_flower``."""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from local_processes import (
    LocalError,
    Program,
    free_port,
    private_folder,
    program_path,
    read,
    start,
)

Value = str | int | float | bool

READY_S = 60.0
STARTS = 3  # of a server, each on another port, should a port be taken between choice and use

QUIET = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default; without it Ray warns
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}


class PortTaken(LocalError):
    """Another program took the port between its choice and its use."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of a SuperLink with TLS, good for 127.0.0.1."""

    certfile: str
    keyfile: str
    ca_certfile: str


@dataclass(frozen=True, slots=True)
class SuperLink:
    """A running SuperLink; ``num_supernodes`` is None where SuperNodes come by themselves."""

    address: str
    home: Path
    log: Path
    num_supernodes: int | None = None
    certificates: Certificates | None = None


@contextmanager
def simulation_superlink(num_supernodes: int) -> Iterator[SuperLink]:
    """Run a SuperLink that simulates ``num_supernodes`` nodes with Ray, one core for a client."""
    with private_folder() as home:
        program, port = _start("superlink", _superlink_command("--simulation"), home / "superlink")
        with program:
            yield SuperLink(f"127.0.0.1:{port}", home, program.log, num_supernodes)


@contextmanager
def superlink(
    certificates: Certificates | None = None, host: str = "127.0.0.1"
) -> Iterator[SuperLink]:
    """Run a SuperLink for a deployment, with TLS if there are certificates; see `supernode`.

    ``host`` is what it listens on; this module talks to it on 127.0.0.1 in any case.
    """
    with private_folder() as home:
        command = _superlink_command("--host", host, certificates=certificates)
        program, port = _start("superlink", command, home / "superlink", certificates=certificates)
        with program:
            yield SuperLink(f"127.0.0.1:{port}", home, program.log, certificates=certificates)


@contextmanager
def supernode(
    link: SuperLink,
    node_config: Mapping[str, Value],
    *,
    name: str,
    peer: bool = False,
    peer_options: Sequence[str] = (),
) -> Iterator[Program]:
    """Run a SuperNode until the block ends; it is registered with the SuperLink when it begins.

    Parameters
    ----------
    link : SuperLink
        The SuperLink to register with.
    node_config : Mapping[str, Value]
        For most apps ``partition-id`` and ``num-partitions``. Strings without double quotes.
    name : str
        The name of its log and home folder, one of a kind on this SuperLink.
    peer : bool (default: False)
        Run its peer for gossip too (``flwr-gossip supernode``), on a free port.
    peer_options : Sequence[str] (default: ())
        Further options of ``flwr-gossip supernode``; without certificates it has no TLS.
    """
    program = [program_path("flower-supernode")]
    if peer:
        listen = ["--listen", "127.0.0.1:0"]
        if not any(option.startswith("--ssl-") for option in peer_options):
            listen.append("--insecure")
        program = [program_path("flwr-gossip"), "supernode", *listen, *peer_options, "--"]
    security = ["--insecure"]
    if link.certificates is not None:
        security = ["--root-certificates", link.certificates.ca_certfile]

    def command(port: int) -> list[str]:
        options = [*security, "--superlink", link.address, "--port", str(port)]
        return [*program, *options, "--node-config", pairs(node_config)]

    node, _ = _start(name, command, link.home / name, ready_text="SuperNode ID:")
    with node:
        yield node


@contextmanager
def supernodes(link: SuperLink, number: int, *, peers: bool = False) -> Iterator[list[Program]]:
    """Run ``number`` SuperNodes with partition ids from 0, with a peer each if ``peers``."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                supernode(
                    link,
                    {"partition-id": node, "num-partitions": number},
                    name=f"node-{node}",
                    peer=peers,
                )
            )
            for node in range(number)
        ]


def _superlink_command(
    *options: str, certificates: Certificates | None = None
) -> Callable[[int], list[str]]:
    program, security = program_path("flower-superlink"), ["--insecure"]
    if certificates is not None:
        security = ["--ssl-certfile", certificates.certfile, "--ssl-keyfile", certificates.keyfile]
        security += ["--ssl-ca-certfile", certificates.ca_certfile]
    return lambda port: [program, *security, "--port", str(port), *options]


def _start(
    name: str,
    command: Callable[[int], Sequence[str]],
    home: Path,
    ready_text: str = "",
    certificates: Certificates | None = None,
) -> tuple[Program, int]:
    """Start a server on a free port; on another one if that was taken meanwhile."""
    for _ in range(STARTS - 1):
        with suppress(PortTaken):
            return _start_once(name, command, home, ready_text, certificates)
    return _start_once(name, command, home, ready_text, certificates)


def _start_once(
    name: str,
    command: Callable[[int], Sequence[str]],
    home: Path,
    ready_text: str,
    certificates: Certificates | None,
) -> tuple[Program, int]:
    port = free_port()
    program = start(name, command(port), home, environment(home))

    def ready() -> bool:
        return _healthy(port, certificates) and ready_text in read(program.log)

    try:
        program.wait_ready(ready, READY_S)
    except BaseException as error:
        program.stop()
        if "address already in use" in read(program.log):
            raise PortTaken(f"port {port} was taken: {error}") from error
        raise
    return program, port


def _healthy(port: int, certificates: Certificates | None) -> bool:
    """Whether Flower's health route answers on the port, with TLS if there are certificates."""
    scheme, context = "http", None
    if certificates is not None:
        scheme, context = "https", ssl.create_default_context(cafile=certificates.ca_certfile)
    url = f"{scheme}://127.0.0.1:{port}/health"
    try:
        with urllib.request.urlopen(url, timeout=1.0, context=context) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a Flower program whose home is ``home``."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    folders = {"HF_HOME": home / "hf"}
    if len(str(home)) < 40:  # sockets of Ray and of peers lie there: at most 107 bytes a path
        folders |= {"RAY_TMPDIR": home / "ray", "TMPDIR": home / "tmp"}
        folders["TMPDIR"].mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **QUIET,
        **{name: str(folder) for name, folder in folders.items()},
        "PATH": path,
    }


def pairs(values: Mapping[str, Value]) -> str:
    """Return ``key=value`` pairs as Flower's command lines take them."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
