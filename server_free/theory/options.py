"""What could be run on n nodes: strategies, topologies and numbers of active nodes; their cost.

Gossip is decentralized SGD over all n nodes (Lian et al. 2017, arXiv:1705.09056); Teleportation
has k of them active over a topology of k slots (Takezawa & Stich, ICLR 2025, arXiv:2501.15259).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt, log
from typing import Literal

from ..counts import check_count
from ..errors import PlanError
from ..topologies import Topology, from_spec

__all__ = [
    "LARGE",
    "Budget",
    "Excluded",
    "Option",
    "Strategy",
    "default_actives",
    "options",
    "usual_degree",
]

Strategy = Literal["Gossip", "Teleportation"]

LARGE = 600
"""From more nodes on, the default candidates are those with a spectrum in closed form."""

_GOSSIP = (
    "alone",
    "ring",
    "directed-ring",
    "chain",
    "star",
    "binary-tree",
    "two-cliques",
    "hypercube",
    "exponential",
    "one-peer-exponential",
    "one-peer-hypercube",
    "base-graph:1",
    "base-graph:2",
    "simple-base-graph:1",
    "random-regular:3",
    "random-regular:4",
    "small-world:4,0.1",
    "complete",
)
_TELEPORTATION = (
    "ring",
    "one-peer-exponential",
    "base-graph:1",
    "random-regular:4",
    "exponential",
    "complete",
)
_COMPARED = 20_000  # entries of W
_DRAWS = 4


@dataclass(frozen=True, slots=True)
class Option:
    """A strategy over a topology, with its cost; nothing is predicted yet.

    Parameters
    ----------
    strategy : "Gossip" or "Teleportation"
    topology : Topology
        Over the n nodes, or over the k slots.
    """

    strategy: Strategy
    topology: Topology

    @property
    def num_active(self) -> int:
        """Number of nodes that train in a round."""
        return self.topology.num_nodes

    @property
    def models_received(self) -> int:
        """The most models that an active node receives in a round.

        Gossip's own model is there already; a holder of Teleportation fetches that of its slot
        too, 1 + degree in all (it may be its own, when it was active the round before).
        """
        return self.topology.max_degree + (self.strategy == "Teleportation")

    def models_per_round(self) -> float:
        """Return how many models all nodes together receive in a round, the mean over a period.

        The sum of the degrees; for Teleportation k(1 + degree), arXiv:2501.15259, Algorithm 1.
        """
        own = self.num_active if self.strategy == "Teleportation" else 0
        return own + _mean_degrees(self.topology)


@dataclass(frozen=True, slots=True)
class Excluded:
    """What was not considered further, and why.

    ``is_skipped`` says that it was left out for the time it takes, and for no other reason.
    """

    strategy: Strategy
    spec: str
    num_active: int
    reason: str
    is_skipped: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """What a candidate may cost; None is no limit.

    Parameters
    ----------
    max_degree : int, optional
        The most neighbours a round in the topology, at least 0.
    max_bytes : int, optional
        The most bytes that an active node receives in a round; needs ``model_bytes``.
    model_bytes : int, optional
        The size of a model.
    """

    max_degree: int | None = None
    max_bytes: int | None = None
    model_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_degree", 0), ("max_bytes", 0), ("model_bytes", 1)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_count(name, value, least))
        if self.max_bytes is not None and self.model_bytes is None:
            raise PlanError("max_bytes needs model_bytes: say how large a model is.")

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.max_degree is not None or self.max_bytes is not None

    def objection(self, option: Option) -> str | None:
        """Return why the option is too expensive, None where it is not."""
        degree = option.topology.max_degree
        if self.max_degree is not None and degree > self.max_degree:
            return f"degree {degree} is above {self.max_degree}"
        if self.max_bytes is None or self.model_bytes is None:
            return None
        received = option.models_received * self.model_bytes
        if received > self.max_bytes:
            return f"a node receives {received} bytes a round, above {self.max_bytes}"
        return None


def default_actives(num_nodes: int) -> tuple[int, ...]:
    """Return the powers of two up to n, and n."""
    powers = [2**power for power in range(num_nodes.bit_length())]
    return tuple(sorted({*powers, num_nodes}))


def usual_degree(num_nodes: int) -> int:
    """Return log2 n, rounded up: the most neighbours where nobody says what a round may cost.

    So many has the exponential graph, nearly as good as all (Ying et al. 2021, arXiv:2110.13363).
    """
    return (num_nodes - 1).bit_length()


def options(
    num_nodes: int, actives: Sequence[int], specs: Sequence[str] | None
) -> Iterator[Option | Excluded]:
    """Yield Gossip over n nodes and Teleportation over each number of slots.

    With ``specs`` over these, else Gossip over every formula that n allows and Teleportation
    over a few good ones. Raises ``PlanError`` for a spec that fits none of the sizes.
    """
    runs: list[tuple[Strategy, int, Sequence[str]]]
    runs = [("Gossip", num_nodes, [*_GOSSIP, *_sized(num_nodes)])]
    runs += [("Teleportation", active, _TELEPORTATION) for active in actives]
    for spec in specs or ():
        _check_spec(spec, num_nodes, actives)
    for strategy, size, defaults in runs:
        yield from _options(strategy, size, specs, defaults)


def _check_spec(spec: str, num_nodes: int, actives: Sequence[int]) -> None:
    """Raise ``PlanError`` for a spec that is none, or fits no size."""
    refused: PlanError | None = None
    for size in (*actives, num_nodes):
        try:
            from_spec(spec, num_nodes=size)
            return
        except PlanError as error:
            refused = error
    if refused is not None:
        raise refused


def _options(
    strategy: Strategy, size: int, given: Sequence[str] | None, defaults: Sequence[str]
) -> Iterator[Option | Excluded]:
    seen: set[object] = set()
    for spec in defaults if given is None else given:
        try:
            topology = from_spec(spec, num_nodes=size)
        except PlanError as error:
            if given is not None:
                yield Excluded(strategy, spec, size, str(error))
            continue
        if given is None and size > LARGE and topology.modes_of is None:
            reason = f"takes long for more than {LARGE} nodes; name it in candidates to have it"
            yield Excluded(strategy, spec, size, reason, is_skipped=True)
            continue
        key = _fingerprint(topology)
        if given is not None or key not in seen:
            yield Option(strategy, topology)
        seen.add(key)


def _sized(num_nodes: int) -> list[str]:
    """Return the specs whose arguments follow from n: squarest sides, twice as many edges as
    a random graph needs to be connected.
    """
    rows = max(side for side in range(1, isqrt(num_nodes) + 1) if num_nodes % side == 0)
    sides = f"{rows}x{num_nodes // rows}"
    formed = [f"torus:{sides}", f"grid:{sides}"] if rows > 1 else []
    if num_nodes >= 8:
        formed.append(f"erdos-renyi:{min(1.0, 2 * log(num_nodes) / num_nodes):.2g}")
    return formed


def _fingerprint(topology: Topology) -> object:
    """Return the same for the same W's: for few nodes, or powers of two, many specs are one."""
    period, rows = topology.period, topology.num_nodes * (1 + topology.max_degree)
    if period is None or period * rows > _COMPARED:
        return topology.spec
    phases = tuple(
        tuple(
            tuple(
                (sender, round(weight, 9)) for sender, weight in topology.weights(node, t).items()
            )
            for node in range(topology.num_nodes)
        )
        for t in range(1, period + 1)
    )
    return phases[:1] if len(set(phases)) == 1 else phases


def _mean_degrees(topology: Topology) -> float:
    """Return the sum of all nodes' degrees, the mean over a period (a few draws of a fresh W)."""
    rounds = range(1, (topology.period or _DRAWS) + 1)
    total = 0
    for round in rounds:
        modes = topology.modes(round)
        if topology.period is not None and modes is not None and modes.alike:
            total += topology.num_nodes * topology.degree(0, round)
        else:
            nodes = range(topology.num_nodes)
            total += sum(topology.degree(node, round) for node in nodes)
    return total / len(rounds)
