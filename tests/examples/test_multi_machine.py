"""The files of the multi-machine example: options that there are, and keys that stay outside."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode

from flwr_gossip.clients.cli import app

HERE = Path(__file__).parents[2] / "examples" / "multi_machine"
COMPOSE: dict[str, Any] = yaml.safe_load((HERE / "compose.yaml").read_text())
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")


def commands() -> Iterator[tuple[str, str]]:
    """Yield (file, command) for each peer that is started there, its variables filled in."""
    for name in HOSPITALS:
        service = COMPOSE["services"][name]
        command = service["entrypoint"][2].removeprefix("exec ")
        for variable, value in service["environment"].items():
            command = command.replace(f"$${variable}", value)
        yield f"compose.yaml, {name}", command
    unit = (HERE / "systemd" / "flwr-gossip.service").read_text()
    start = re.search(r"^ExecStart=((?:.*\\\n)*.*)", unit, re.MULTILINE)
    assert start is not None
    command = start[1].replace("\\\n", " ")
    for variable, value in re.findall(r"^#   (\w+)=(.*)$", unit, re.MULTILINE):
        command = command.replace(f"${{{variable}}}", value)
    yield "flwr-gossip.service", command


@pytest.mark.parametrize(("file", "command"), list(commands()))
def test_peers_are_started_with_options_that_there_are(file: str, command: str) -> None:
    assert "$" not in command
    program, verb, *arguments = shlex.split(command)
    assert (Path(program).name, verb) == ("flwr-gossip", "supernode")
    group = typer.main.get_command(app)
    context = group.commands[verb].make_context(verb, arguments)  # type: ignore[attr-defined]
    assert context.params["insecure"] is False
    supernode = _parse_args_run_supernode().parse_args(context.params["flower_options"])
    assert supernode.root_certificates and "partition-id=" in supernode.node_config


def test_superlinks_are_started_with_options_that_there_are() -> None:
    service = COMPOSE["services"]["superlink"]
    unit = (HERE / "systemd" / "flower-superlink.service").read_text().replace("\\\n", " ")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    for command in (service["entrypoint"] + service["command"], shlex.split(start)):
        assert Path(command[0]).name == "flower-superlink"
        options = _parse_args_run_superlink().parse_args(command[1:])
        assert options.ssl_certfile and options.ssl_keyfile and options.ssl_ca_certfile


@pytest.mark.parametrize("name", ["superlink", *HOSPITALS])
def test_a_container_gets_its_own_key_and_no_other(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["secrets"] == ["ca.pem", f"{name}.pem", f"{name}.key"]
    assert {COMPOSE["secrets"][secret]["file"] for secret in service["secrets"]} == {
        f"certificates/{secret}" for secret in service["secrets"]
    }
    assert all(
        ":/" in volume and "certificates" not in volume for volume in service.get("volumes", [])
    )


def test_no_key_gets_into_an_image_or_into_git() -> None:
    root = HERE.parents[1]
    ignored = (root / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    wanted = {line[1:] for line in rules if line.startswith("!")}
    assert "examples" not in wanted and all((root / name).exists() for name in wanted)
    assert "examples/multi_machine/certificates/" in (root / ".gitignore").read_text().splitlines()
