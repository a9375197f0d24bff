"""What a run on the simulated clock costs: seconds and bytes, of each round and of each node."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..plans import VACANT
from .steps import Step

__all__ = ["NodeUsage", "Usage", "clocked"]


@dataclass(slots=True)
class NodeUsage:
    """What one node did: models trained, seconds of training, last finish, bytes both ways."""

    rounds: int = 0
    busy_s: float = 0.0
    last_s: float = 0.0
    sent: int = 0
    received: int = 0


@dataclass(slots=True)
class Usage:
    """Adds up rounds by node; only nodes that took part have an entry."""

    nodes: dict[int, NodeUsage] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """Take in a round."""
        for slot, node in enumerate(step.active):
            if node != VACANT:
                usage = self._of(node)
                usage.rounds += 1
                usage.busy_s += float(step.finish[slot] - step.start[slot])
                usage.last_s = max(usage.last_s, float(step.finish[slot]))
        for node, size in step.sent.items():
            self._of(node).sent += size
        for node, size in step.received.items():
            self._of(node).received += size

    def _of(self, node: int) -> NodeUsage:
        return self.nodes.setdefault(int(node), NodeUsage())


def clocked(step: Step) -> dict[str, float]:
    """Return what a record says of a round on the clock."""
    return {
        "seconds": step.seconds,
        "median_seconds": step.median_s,
        "bytes": step.bytes,
        "missing": len(step.missing),
        "offline": len(step.offline),
    }
