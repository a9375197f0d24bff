"""What goes wrong: the scenarios of the fault table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fault_stage import Fault

from flwr_gossip.server_free.plans import Plan
from flwr_gossip.strategies import Gossip, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized

__all__ = ["DEADLINE_S", "ROUNDS", "SCENARIOS", "Scenario"]

NODES, ROUNDS, SEGMENT = 5, 12, 6
DEADLINE_S = 0.8
Draw = Callable[[np.random.Generator, Plan], tuple[Fault, ...]]


def ring(seed: int) -> Decentralized:
    """Return Gossip on a ring in two messages."""
    return Gossip("ring", **_options(seed))


def directed(seed: int) -> Decentralized:
    """Return Gossip where nobody reads from whom it serves: nodes can be rounds apart."""
    return Gossip("directed-ring", **_options(seed))


def teleport(k: int, topology: str) -> Callable[[int], Decentralized]:
    """Return Teleportation with ``k`` active."""
    return lambda seed: Teleportation(k, topology, **_options(seed))


def _options(seed: int) -> Any:
    return {
        "seed": seed,
        "rounds_per_message": SEGMENT,
        "evaluate_every": ROUNDS,
        "fraction_evaluate": 0.0,
        "min_available_nodes": NODES,
        "peer_timeout": DEADLINE_S,
    }


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and what the result must say of it.

    Parameters
    ----------
    name : str
        One line.
    draw : callable
        Generator and plan -> the faults; node and round are drawn afresh for each seed.
    strategy : callable (default: Gossip on a ring)
        Seed -> strategy.
    loses : bool | None (default: True)
        Whether models of the struck nodes, and of no others, must be missing; else none may be;
        with None those of the struck nodes may be.
    skew_s : tuple of float
        How much the nodes' clocks are ahead.
    options : mapping
        Of every :class:`PeerHost`.
    """

    name: str
    draw: Draw
    strategy: Callable[[int], Decentralized] = ring
    loses: bool | None = True
    skew_s: tuple[float, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def at(what: str, value: float = 0.0, after: bool = False, first: int = 2, last: int = 10) -> Draw:
    """Return a draw of one fault at a random round and one of the nodes active in it."""

    def draw(generator: np.random.Generator, plan: Plan) -> tuple[Fault, ...]:
        round = int(generator.integers(first, last + 1))
        node = int(generator.choice(plan.active(round)))
        return (Fault(node, round, what, value, after),)

    return draw


def nothing(generator: np.random.Generator, plan: Plan) -> tuple[Fault, ...]:
    """Nothing goes wrong."""
    return ()


def two_nodes(generator: np.random.Generator, plan: Plan) -> tuple[Fault, ...]:
    """Two nodes lose their machines in rounds of their own."""
    first, second = generator.choice(NODES, size=2, replace=False)
    early, late = generator.integers(2, 6), generator.integers(7, 11)
    return (
        Fault(int(first), int(early), "kill-machine"),
        Fault(int(second), int(late), "kill-machine"),
    )


def neighbourhood(generator: np.random.Generator, plan: Plan) -> tuple[Fault, ...]:
    """A node and both its neighbours in the ring die in the same round."""
    node, round = int(generator.integers(NODES)), int(generator.integers(2, 11))
    return tuple(Fault((node + step) % NODES, round, "kill-machine") for step in (-1, 0, 1))


SCENARIOS = (
    Scenario("nothing goes wrong", nothing, loses=False),
    Scenario("client killed before it trains", at("exit")),
    Scenario("client killed while it trains", at("exit-midway", 0.02)),
    Scenario("client killed after it trained, before it published", at("exit", after=True)),
    Scenario("client killed while models move", at("exit-soon", 0.03, after=True), loses=None),
    Scenario("train function raises", at("raise")),
    Scenario("train function returns NaN", at("nan")),
    Scenario("train function returns another shape", at("shape")),
    Scenario("peer killed while its client trains", at("kill-peer")),
    Scenario("peer killed and started again, empty", at("kill-peer", 0.3), loses=None),
    Scenario("machine killed for good", at("kill-machine")),
    Scenario("machine killed while models move", at("kill-machine", after=True)),
    Scenario("machine killed, back after 1 s", at("kill-machine", 1.0, last=6)),
    Scenario("two machines killed, one after the other", two_nodes),
    Scenario("a node and all its neighbours killed", neighbourhood),
    Scenario("peer frozen for a moment", at("freeze-peer", 0.3), loses=False),
    Scenario("peer frozen for good", at("freeze-peer", last=6)),
    Scenario("line mute for a moment", at("mute", 0.3), loses=False),
    Scenario("line mute for long, then heals", at("mute", 3.0, last=6)),
    Scenario("line accepts and stays mute", at("mute")),
    Scenario("line cut for a moment", at("cut", 0.3), loses=False),
    Scenario("line cut for good", at("cut")),
    Scenario("half a model, once", at("halve", 1), loses=False),
    Scenario("half a model, always", at("halve", 10_000, last=6)),
    Scenario("one bit turned, once", at("flip", 1), loses=False),
    Scenario("a slow node", at("sleep", 1.5), loses=False),
    Scenario("a reader not ready for its models", at("sleep", 1.0, first=1, last=1), loses=False),
    Scenario("clocks a day apart", nothing, loses=False, skew_s=(0, 86400, -86400, 3600, -1)),
    Scenario("directed ring: nothing", nothing, directed, loses=False),
    Scenario("directed ring: machine killed", at("kill-machine"), directed),
    Scenario("directed ring: half a model, once", at("halve", 1), directed, loses=False),
    Scenario("directed ring: line cut for a moment", at("cut", 0.3), directed, loses=False),
    Scenario("Teleportation, k = 3: nothing", nothing, teleport(3, "ring"), loses=False),
    Scenario("Teleportation, k = 3: machine killed", at("kill-machine"), teleport(3, "ring")),
    Scenario("Teleportation, k = 3: client killed", at("exit"), teleport(3, "ring")),
    Scenario(
        "Teleportation, k = 1: its holder killed",
        at("kill-machine", after=True),
        teleport(1, "alone"),
    ),
)
