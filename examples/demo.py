"""make demo: train on 16 nodes without a server and compare, in less than three minutes.

Runs examples/quickstart in Flower's simulation with four strategies, one after another, on the
same data and for the same number of local updates: Teleportation, Gossip on a ring, every node
alone, and Flower's FedAvg.

The learning rate is the same for all because the best one is: of .1 .2 .3 .4 .6 .8 (5 seeds, in
plain torch), 0.6 has the best mean accuracy on the common test set for Teleportation and Gossip
and is within 0.003 of the best, 0.8, for the other two.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from demo_report import Progress, console, table
from local_flower import LocalError, Value, run_app, simulation_superlink

APP = Path(__file__).parent / "quickstart"
NUM_NODES = 16
NUM_ACTIVE = 4
LOCAL_UPDATES = 960
LIMIT_S = 600.0

METHODS = {
    "teleportation": f"Teleportation, {NUM_ACTIVE} active",
    "gossip": "Gossip on a ring",
    "alone": "every node alone",
    "fedavg": "FedAvg",
}

LESSONS = """\
What to see: with Teleportation and Gossip no model goes through the server, and Teleportation, \
which has few nodes at work in each of many rounds, brings every node to about FedAvg's accuracy \
with the same number of local updates.
What not to see in it: that Gossip does not work, since on a ring its nodes only need more rounds \
to agree; or that training alone does, since it is good on the few digits a node has itself and \
poor on the common test set, which has all ten."""


def main() -> None:
    """Run the comparison and print its table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    began = time.monotonic()
    output = console()
    output.print(
        f"{NUM_NODES} nodes with a few of the ten digits each, {LOCAL_UPDATES} local updates for "
        "each method, in Flower's simulation (its start takes half a minute).",
        highlight=False,
    )
    config: dict[str, Value] = {
        "strategy": ",".join(METHODS),
        "num-nodes": NUM_NODES,
        "num-active": NUM_ACTIVE,
        "local-updates": LOCAL_UPDATES,
    }
    with simulation_superlink(NUM_NODES) as link:
        file = link.home / "result.json"
        config["result-file"] = str(file)
        run_app(APP, link, config, timeout_s=LIMIT_S, on_line=Progress(output))
        summaries = json.loads(file.read_text())
    title = f"{NUM_NODES} nodes, Dirichlet(0.1), {time.monotonic() - began:.0f} s"
    output.print(table(title, METHODS, summaries))
    output.print(LESSONS, highlight=False)


if __name__ == "__main__":
    try:
        main()
    except LocalError as error:
        sys.exit(f"The demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
