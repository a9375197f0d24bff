"""What importing flwr-gossip costs beyond importing Flower: CPU seconds, medians of processes.

Each process imports what every Flower app imports, then one thing of flwr-gossip; both times are
of that process. Modules are compiled by a first run that is not counted.

    python benchmarks/import_time.py [--quick] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from statistics import median

from rich.console import Console
from rich.table import Table

FLOWER = "import flwr.app, flwr.clientapp, flwr.serverapp, flwr.serverapp.strategy"
OURS = (
    "import flwr_gossip",
    "from flwr_gossip.clients import gossip_mod",
    "from flwr_gossip.strategies import Gossip, Teleportation",
)
MEASURE = f"""
import json, sys, time
began = time.process_time()
{FLOWER}
between, known = time.process_time(), len(sys.modules)
{{ours}}
ended = time.process_time()
print(json.dumps([between - began, ended - between, len(sys.modules) - known]))
"""


def measured(ours: str) -> tuple[float, float, int]:
    """Return CPU seconds of Flower's imports and of ours, and how many modules ours are."""
    code = MEASURE.format(ours=ours)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    flower_s, ours_s, modules = json.loads(done.stdout)
    return flower_s, ours_s, modules


def main() -> None:
    """Measure all imports in turn, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="few runs")
    parser.add_argument("--runs", type=int, default=0, help="processes of each import")
    given = parser.parse_args()
    runs = given.runs or (3 if given.quick else 15)
    for ours in OURS:
        measured(ours)
    found = [[measured(ours) for ours in OURS] for _ in range(runs)]
    table = Table(title=f"Imports: CPU seconds, medians of {runs}, load {os.getloadavg()[0]:.1f}")
    for heading in ("import", "Flower", "beyond Flower", "ratio", "modules"):
        table.add_column(heading, justify="left" if heading == "import" else "right")
    for ours, column in zip(OURS, zip(*found, strict=True), strict=True):
        flower_s, ours_s = (median(one[place] for one in column) for place in (0, 1))
        cells = f"{flower_s:.3f}", f"{ours_s:.3f}", f"{ours_s / flower_s:.2f}", str(column[0][2])
        table.add_row(ours, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
