"""make deploy-demo: the app of ``make demo``, unchanged, on real machines' programs on loopback.

Starts a SuperLink and four SuperNodes, each with a peer that serves its models to the others, runs
examples/quickstart there, and stops everything it started. On separate machines the same commands
are used, with addresses in place of loopback and TLS in place of ``--insecure``; see the README.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from demo_report import Progress, console, say, table
from local_flower import (
    LocalError,
    RunOutput,
    SuperLink,
    Value,
    run_app,
    superlink,
    supernodes,
)

APP = Path(__file__).parent / "quickstart"
NUM_NODES = 4
NUM_ACTIVE = 2
LOCAL_UPDATES = 200
LIMIT_S = 600.0

METHODS = {"teleportation": f"Teleportation, {NUM_ACTIVE} active"}


def main() -> None:
    """Start the programs, run the app, show the result."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    output = console()
    with superlink() as link:
        say(output, f"SuperLink at {link.address}, logs in {link.home}")
        with supernodes(link, NUM_NODES, peers=True) as nodes:
            for node in nodes:
                say(output, f"{node.name}: process {node.process.pid}")
            run, summaries = train(link, Progress(output))
    output.print(table(f"{NUM_NODES} SuperNodes, {run.seconds:.0f} s", METHODS, summaries))
    say(output, "Everything that was started has been stopped.")


def train(link: SuperLink, progress: Progress) -> tuple[RunOutput, list[dict[str, Any]]]:
    """Run the app and return what it wrote down."""
    file = link.home / "result.json"
    config: dict[str, Value] = {
        "strategy": ",".join(METHODS),
        "num-nodes": NUM_NODES,
        "num-active": NUM_ACTIVE,
        "local-updates": LOCAL_UPDATES,
        "evaluations": 2,
        "result-file": str(file),
    }
    run = run_app(APP, link, config, timeout_s=LIMIT_S, on_line=progress)
    return run, json.loads(file.read_text())


if __name__ == "__main__":
    try:
        main()
    except LocalError as error:
        sys.exit(f"The demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
