"""Which pairs of nodes can talk, as far as the nodes' probes have said."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..server_free.errors import PeerUnreachable
from ..server_free.plans import Plan
from ..server_free.reachability import (
    MAX_TARGETS,
    Probed,
    Unreachable,
    choose_relays,
    pairs_table,
    targets,
)

__all__ = ["UNREACHABLE_MODES", "Pairs"]

UNREACHABLE_MODES = ("report", "refuse", "relay")


@dataclass(slots=True)
class Pairs:
    """What is known of the connections between the nodes' peers.

    Parameters
    ----------
    mode : str (default: "report")
        What is done about a pair that cannot connect; one of ``UNREACHABLE_MODES``.
    """

    mode: str = "report"
    asked: set[int] = field(default_factory=set)
    reached: dict[int, set[int]] = field(default_factory=dict)
    lost: dict[tuple[int, int], Unreachable] = field(default_factory=dict)
    _ever: set[tuple[int, int]] = field(default_factory=set)  # (reader, holder) that once talked
    _told: tuple[int, frozenset[tuple[int, int]]] = (0, frozenset())

    @property
    def num_probed(self) -> int:
        """How many pairs were tried."""
        return len(self.lost) + sum(map(len, self.reached.values()))

    def to_ask(self, num_nodes: int) -> set[int]:
        """Return the nodes to ask in messages of their own, before round 1.

        Where pairs are only reported, the probes go with the messages that are sent anyway.
        """
        return set() if self.mode == "report" else set(range(num_nodes)) - self.asked

    def orders(self, plan: Plan, live: Collection[int]) -> Callable[[int], Mapping[str, Any]]:
        """Return node -> what its order says of pairs: whom to probe, who is cut, who relays.

        A node probes with the first order that is written for it.
        """
        relays = self.relays(live)
        return lambda node: self._order(plan, node, relays)

    def _order(
        self, plan: Plan, node: int, relays: Mapping[tuple[int, int], int]
    ) -> Mapping[str, Any]:
        probe = () if node in self.asked else targets(plan, node, everyone=self.mode == "relay")
        self.asked.add(node)
        cut = {
            holder: f"not reached from node {node}, {one.why}"
            for (reader, holder), one in self.lost.items()
            if reader == node and (reader, holder) not in relays
        }
        own = [[*pair, relay] for pair, relay in relays.items() if node in (*pair, relay)]
        return {
            "probe": ",".join(map(str, probe)),
            "cut": json.dumps(cut),
            "relayed": json.dumps(own),
        }

    def relays(self, live: Collection[int]) -> dict[tuple[int, int], int]:
        """Return (reader, holder) -> the node that relays between them, if that is wanted."""
        if self.mode != "relay":
            return {}
        return choose_relays(self.lost, self.reached, live)

    def take(self, node: int, probed: Probed) -> None:
        """Take in what the probes of ``node`` said."""
        self.reached.setdefault(node, set()).update(probed.reached)
        self._ever.update((node, holder) for holder in probed.reached)
        self.lost |= {(node, one.holder): one for one in probed.unreachable}

    def never_talked(self, reader: int, holder: int) -> bool:
        """Return whether it is the way between these two that is bad, as far as is known.

        Of a pair that has talked before, it is rather the holder that is gone.
        """
        return (reader, holder) in self.lost and (reader, holder) not in self._ever

    def forget(self, node: int) -> None:
        """Treat a node that came back as new: its peer may be elsewhere now."""
        self.asked.discard(node)
        self.reached.pop(node, None)
        for holders in self.reached.values():
            holders.discard(node)
        self.lost = {pair: one for pair, one in self.lost.items() if node not in pair}

    def unreachable(self, live: Collection[int]) -> list[Unreachable]:
        """Return the pairs that cannot talk, sorted, each with its relay."""
        relays = self.relays(live)
        pairs = (replace(one, relay=relays.get(pair, -1)) for pair, one in self.lost.items())
        return sorted(pairs)

    def news(self, live: Collection[int]) -> list[str]:
        """Return the lines of the table when it has changed since they were asked for last."""
        now = self.num_probed, frozenset(self.lost)
        before, self._told = self._told, now
        if now[1] == before[1] and (now[1] or before[0] or not now[0]):
            return []
        lines = pairs_table(self.unreachable(live), self.num_probed)
        if any(len(reached) + 1 >= MAX_TARGETS for reached in self.reached.values()):
            lines.append(f"Of many nodes, each probes a sample of {MAX_TARGETS} others at most.")
        return lines

    def check(self, live: Collection[int]) -> None:
        """Raise ``PeerUnreachable`` with the table if a pair that cannot talk ends the run."""
        if self.mode == "refuse" and self.lost:
            lines = pairs_table(self.unreachable(live), self.num_probed)
            raise PeerUnreachable(
                "some peers cannot be reached by their neighbours; check --listen, --advertise, "
                'certificates and firewalls, or set unreachable="relay" or "report":\n'
                + "\n".join(lines)
            )
