"""What ``flwr-gossip topology --nodes N`` shows: the candidates in order, and which one to take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..server_free.theory.advice import Recommendation
from ..server_free.theory.predictions import Candidate
from .topology_view import print_whole, table

__all__ = ["advice_facts", "print_advice", "size_text"]

_HEADERS = ("strategy", "topology", "active", "degree", "n_W", "lr", "rounds")


def advice_facts(found: Recommendation, top: int | None) -> dict[str, Any]:
    """Return the recommendation as JSON can hold it, with the first ``top`` candidates or all."""
    listed = [
        {**asdict(one), "total_models": one.total_models, "code": one.code}
        for one in found.candidates[:top]
    ]
    return {
        "num_nodes": found.num_nodes,
        "gamma": found.gamma,
        "heterogeneity": found.heterogeneity,
        "target": found.target,
        "best": listed[0],
        "why": found.why,
        "notes": list(found.notes),
        "candidates": listed,
        "excluded": [asdict(one) for one in found.excluded],
    }


def print_advice(console: Console, found: Recommendation, top: int) -> None:
    """Print the table, the recommendation and why, and the line to paste."""
    nodes = f"{found.num_nodes} node{'s' * (found.num_nodes != 1)}"
    console.print(
        f"{nodes}, gamma {found.gamma:.4g}, heterogeneity {found.heterogeneity:g}: the candidates, "
        "best first",
        style="bold",
        highlight=False,
    )
    console.print()
    in_bytes = found.best.bytes_per_round is not None
    unit = "bytes" if in_bytes else "models"
    shown = table(*_HEADERS, f"{unit}\na node", f"{unit}\na round", f"{unit}\nin all")
    shown.columns[1].justify = "left"
    for one in found.candidates[:top]:
        shown.add_row(*map(Text, _cells(one)))
    print_whole(console, shown)
    hidden = len(found.candidates) - top
    if hidden > 0:
        console.print(f"... and {hidden} more: --top {len(found.candidates)}", highlight=False)
    console.print(
        "n_W: effective neighbours. lr: best learning rate, against training alone. Received "
        "by a node or by all together in a round, and in all rounds.\n",
        style="dim",
        highlight=False,
    )
    console.print(Text(found.why))
    console.print()
    console.print(Text(f"    strategy = {found.best.code}", style="bold green"), soft_wrap=True)
    console.print()
    listed = Table.grid(padding=(0, 1, 0, 0))
    for note in _notes(found):
        listed.add_row("-", Text(note))
    console.print(listed)


def size_text(count: float) -> str:
    """Return bytes in a unit that keeps the number short, such as ``"1.5 MB"``."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    place = 0
    while count >= 999.5 and place < len(units) - 1:
        count /= 1000
        place += 1
    return f"{count:.3g} {units[place]}"


def _cells(one: Candidate) -> list[str]:
    head = [
        one.strategy,
        one.spec,
        str(one.num_active),
        str(one.degree),
        f"{one.effective_neighbors:.1f}",
        f"x{one.learning_rate_multiplier:.1f}",
        "never" if one.rounds is None else f"{one.rounds:,}",
    ]
    if one.bytes_received is None or one.bytes_per_round is None:
        total = "-" if one.total_models is None else f"{one.total_models:,.0f}"
        return [*head, f"{one.models_received:,}", f"{one.models_per_round:,.0f}", total]
    spent = "-" if one.rounds is None else size_text(one.rounds * one.bytes_per_round)
    return [*head, size_text(one.bytes_received), size_text(one.bytes_per_round), spent]


def _notes(found: Recommendation) -> list[str]:
    """Return the notes, and how many candidates the budget rules out."""
    over = sum(not one.is_skipped for one in found.excluded)
    told = list(found.notes)
    if over:
        told.append(f"{over} candidates are above the limits; --json lists them.")
    return told
