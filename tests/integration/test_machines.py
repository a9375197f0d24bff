"""Real programs on machines of their own: network namespaces, mutual TLS, and one that goes away.

One hospital is taken off the network after the first segment and put back once the run has missed
it, as in ``examples/multi_machine/namespaces.py``, whose parts these are.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

import machines
import namespaces
from local_flower import RunOutput

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

REASON = machines.why_not()
needs_machines = pytest.mark.skipif(REASON is not None, reason=f"no network namespaces: {REASON}")


def made() -> set[str]:
    """Return the namespaces of this machine that are ours."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("fg")}


@needs_machines
def test_machines_come_with_addresses_and_are_gone_afterwards() -> None:
    before = made()
    with machines.machines(["a", "b"]) as network:
        one, other = network.all
        assert len(made() - before) == 3
        with one.inside():
            assert reaches(other)
            network.unplug(other)
            assert not reaches(other)
            network.plug_in(other)
            assert reaches(other)
            network.cut(one, other)
            assert not reaches(other)
            network.mend(one, other)
            assert reaches(other)
    assert made() == before


def reaches(place: machines.Machine) -> bool:
    """Return whether a machine answers from here: a refused port is an answer."""
    probe = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], 9), timeout=2)\n"
        "except ConnectionRefusedError: pass\n"
    )
    command = ["python3", "-c", probe, place.address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def run() -> Iterator[tuple[RunOutput, namespaces.Outage]]:
    with machines.machines(["superlink", *namespaces.HOSPITALS], namespaces.RATE) as network:
        outage = namespaces.Outage(network, network.all[-1])
        with namespaces.deployed(network) as link:
            yield namespaces.train(link, network, outage.watch), outage


@needs_machines
def test_a_hospital_that_goes_away_is_missed_and_taken_back(
    run: tuple[RunOutput, namespaces.Outage],
) -> None:
    output, outage = run
    assert output.completed
    assert [what.split(" is ")[1] for what in outage.happened] == [
        "off the network",
        "back on the network",
    ]
    text = output.text
    assert "All 6 pairs of nodes that were probed can talk." in text
    gone = text.index("models of node 2 are missing")
    back = text.index("node 2 (partition-id 2) is back.")
    last = text.rindex(f"/{namespaces.ROUNDS}]")
    assert gone < back < last
    rounds = [int(found) for found in re.findall(r"\[ROUND (\d+)/", text)]
    assert rounds == sorted(set(rounds)) and rounds[-1] == namespaces.ROUNDS
