"""Going on with an earlier run: its nodes, and what it has in common with this one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from logging import INFO
from typing import Any

from flwr.serverapp import Grid
from flwr.supercore import log

from ..server_free.orders import Introduction
from ..server_free.plans import Plan
from .attendance import Attendance
from .checkpoints import Checkpoint, Saved
from .pairs import Pairs
from .roster import Member, reassemble
from .settings import Settings

__all__ = ["described", "return_of"]


def described(strategy: str, settings: Settings, plan: Plan) -> dict[str, Any]:
    """Return what makes a run the one it is, as JSON: with anything else its numbers differ."""
    rows = plan.topology.payload
    return {
        "strategy": strategy,
        "topology": plan.topology.spec,
        "rows of the topology": hashlib.sha256(rows).hexdigest() if rows else "",
        "num_active": plan.num_slots,
        "seed": settings.seed,
        "codec": settings.codec,
        "travelling": list(settings.travelling),
    }


def return_of(grid: Grid, checkpoint: Checkpoint, saved: Saved, settings: Settings) -> Attendance:
    """Wait for the nodes that were live when the checkpoint was written, and return who is there.

    Raises ``RosterError`` if nobody is, ``CheckpointError`` if they were told another n.
    """
    log(INFO, "Going on after round %d of the run in %s", saved.last, checkpoint.folder)
    everyone = range(len(saved.roster))
    live = saved.plan.live_in(saved.last + 1)
    found = reassemble(
        grid, saved.roster, everyone if live is None else live, settings.join_timeout
    )
    checkpoint.check_roster(saved, found)
    here = next(iter(found.values())).intro
    members = [found.get(node) or _absent(node, saved.roster[node], here) for node in everyone]
    pairs = Pairs(settings.unreachable)
    attendance = Attendance(grid, members, pairs, failures=saved.result.failures)
    for node in sorted(set(everyone) - found.keys()):
        attendance.lose(node, f"it was not there when the run went on after round {saved.last}")
    return attendance


def _absent(node: int, before: Introduction, here: Introduction) -> Member:
    """Return a member for a node that is not there, in the runtime of one that is."""
    intro = replace(before, host=here.host, process=here.process, simulated=here.simulated)
    return Member(-1 - node, intro)
