"""The README's deployment on one machine: four network namespaces in place of four machines.

``sudo python examples/multi_machine/namespaces.py`` makes a SuperLink and three hospitals, each on
a machine of its own with its own address and a link of 50 Mbit/s that takes 10 ms and loses one
packet in 200, issues their certificates, and trains examples/quickstart among them with mutual TLS.
Half-way it takes the third hospital off the network and puts it back later: the run goes on without
it, says so, and takes it back. All that was started or made is gone at the end, also after Ctrl-C.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from local_flower import (  # noqa: E402
    Certificates,
    LocalError,
    Program,
    RunOutput,
    SuperLink,
    Value,
    run_app,
    superlink,
    supernode,
)
from machines import Link, Machine, Machines, NoNamespaces, machines  # noqa: E402

APP = HERE.parent / "quickstart"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
LINK = Link("50mbit", delay_s=0.010, loss=0.005)
PEER_PORT = 9400
OPENSSL_S = 30.0
LIMIT_S = 800.0
ROUNDS = 36
EVALUATIONS = 6


@dataclass(slots=True)
class Outage:
    """Takes a machine off the network when it is time, and puts it back when it was missed."""

    network: Machines
    victim: Machine
    after: str = "[ROUND 2/"
    missed: str = "node 2 (partition-id 2) failed"
    happened: list[str] = field(default_factory=list)

    def watch(self, line: str) -> None:
        """Act on a line of the ServerApp's output."""
        if not self.happened and self.after in line:
            self.network.unplug(self.victim)
            self._say(f"{self.victim.name} is off the network")
        elif len(self.happened) == 1 and self.missed in line:
            self.network.plug_in(self.victim)
            self._say(f"{self.victim.name} is back on the network")

    def _say(self, what: str) -> None:
        self.happened.append(what)
        print(f"*** {what}", flush=True)


def main() -> None:
    """Make the machines, train, take everything away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is taken away
    with machines(["superlink", *HOSPITALS], LINK) as network:
        for machine in network.all:
            print(f"{machine.name}: {machine.address}, namespace {machine.namespace}", flush=True)
        outage = Outage(network, network.all[-1])

        def show(line: str) -> None:
            print(line, flush=True)
            outage.watch(line)

        with deployed(network) as link:
            run = train(link, network, show)
    print(f"The run ended as {run.status} after {run.seconds:.0f} s.")


@contextmanager
def deployed(network: Machines) -> Iterator[SuperLink]:
    """Run a SuperLink on the first machine and a hospital on each of the others."""
    first, *others = network.all
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flwr-machines-")))
        files = issue(folder, first, "127.0.0.1")
        with first.inside():
            link = stack.enter_context(superlink(files, host="0.0.0.0"))
        port = link.address.rpartition(":")[2]
        link = replace(link, address=f"{first.address}:{port}")
        for index, place in enumerate(others):
            ours = issue(folder, place)
            with place.inside():
                stack.enter_context(hospital(link, place, ours, index, len(others)))
        yield link


def hospital(
    link: SuperLink, place: Machine, files: Certificates, index: int, number: int
) -> AbstractContextManager[Program]:
    """Run a SuperNode and its peer: ``flwr-gossip supernode``, as the README says."""
    options = [
        *("--listen", f"0.0.0.0:{PEER_PORT}", "--advertise", f"{place.address}:{PEER_PORT}"),
        *("--ssl-certfile", files.certfile, "--ssl-keyfile", files.keyfile),
        *("--ssl-ca-certfile", files.ca_certfile),
    ]
    config: dict[str, Value] = {"partition-id": index, "num-partitions": number}
    return supernode(link, config, name=place.name, peer=True, peer_options=options)


def issue(folder: Path, place: Machine, *further: str) -> Certificates:
    """Issue the certificate of a machine with the README's script."""
    command = [str(HERE / "certificates.sh"), str(folder), place.name, place.address, *further]
    subprocess.run(command, check=True, capture_output=True, timeout=OPENSSL_S)
    base = str(folder / place.name)
    return Certificates(f"{base}.pem", f"{base}.key", str(folder / "ca.pem"))


def train(link: SuperLink, network: Machines, on_line: Callable[[str], None]) -> RunOutput:
    """Let the first machine start the run and follow it."""
    config: dict[str, Value] = {
        "strategy": "gossip",
        "num-nodes": len(HOSPITALS),
        "local-updates": len(HOSPITALS) * ROUNDS,
        "evaluations": EVALUATIONS,
    }
    with network.all[0].inside():
        return run_app(APP, link, config, timeout_s=LIMIT_S, on_line=on_line)


if __name__ == "__main__":
    try:
        main()
    except NoNamespaces as error:
        sys.exit(f"There can be no machines here: {error}")
    except LocalError as error:
        sys.exit(f"The deployment failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
