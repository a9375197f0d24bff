"""What ``flwr-gossip topology SPEC`` shows of one topology: facts, rows, and W as blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..server_free.errors import PlanError
from ..server_free.theory.neighbors import effective_neighbors, noise_variance
from ..server_free.theory.spectra import consensus_rate, spectral_gap
from ..server_free.topologies import Topology

__all__ = ["blocks", "facts", "print_topology", "print_whole", "table"]

T = TypeVar("T")

MOST_BLOCKS = 40
"""Nodes up to which W is drawn; two characters an entry."""

_ANY_WIDTH = 1000
_MOST_LINES = 24
_FEW_ROWS = 6
_MOST_SENDERS = 6
_MOST_PHASES = 12
_SHADES = "░▒▓█"
_PLAIN_SHADES = ".:*#"


def facts(topology: Topology, gammas: Sequence[float]) -> dict[str, Any]:
    """Return what is known of the topology, as JSON can hold it.

    ``rows`` has the rows of W that the terminal shows: round -> node -> sender -> weight.
    """
    rounds = range(1, min(topology.period or 1, _MOST_PHASES) + 1)
    mean = _known(lambda: noise_variance(topology, "mean"))
    worst = _known(lambda: noise_variance(topology, "worst"))
    return {
        "spec": topology.spec,
        "num_nodes": topology.num_nodes,
        "max_degree": topology.max_degree,
        "period": topology.period,
        "symmetric": topology.symmetric,
        "spectral_gap": _known(lambda: spectral_gap(topology)),
        "consensus_rate": _known(lambda: consensus_rate(topology)),
        "effective_neighbors": [
            {
                "gamma": gamma,
                "mean": None if mean is None else effective_neighbors(mean, gamma),
                "worst": None if worst is None else effective_neighbors(worst, gamma),
            }
            for gamma in gammas
        ],
        "rows": {
            str(round): {
                str(node): {str(j): w for j, w in topology.weights(node, round).items()}
                for node in range(_rows_shown(topology))
            }
            for round in rounds
        },
    }


def _known(compute: Callable[[], T]) -> T | None:
    """Return what is computed, None where theory has no answer for this topology or size."""
    try:
        return compute()
    except PlanError:
        return None


def print_topology(console: Console, topology: Topology, known: dict[str, Any]) -> None:
    """Print the facts, the first rows and, for few nodes, W itself."""
    nodes = f"{topology.num_nodes} node{'s' * (topology.num_nodes != 1)}"
    console.print(Text(f"{topology.spec}, {nodes}", style="bold"))
    print_whole(console, _summary(topology, known))
    console.print()
    print_whole(console, _neighbor_table(known))
    console.print()
    console.print(_row_table(topology, known))
    console.print()
    if topology.num_nodes > MOST_BLOCKS:
        console.print(
            f"W has {topology.num_nodes} rows; it is drawn here up to {MOST_BLOCKS}, and in a "
            "picture with --plot FILE.png."
        )
        return
    console.print(_pictures(console, topology, len(known["rows"])))


def print_whole(console: Console, shown: Table) -> None:
    """Print a table in its full width: a narrower terminal breaks its lines and cuts nothing."""
    shown.width = Measurement.get(console, console.options.update_width(_ANY_WIDTH), shown).maximum
    console.print(shown, crop=False)


def table(*names: str) -> Table:
    """Return an empty table in the command's style; the first column is to the left."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, name in enumerate(names):
        made.add_column(name, justify="right" if place else "left", no_wrap=True)
    return made


def blocks(topology: Topology, round: int, shades: str = _SHADES) -> str:
    """Return W of the round as text: a line a receiver, two characters a sender.

    Blank is no weight; the darker, the larger against the largest weight of the round.
    """
    matrix = topology.matrix(round)
    level = np.ceil(matrix / matrix.max() * len(shades)).astype(int)
    return "\n".join("".join(f" {shades}"[entry] * 2 for entry in row) for row in level)


def _summary(topology: Topology, known: dict[str, Any]) -> Table:
    rounds = "a fresh W each round"
    if topology.period is not None:
        rounds = f"{topology.period} rounds" if topology.period > 1 else "the same W each round"
    shown = Table.grid(padding=(0, 2, 0, 2))
    shown.add_row("neighbours a round, at most", str(topology.max_degree))
    shown.add_row("period", rounds)
    shown.add_row("W symmetric", "yes" if topology.symmetric else "no")
    for name in ("spectral_gap", "consensus_rate"):
        value = "not known" if known[name] is None else f"{known[name]:.4g}"
        shown.add_row(name.replace("_", " "), value)
    return shown


def _neighbor_table(known: dict[str, Any]) -> Table:
    shown = table("effective neighbours, gamma")
    for entry in known["effective_neighbors"]:
        shown.add_column(f"{entry['gamma']:g}", justify="right", no_wrap=True)
    for mode, name in (("mean", "mean over the nodes"), ("worst", "worst node")):
        found = [entry[mode] for entry in known["effective_neighbors"]]
        counts = ["not known" if count is None else f"{count:.3f}" for count in found]
        shown.add_row(f"  {name}", *counts)
    return shown


def _rows_shown(topology: Topology) -> int:
    """Return how many nodes' rows are shown: all where they fit into a screen, else the first."""
    lines = topology.num_nodes * min(topology.period or 1, _MOST_PHASES)
    return topology.num_nodes if lines <= _MOST_LINES else min(topology.num_nodes, _FEW_ROWS)


def _row_table(topology: Topology, known: dict[str, Any]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("node", "round", "receives from (weight)"):
        shown.add_column(name, justify="left", no_wrap=name != "receives from (weight)")
    static = topology.period == 1
    for node in range(_rows_shown(topology)):
        for place, (round, rows) in enumerate(known["rows"].items()):
            name = str(node) if place == 0 else ""
            shown.add_row(name, "each" if static else round, _row_text(rows[str(node)]))
    hidden = topology.num_nodes - _rows_shown(topology)
    if hidden:
        shown.add_row("...", "", f"{hidden} more nodes")
    return shown


def _row_text(row: dict[str, float]) -> str:
    first = [f"{sender} ({weight:.3g})" for sender, weight in list(row.items())[:_MOST_SENDERS]]
    hidden = len(row) - len(first)
    return ", ".join(first) + (f" and {hidden} more" if hidden else "")


def _pictures(console: Console, topology: Topology, shown: int) -> Table:
    """Return W of the shown rounds, as many side by side as the terminal has room for."""
    shades = _SHADES if "utf" in console.encoding.lower() else _PLAIN_SHADES
    across = max(1, (console.width + 3) // (2 * max(topology.num_nodes, 6) + 3))
    grid = Table.grid(padding=(1, 3, 0, 0), pad_edge=False)
    pictures = []
    for round in range(1, shown + 1):
        name = "W, each round" if topology.period == 1 else f"W, round {round}"
        picture = Text(f"{name}\n", style="bold", no_wrap=True, overflow="crop")
        picture.append(blocks(topology, round, shades), style="not bold blue")
        pictures.append(picture)
    for start in range(0, shown, across):
        grid.add_row(*pictures[start : start + across])
    return grid
