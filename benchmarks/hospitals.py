"""Eight hospitals: one drops off the network for six minutes, one is twenty times slower.

The case of a consortium whose runs ended after 15 and 17 hours when one site's VPN dropped for six
minutes (MediSwarm #346), or when a slow site ran into a timeout (#339). Gossip on a ring of eight
machines, each a peer process behind a network line of its own. Time is scaled: a minute is
``--minute`` seconds, a round of a usual site 6 seconds, of the slow one two minutes; a peer that is
silent for a quarter of the outage counts as gone. Printed is what the result says of it, and
whether its numbers are those of the dense reference with the same rows missing (float64).

    python benchmarks/hospitals.py [--minute S] [--rounds N]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from fault_stage import Fault, difference, initial, replay, staged
from rich.console import Console
from rich.table import Table

from flwr_gossip.strategies import Gossip

SITES, CUT_OFF, SLOW = 8, 5, 2
ROUND_MINUTES, SLOWER, OUTAGE_MINUTES = 0.1, 20, 6


def main() -> None:
    """Run it and print one table; exit status 1 when it went another way than it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minute", type=float, default=0.5, help="seconds")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--quick", action="store_true", help="8 rounds")
    options = parser.parse_args()
    minute, rounds = options.minute, 8 if options.quick else options.rounds
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    usual, outage = ROUND_MINUTES * minute, OUTAGE_MINUTES * minute
    faults = [
        Fault(node, round, "sleep", usual * (SLOWER if node == SLOW else 1))
        for node in range(SITES)
        for round in range(1, rounds + 1)
    ]
    drop = rounds // 3
    faults.append(Fault(CUT_OFF, drop, "mute", outage))
    strategy = Gossip(
        "ring",
        rounds_per_message=rounds // 4,
        evaluate_every=rounds,
        fraction_evaluate=0.0,
        min_available_nodes=SITES,
        peer_timeout=outage / 4,
    )
    with staged(SITES, faults) as (_, grid):
        began = time.monotonic()
        result = strategy.start(grid, initial(), rounds, timeout=600.0)
        seconds = time.monotonic() - began
    off = difference(result, replay(result, rounds))
    missed = sorted({loss.round for loss in result.losses})
    named = {loss.holder for loss in result.losses}
    taken_back = bool(missed) and max(missed) < result.served_round
    table = Table("", "", title="Eight hospitals in a ring", show_header=False)
    for name, value in {
        "rounds": f"{rounds}, the result is of round {result.served_round}",
        "time": f"{seconds:.1f} s, of which the slow site trains {rounds * usual * SLOWER:.1f} s",
        "outage": f"site {CUT_OFF} from round {drop}, {outage:.1f} s",
        "named as missing": f"{sorted(named)}",
        "its models missing": f"{len(result.losses)}, of rounds {missed}",
        "taken back": f"yes, from round {max(missed) + 1} on" if taken_back else "no",
        "failures": f"{result.failures}",
        "largest difference to the reference": f"{off:.1e}",
    }.items():
        table.add_row(name, value)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    sys.exit(named != {CUT_OFF} or not taken_back or off > 1e-9 or result.served_round != rounds)


if __name__ == "__main__":
    main()
