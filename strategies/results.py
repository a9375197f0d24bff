"""What a decentralized training returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from flwr.serverapp.strategy import Result

from ..server_free.orders import Loss
from ..server_free.plans import Plan

__all__ = ["GossipResult", "TrafficTotal"]


@dataclass(slots=True)
class TrafficTotal:
    """Payload bytes of a training.

    ``bytes_between_clients`` is what clients fetched from other nodes;
    ``bytes_through_server`` the content of all Flower messages, both ways.
    """

    bytes_between_clients: int = 0
    bytes_through_server: int = 0


@dataclass(repr=False)
class GossipResult(Result):
    """Flower's ``Result`` with what only a decentralized training has.

    Attributes
    ----------
    arrays : ArrayRecord
        The mean of the mixed models of :attr:`served_slots` after :attr:`served_round`.
    served_slots : tuple of int
        The slots whose models that mean is of.
    served_round : int
        The round after which they were fetched: the last one, unless no node could give its
        model then; 0 stands for the initial arrays.
    consensus_distance : dict of int to float
        Round -> estimate of (1/k) sum ||z_i - mean z||^2 from count-sketches, relative error
        about 4.4 %.
    losses : list of Loss
        Every model that did not arrive: who missed what, why, and what was used instead.
    failures : dict of int to list of str
        Node -> what went wrong there.
    traffic : TrafficTotal
        Bytes between clients and through the server.
    plan : Plan, optional
        Schedule, topology and live lists: enough to recompute the run.
    """

    served_slots: tuple[int, ...] = ()
    served_round: int = 0
    consensus_distance: dict[int, float] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    failures: dict[int, list[str]] = field(default_factory=dict)
    traffic: TrafficTotal = field(default_factory=TrafficTotal)
    plan: Plan | None = None

    def __repr__(self) -> str:
        """Return Flower's representation and ours below it."""
        distances = ", ".join(f"{t}: {d:.4e}" for t, d in self.consensus_distance.items())
        lines = [
            super().__repr__(),
            f"Consensus distance: {{{distances}}}",
            f"Between clients: {self.traffic.bytes_between_clients / 1e6:.2f} MB, "
            f"through the server: {self.traffic.bytes_through_server / 1e6:.2f} MB",
        ]
        if self.losses:
            lines.append(f"Models that did not arrive: {len(self.losses)}; see result.losses")
        if self.failures:
            lines.append(f"Nodes that failed: {sorted(self.failures)}; see result.failures")
        return "\n".join(lines) + "\n"
