"""What a decentralized training returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from flwr.app import MetricRecord
from flwr.serverapp.strategy import Result

from ..server_free.orders import Loss
from ..server_free.plans import Plan
from ..server_free.reachability import Unreachable

__all__ = ["GossipResult", "SearchResult", "TrafficTotal", "Trial"]


@dataclass(slots=True)
class TrafficTotal:
    """Payload bytes of a training.

    ``bytes_between_clients`` is what clients fetched from other nodes;
    ``bytes_through_server`` the content of all Flower messages, both ways; ``bytes_relayed`` the
    part of ``bytes_between_clients`` that a third node's peer has handed on.
    """

    bytes_between_clients: int = 0
    bytes_through_server: int = 0
    bytes_relayed: int = 0

    def __add__(self, other: TrafficTotal) -> TrafficTotal:
        """Return the sum of both."""
        return TrafficTotal(
            self.bytes_between_clients + other.bytes_between_clients,
            self.bytes_through_server + other.bytes_through_server,
            self.bytes_relayed + other.bytes_relayed,
        )


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
    unreachable : list of Unreachable
        Every pair of nodes whose peers cannot connect: reader, holder, address, why, and the node
        whose peer relays between them.
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
    unreachable: list[Unreachable] = field(default_factory=list)
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
        if self.unreachable:
            count = len(self.unreachable)
            lines.append(f"Pairs of nodes that cannot connect: {count}; see result.unreachable")
        if self.failures:
            lines.append(f"Nodes that failed: {sorted(self.failures)}; see result.failures")
        return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Trial:
    """One candidate of a search: how it trained, and the value by which it was judged.

    ``value`` is the validation metric after the last round, NaN when no node could evaluate the
    candidate: such a one is never chosen while another has a value.
    """

    num_active: int
    learning_rate: float | None = None
    value: float = math.nan
    train_metrics: dict[int, MetricRecord] = field(default_factory=dict)
    evaluate_metrics: dict[int, MetricRecord] = field(default_factory=dict)


@dataclass(repr=False)
class SearchResult(GossipResult):
    """The result of the best candidate, and all that were tried.

    Attributes
    ----------
    num_active : int
        The number of active nodes that was chosen.
    learning_rate : float, optional
        The learning rate that was chosen, where the search had a grid.
    metric : str
        What decided.
    trials : tuple of Trial
        Every candidate, in the order of the passes.
    plan : Plan, optional
        That of the pass in which the best candidate trained; it held :attr:`slots` of it.
    slots : range
        The candidate's slots in that plan.
    """

    num_active: int = 0
    learning_rate: float | None = None
    metric: str = ""
    trials: tuple[Trial, ...] = ()
    slots: range = range(0)

    def __repr__(self) -> str:
        """Return the candidates' values above the representation of the best one's result."""
        values = ", ".join(_told(trial) for trial in self.trials)
        return f"Active nodes: {self.num_active}, by {self.metric}: {values}\n{super().__repr__()}"


def _told(trial: Trial) -> str:
    rate = "" if trial.learning_rate is None else f" at lr {trial.learning_rate:g}"
    return f"k={trial.num_active}{rate}: {trial.value:.4g}"
