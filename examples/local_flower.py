"""A private Flower on this machine: SuperLinks and SuperNodes that start, run an app and stop.

    with simulation_superlink(num_supernodes=16) as link:
        output = run_app("examples/quickstart", link, {"strategy": "gossip"}, timeout_s=120)

    with superlink() as link, supernode(link, {"partition-id": 0}, name="node-0"):
        output = run_app("my-app", link)

``flwr run`` without a SuperLink of its own would use one fixed port and one SuperLink shared by all
of the user's runs. Here every SuperLink has its own free port on 127.0.0.1 and its own Flower home
in a temporary folder, so that two can run at once and nothing of the user's is touched. Telemetry,
the update check and the installation of the app's dependencies are off: the app runs in the Python
that runs this module. Logs are files in the temporary folder; an error shows the end of the right
one. All waits have a deadline. Written for Flower 1.41, where one HTTP port of a SuperLink serves
the command line, the SuperNodes and the apps.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_processes import (
    COLOUR,
    POLL_S,
    LocalError,
    Program,
    program_path,
    read,
    start,
    tail,
    wait_until,
)
from local_servers import (
    Certificates,
    SuperLink,
    Value,
    environment,
    pairs,
    simulation_superlink,
    superlink,
    supernode,
    supernodes,
)

__all__ = [
    "Certificates",
    "LocalError",
    "Program",
    "RunOutput",
    "SuperLink",
    "Value",
    "run_app",
    "simulation_superlink",
    "superlink",
    "supernode",
    "supernodes",
]

CONNECTION = "private"  # the name of the SuperLink in the config.toml that `flwr run` reads
COMMAND_S = 60.0  # for a flwr command that asks the SuperLink one question


@dataclass(frozen=True, slots=True)
class RunOutput:
    """What a run gave. Bytes are those the SuperLink counted: none in a simulation."""

    status: str  # "finished:completed", "finished:failed" or "finished:stopped"
    text: str  # all that the ServerApp printed and logged
    seconds: float
    bytes_from_nodes: int
    bytes_to_nodes: int

    @property
    def completed(self) -> bool:
        """Whether the ServerApp came to its end."""
        return self.status == "finished:completed"


def run_app(
    app: Path | str,
    link: SuperLink,
    run_config: Mapping[str, Value] | None = None,
    federation_config: Mapping[str, Value] | None = None,
    *,
    timeout_s: float = 600.0,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> RunOutput:
    """Run a Flower app to its end: ``flwr run APP CONNECTION --stream``.

    Parameters
    ----------
    app : Path | str
        The folder of the app's pyproject.toml.
    link : SuperLink
        Where to run it.
    run_config : Mapping[str, Value], optional
        Overrides of keys of the app's ``[tool.flwr.app.config]``.
    federation_config : Mapping[str, Value], optional
        Overrides of the simulation's options, such as ``client-resources-num-cpus``.
    timeout_s : float (default: 600.0)
        Seconds after which the run is stopped.
    on_line : Callable[[str], None], optional
        Called with each line of the ServerApp's output as it comes, without colours.
    check : bool (default: True)
        Raise `LocalError`, with the end of the output, when the run did not complete.

    Raises
    ------
    LocalError
        The run did not start, took longer than ``timeout_s``, or failed and ``check`` is set.
    """
    began = time.monotonic()
    home = _run_home(link)
    command = [program_path("flwr"), "run", str(Path(app).resolve()), CONNECTION, "--stream"]
    if run_config:
        command += ["--run-config", str(_write_toml(home / "run-config.toml", run_config))]
    if options := _federation(link) | dict(federation_config or {}):
        command += ["--federation-config", pairs(options)]
    with start("run", command, home, environment(home)) as program:
        try:
            text = _follow(program, timeout_s, on_line)
        except BaseException:
            _stop_run(home, program)
            raise
    info = _run_info(home, program)
    traffic = info["network-traffic"]
    seconds = time.monotonic() - began
    output = RunOutput(
        info["status"], text, seconds, traffic["inbound-bytes"], traffic["outbound-bytes"]
    )
    if check and not output.completed:
        ended = f"the run of {app} ended as {output.status}: {info['status-details']}"
        raise LocalError(f"{ended}\n{tail(program.log)}\n{tail(link.log)}")
    return output


def _run_home(link: SuperLink) -> Path:
    """Make a Flower home whose config.toml knows the SuperLink: that is how `flwr` is told."""
    home = link.home / f"run-{time.monotonic_ns()}"
    home.mkdir()
    values: dict[str, Value] = {"address": link.address, "insecure": link.certificates is None}
    if link.certificates is not None:
        values["root-certificates"] = link.certificates.ca_certfile
    connection = _toml(values)
    (home / "config.toml").write_text(f"[superlink.{CONNECTION}]\n{connection}\n")
    return home


def _federation(link: SuperLink) -> dict[str, Value]:
    if link.num_supernodes is None:
        return {}
    return {"num-supernodes": link.num_supernodes, "client-resources-num-cpus": 1}


def _follow(program: Program, timeout_s: float, on_line: Callable[[str], None] | None) -> str:
    """Pass the program's lines on as they come, until it ends; return them all."""
    deadline = time.monotonic() + timeout_s
    text = rest = ""
    with program.log.open(errors="replace") as log:
        while True:
            running = program.running  # asked before reading, so that the last lines are read
            *lines, rest = (rest + COLOUR.sub("", log.read())).split("\n")
            for line in lines:
                text += line + "\n"
                if on_line is not None:
                    on_line(line)
            if not running:
                return text + rest
            if time.monotonic() > deadline:
                late = f"{program.name} was stopped after {timeout_s:g} s"
                raise LocalError(f"{late}.\n{tail(program.log)}")
            time.sleep(POLL_S)


def _run_id(program: Program) -> str:
    found = re.search(r"started run (\d+)", read(program.log))
    if found is None:
        raise LocalError(f"the app was not started.\n{tail(program.log)}")
    return found[1]


def _run_info(home: Path, program: Program) -> dict[str, Any]:
    """Ask the SuperLink how the run ended."""
    info: dict[str, Any] = {}

    def finished() -> bool:
        text = _ask(home, "list", CONNECTION, "--run-id", _run_id(program), "--format", "json")
        info.update(json.loads(text)["runs"][0])
        return str(info["status"]).startswith("finished")

    if not wait_until(finished, COMMAND_S):
        raise LocalError(f"the run is {info['status']} though its output ended")
    return info


def _stop_run(home: Path, program: Program) -> None:
    with suppress(LocalError):  # not started, ended meanwhile, or the SuperLink is gone
        _ask(home, "stop", _run_id(program), CONNECTION)


def _ask(home: Path, *arguments: str) -> str:
    """Run one short `flwr` command and return its output."""
    command = [program_path("flwr"), *arguments]
    with start(f"flwr-{arguments[0]}", command, home, environment(home)) as program:
        text = _follow(program, COMMAND_S, None)
    if program.process.returncode != 0:
        raise LocalError(f"flwr {' '.join(arguments)} failed.\n{tail(program.log)}")
    return text


def _toml(values: Mapping[str, Value]) -> str:
    # A JSON string, number or bool is one of TOML too.
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())


def _write_toml(path: Path, values: Mapping[str, Value]) -> Path:
    path.write_text(_toml(values) + "\n")
    return path
