"""Real programs on machines of their own: network namespaces, mutual TLS, and one that goes away.

One hospital is taken off the network after the first segment and put back once the run has missed
it, as in ``examples/multi_machine/namespaces.py``, whose parts these are.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

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


@needs_machines
def test_a_link_has_the_delay_and_the_losses_that_were_asked_for() -> None:
    with machines.machines(["a", "b"], machines.Link("50mbit", 0.005, 0.2)) as network:
        one, other = network.all
        with one.inside():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with other.inside():
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender, receiver:
            receiver.bind((other.address, 5000))
            receiver.settimeout(0.25)
            delays = list(arriving(400, sender, receiver, (other.address, 5000)))
    assert min(delays) >= 0.010
    assert 0.45 < len(delays) / 400 < 0.83  # 0.8 ** 2


def arriving(
    number: int, sender: socket.socket, receiver: socket.socket, address: tuple[str, int]
) -> Iterator[float]:
    """Yield the seconds under way of each of so many packets that arrives."""
    for _ in range(0, number, 50):
        for _ in range(50):
            sender.sendto(struct.pack("d", time.monotonic()), address)
        with suppress(TimeoutError):
            for _ in range(50):
                (sent,) = struct.unpack("d", receiver.recv(8))
                yield time.monotonic() - sent


@needs_machines
def test_a_line_that_loses_packets_carries_tcp_whole() -> None:
    sent = bytes(range(256)) * 4000
    with machines.machines(["a", "b"], machines.Link("50mbit", 0.001, 0.01)) as network:
        one, other = network.all
        with other.inside():
            listening = socket.create_server((other.address, 5001))
        with listening, ThreadPoolExecutor(1) as pool:
            listening.settimeout(30.0)
            received = pool.submit(read_all, listening)
            with one.inside(), socket.create_connection((other.address, 5001), 30.0) as line:
                line.sendall(sent)
            assert received.result(60.0) == sent


def read_all(listening: socket.socket) -> bytes:
    """Return what one connection brings."""
    line, _ = listening.accept()
    with line:
        line.settimeout(30.0)
        return b"".join(iter(lambda: line.recv(1 << 16), b""))


@pytest.fixture(scope="module")
def run() -> Iterator[tuple[RunOutput, namespaces.Outage]]:
    with machines.machines(["superlink", *namespaces.HOSPITALS], namespaces.LINK) as network:
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
    assert "All 6 pairs of nodes that were probed can talk." in text, text
    gone = text.index("models of node 2 are missing")
    back = text.index("node 2 (partition-id 2) is back.")
    last = text.rindex(f"/{namespaces.ROUNDS}]")
    assert gone < back < last
    rounds = [int(found) for found in re.findall(r"\[ROUND (\d+)/", text)]
    assert rounds == sorted(set(rounds)) and rounds[-1] == namespaces.ROUNDS
