"""The plan: for a node and a round, its slot, its sources with weights, and its readers.

A plan is a pure function of its description, so every side computes its own part::

    z   = sum_r W_{t-1}[s, r] * h_{t-1}[r]     node A_t[s] fetches h from A_{t-1}[r]
    h_t[s] = train(z)

Gossip is a plan over ``AllActive``, Teleportation one over ``Teleport``
(arXiv:2501.15259, Algorithm 1, in the fused form: hand-over and gossip are one exchange).
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import lt
from typing import Any

from . import topologies
from .counts import check_count
from .errors import PlanError
from .mixing import renormalized
from .recent import Recent
from .schedules import AllActive, Schedule, Teleport
from .topologies import Topology

__all__ = ["VACANT", "Plan", "Source"]

VACANT = -1
"""Stands in the place of a node where a slot has no holder in a round."""


@dataclass(frozen=True, slots=True)
class Source:
    """One term of a mixed model: the weight of ``slot``, whose h lies with ``node``."""

    slot: int
    node: int
    weight: float


@dataclass(frozen=True, slots=True)
class _Places:
    """Who is active in a round: slot -> node, and back."""

    nodes: tuple[int, ...]
    slots: Mapping[int, int]

    def __len__(self) -> int:
        return len(self.nodes)


@dataclass(slots=True)
class _Kept:
    """What a plan has worked out: digest and play ask for the same, and so do later rounds."""

    places: Recent[_Places] = field(default_factory=Recent)
    rows: Recent[tuple[Source, ...]] = field(default_factory=Recent)
    readers: Recent[tuple[int, ...]] = field(default_factory=Recent)


@dataclass(frozen=True, slots=True)
class Plan:
    """A topology over slots, a schedule of nodes, and who was live from which round on.

    Parameters
    ----------
    topology : Topology
        Over the slots: ``topology.num_nodes == schedule.num_slots``.
    schedule : Schedule
        ``AllActive`` or ``Teleport``.
    num_rounds : int
        Rounds of the whole training, 0 or more.
    live : tuple of (first round, tuple of nodes)
        Sorted by round, beginning with round 1; each list holds from its round on.
        Empty means all nodes all the time.
    """

    topology: Topology
    schedule: Schedule
    num_rounds: int
    live: tuple[tuple[int, tuple[int, ...]], ...] = field(default=())
    _kept: _Kept = field(default_factory=_Kept, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.topology.num_nodes != self.schedule.num_slots:
            raise PlanError(
                f"topology {self.topology.spec!r} is over {self.topology.num_nodes} slots, "
                f"but the schedule has {self.schedule.num_slots}; they must be equal."
            )
        rounds = check_count("num_rounds", self.num_rounds, least=0)
        object.__setattr__(self, "num_rounds", rounds)
        firsts = [first for first, _ in self.live]
        if firsts and (firsts[0] != 1 or firsts != sorted(set(firsts))):
            raise PlanError(f"live lists start at rounds {firsts}, allowed is rising from 1.")
        for first, nodes in self.live:
            rising = all(map(lt, nodes, nodes[1:]))
            if not rising or (nodes and not 0 <= nodes[0] <= nodes[-1] < self.num_nodes):
                raise PlanError(
                    f"the live nodes from round {first} on are {nodes}, allowed are different "
                    f"nodes of 0..{self.num_nodes - 1}, sorted."
                )

    @property
    def num_nodes(self) -> int:
        """Number of nodes n of the original roster."""
        return self.schedule.num_nodes

    @property
    def num_slots(self) -> int:
        """Number of slots k."""
        return self.schedule.num_slots

    def live_in(self, round: int) -> tuple[int, ...] | None:
        """Return the live nodes of a round, sorted; ``None`` means all."""
        place = bisect_right(self.live, round, key=_first)
        return self.live[place - 1][1] if place else None

    def with_live(self, first_round: int, live: Iterable[int]) -> Plan:
        """Return this plan with another live list from ``first_round`` on, for good."""
        nodes, everyone = tuple(sorted(live)), tuple(range(self.num_nodes))
        earlier = tuple(entry for entry in self.live if entry[0] < first_round)
        if nodes == (earlier[-1][1] if earlier else everyone):
            return self if earlier == self.live else replace(self, live=earlier)
        if not earlier and first_round > 1:
            earlier = ((1, everyone),)
        return replace(self, live=(*earlier, (first_round, nodes)))

    def recent(self, round: int) -> Plan:
        """Return this plan without the live lists that ended before ``round``.

        Of what happened earlier it says nothing true; what it says from ``round`` on is the same.
        """
        place = bisect_right(self.live, round, key=_first)
        if place < 2:
            return self
        return replace(self, live=((1, self.live[place - 1][1]), *self.live[place:]))

    def active(self, round: int) -> tuple[int, ...]:
        """Return A_t, slot -> node, with ``VACANT`` where a slot has no holder."""
        return self._places(round).nodes

    def _places(self, round: int) -> _Places:
        """Return who is active in a round; kept here, since to hash live lists would take O(n)."""
        key = self._era(round)
        if (places := self._kept.places.get(key)) is not None:
            return places
        always = isinstance(self.schedule, AllActive)
        nodes = self.schedule.active(1 if always else round, self.live_in(round))
        places = _Places(nodes, {node: slot for slot, node in enumerate(nodes)})
        return self._kept.places.keep(key, places)

    def _era(self, round: int) -> int:
        """Return what the active set depends on: its round, where all are active the live list."""
        if isinstance(self.schedule, AllActive):
            return bisect_right(self.live, round, key=_first)
        return round

    def _moment(self, round: int) -> tuple[int, int]:
        """Return what rows depend on; with a periodic topology those of Gossip recur."""
        return self._era(round), self.topology.phase(round)

    def slot(self, node: int, round: int) -> int | None:
        """Return the slot that ``node`` holds in ``round``, or None when it is not active."""
        if not 0 <= node < self.num_nodes:
            raise PlanError(f"node is {node}, allowed is 0..{self.num_nodes - 1}.")
        return self._places(round).slots.get(node)

    def row(self, slot: int, round: int) -> tuple[Source, ...]:
        """Return the terms of ``z = sum_r W_round[slot, r] h_round[r]``, by slot.

        Slots without a holder are masked and the rest renormalised; empty when all are. The
        own slot is there even where W gives it no weight, since its integer tensors are kept.
        """
        key = (slot, self._moment(round))
        if (row := self._kept.rows.get(key)) is not None:
            return row
        active = self.active(round)
        weights = {slot: 0.0} | self.topology.weights(slot, round)
        held = {r: w for r, w in weights.items() if active[r] != VACANT}
        shares = held if len(held) == len(weights) else renormalized(held)
        row = tuple(Source(r, active[r], shares[r]) for r in sorted(shares))
        return self._kept.rows.keep(key, row)

    def sources(self, node: int, round: int) -> tuple[Source, ...]:
        """Return what ``node`` mixes before it trains in ``round``; empty in round 1."""
        slot = self.slot(node, round)
        if slot is None:
            raise PlanError(f"node {node} is not active in round {round}.")
        return self.row(slot, round - 1) if round > 1 else ()

    def readers(self, node: int, round: int) -> tuple[int, ...]:
        """Return the nodes that will fetch ``node``'s h of ``round``, itself excluded, sorted."""
        slot = self.slot(node, round)
        if slot is None or round >= self.num_rounds:
            return ()
        key = (node, self._moment(round), self._era(round + 1))
        if (readers := self._kept.readers.get(key)) is not None:
            return readers
        after = self.active(round + 1)
        receivers = {after[s] for s in (slot, *self.topology.readers(slot, round))}
        readers = tuple(sorted(receivers - {node, VACANT}))
        return self._kept.readers.keep(key, readers)

    def holders_before(self, slot: int, round: int, reach: int) -> tuple[tuple[int, int], ...]:
        """Return (round, holder) of ``slot`` in ``reach`` rounds before ``round``, latest first.

        Where a slot's latest models can lie when its row of ``round`` is lost.
        """
        rounds = range(round - 1, max(0, round - 1 - reach), -1)
        held = ((earlier, self.active(earlier)[slot]) for earlier in rounds)
        return tuple((earlier, node) for earlier, node in held if node != VACANT)

    def digest(self, node: int, first: int, last: int) -> str:
        """Return a fingerprint of all that ``node`` does in rounds first..last.

        Two sides with the same digest agree on schedule, sources, weights (to 12 digits)
        and readers.
        """
        hasher = hashlib.sha256()
        for round in range(first, last + 1):
            slot = self.slot(node, round)
            if slot is None:
                continue
            terms = [(s.slot, s.node, f"{s.weight:.12e}") for s in self.sources(node, round)]
            hasher.update(repr((round, slot, terms, self.readers(node, round))).encode())
        return hasher.hexdigest()

    def to_json(self) -> str:
        """Return the plan as text; formulas travel as their spec, other graphs as their rows.

        Of a live list it says who is not in it: mostly few.
        """
        schedule: dict[str, Any] = {"num_nodes": self.num_nodes}
        if isinstance(self.schedule, Teleport):
            schedule |= {"num_active": self.schedule.num_active, "seed": self.schedule.seed}
        content = {
            "topology": self.topology.spec,
            "rows": self.topology.payload.decode(),
            "schedule": schedule,
            "num_rounds": self.num_rounds,
            "lost": [[first, self._others(nodes)] for first, nodes in self.live],
        }
        return json.dumps(content, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Plan:
        """Return the plan that :meth:`to_json` wrote; ``PlanError`` names what is wrong in it."""
        try:
            content = json.loads(text)
            schedule = _schedule_from(content["schedule"])
            spec, rows = str(content["topology"]), str(content["rows"])
            topology = _topology_from(spec, rows, schedule.num_slots)
            plan = Plan(topology, schedule, int(content["num_rounds"]))
            lost = [(int(first), tuple(map(int, nodes))) for first, nodes in content["lost"]]
            live = tuple((first, tuple(plan._others(nodes))) for first, nodes in lost)
            return replace(plan, live=live)
        except PlanError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"this is not a plan: {type(error).__name__}: {error}") from error

    def _others(self, nodes: Collection[int]) -> list[int]:
        """Return the nodes of the roster without ``nodes``."""
        if nodes and not 0 <= min(nodes) <= max(nodes) < self.num_nodes:
            raise PlanError(f"lost nodes are {nodes}, allowed are 0..{self.num_nodes - 1}.")
        left_out = set(nodes)
        return [node for node in range(self.num_nodes) if node not in left_out]


def _first(entry: tuple[int, tuple[int, ...]]) -> int:
    return entry[0]


def _schedule_from(content: Mapping[str, int]) -> Schedule:
    if "num_active" in content:
        return Teleport(content["num_nodes"], content["num_active"], seed=content["seed"])
    return AllActive(content["num_nodes"])


def _topology_from(spec: str, rows: str, num_slots: int) -> Topology:
    if rows:
        return topologies.from_bytes(rows.encode())
    if "edges:" in spec:  # its rows travel; nobody else's files are read for a plan
        raise PlanError(f"the plan names the topology {spec!r} without its rows.")
    return topologies.from_spec(spec, num_nodes=num_slots)
