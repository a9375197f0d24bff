"""Which nodes can talk to each other: who probes whom, what came of it, and who stands in.

A reader dials the peer of each holder whose models it mixes, so a pair has a direction. All of
this is a pure function of the plan and of what the probes said.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .draws import sample
from .errors import PlanError
from .plans import Plan
from .schedules import AllActive

__all__ = [
    "KINDS",
    "MAX_TARGETS",
    "Probed",
    "Relayed",
    "Unreachable",
    "choose_relays",
    "pairs_table",
    "targets",
]

KINDS = (
    *("refused", "timed-out", "no-such-name", "no-route", "certificate", "plain-text"),
    *("token", "version", "failed"),
)
MAX_TARGETS = 64
"""A node probes at most so many others; of more it takes a sample."""

_MOST_PHASES = 64


@dataclass(frozen=True, slots=True, order=True)
class Relayed:
    """Node ``reader`` cannot connect to the peer of ``holder``; that of ``relay`` stands in."""

    reader: int
    holder: int
    relay: int

    def __post_init__(self) -> None:
        if min(self.reader, self.holder, self.relay) < 0:
            raise PlanError(f"{self}: nodes count from 0.")
        if len({self.reader, self.holder, self.relay}) < 3:
            raise PlanError(f"{self}: a relay is a third node.")


@dataclass(frozen=True, slots=True, order=True)
class Unreachable:
    """A pair that cannot talk: ``reader`` does not reach the peer of ``holder``.

    Parameters
    ----------
    reader, holder : int
        The nodes.
    address : str
        The advertised address that was dialled.
    kind : str
        ``"refused"`` nobody listens there; ``"timed-out"`` no answer in time; ``"no-such-name"``
        the host name does not resolve; ``"no-route"`` the network does not lead there;
        ``"certificate"`` TLS was refused by either side; ``"plain-text"`` one side uses TLS and
        the other does not; ``"token"`` another key of the run; ``"version"`` another flwr-gossip;
        ``"failed"`` anything else.
    reason : str
        One sentence with the details.
    relay : int (default: -1)
        The node through whose peer the models go instead; -1 for none.
    """

    reader: int
    holder: int
    address: str
    kind: str
    reason: str
    relay: int = -1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PlanError(f"Unreachable.kind is {self.kind!r}, allowed is one of {KINDS}.")

    def __str__(self) -> str:
        return f"node {self.reader} cannot reach node {self.holder} at {self.address}: {self.why}"

    @property
    def why(self) -> str:
        """Kind and reason."""
        return f"{self.kind}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Probed:
    """What one node's probes said: the nodes it reaches, and those it does not."""

    reached: tuple[int, ...] = ()
    unreachable: tuple[Unreachable, ...] = field(default=())

    def dump(self) -> str:
        """Return it as JSON; the reader is who sends it."""
        pairs = [[one.holder, one.address, one.kind, one.reason] for one in self.unreachable]
        content = {"reached": self.reached, "unreachable": pairs}
        return json.dumps(content, separators=(",", ":"))

    @staticmethod
    def load(text: str, reader: int, num_nodes: int) -> Probed:
        """Return what :meth:`dump` wrote at node ``reader``; "" means that nothing was probed.

        Raises ``PlanError`` for anything else, also for nodes that are not among ``num_nodes``.
        """
        if not text:
            return Probed()
        try:
            content = json.loads(text)
            rows, reached = content.get("unreachable", []), content.get("reached", [])
            if any(list(map(type, row)) != [int, str, str, str] for row in rows):
                raise TypeError("a pair is not holder, address, kind and reason")
            others = [*reached, *(row[0] for row in rows)]
            if any(type(n) is not int or not 0 <= n < num_nodes or n == reader for n in others):
                raise ValueError(
                    f"it can talk to the others of 0..{num_nodes - 1}, not to {others!r:.100}"
                )
            return Probed(tuple(reached), tuple(Unreachable(reader, *row) for row in rows))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise PlanError(f"these are no probes of node {reader}: {error}") from error


def targets(plan: Plan, node: int, everyone: bool = False) -> tuple[int, ...]:
    """Return the nodes whose peers ``node`` is to probe, sorted.

    Where all nodes stay active and the topology repeats, these are the holders of its rows; else,
    or with ``everyone``, all other nodes. Of more than ``MAX_TARGETS`` a sample is taken.
    """
    wanted = _others(plan, node) if everyone else _holders(plan, node)
    if len(wanted) > MAX_TARGETS:
        drawn = sample(0, node, len(wanted), MAX_TARGETS, purpose="probes")
        wanted = [wanted[place] for place in sorted(drawn)]
    return tuple(wanted)


def _holders(plan: Plan, node: int) -> list[int]:
    period = plan.topology.period
    if not isinstance(plan.schedule, AllActive) or period is None or period > _MOST_PHASES:
        return _others(plan, node)
    rows = (plan.topology.weights(node, round) for round in range(1, period + 1))
    return sorted({holder for row in rows for holder in row} - {node})


def _others(plan: Plan, node: int) -> list[int]:
    return [other for other in range(plan.num_nodes) if other != node]


def choose_relays(
    pairs: Iterable[tuple[int, int]],
    reached: Mapping[int, Collection[int]],
    live: Collection[int],
) -> dict[tuple[int, int], int]:
    """Return (reader, holder) -> the node whose peer relays, where there is one that can.

    A relay is live, reached by the reader, and reaches the holder. Of several the one with the
    fewest pairs so far is taken, and the smallest of these.

    Parameters
    ----------
    pairs : Iterable[tuple[int, int]]
        (reader, holder) that cannot connect.
    reached : Mapping[int, Collection[int]]
        Node -> nodes whose peers it reaches.
    live : Collection[int]
        The nodes that take part.
    """
    chosen: dict[tuple[int, int], int] = {}
    load: Counter[int] = Counter()
    for reader, holder in sorted(pairs):
        able = [
            relay
            for relay in reached.get(reader, ())
            if relay in live and relay not in (reader, holder) and holder in reached.get(relay, ())
        ]
        if able:
            relay = min(able, key=lambda one: (load[one], one))
            chosen[reader, holder] = relay
            load[relay] += 1
    return chosen


def pairs_table(pairs: Collection[Unreachable], num_probed: int) -> list[str]:
    """Return the lines of the table of the pairs that cannot talk; one title when all can."""
    if not pairs:
        return [f"All {num_probed} pairs of nodes that were probed can talk."]
    head = ("reader", "holder", "address", "why", "instead")
    rows = [
        (
            str(one.reader),
            str(one.holder),
            one.address,
            one.kind,
            f"through node {one.relay}" if one.relay >= 0 else "-",
        )
        for one in sorted(pairs)
    ]
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    title = f"{len(pairs)} of {num_probed} pairs of nodes that were probed cannot talk:"
    details = ["reason", *(one.reason for one in sorted(pairs))]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), reason])
        for row, reason in zip((head, *rows), details, strict=True)
    ]
    return [title, *(f"  {line}" for line in lines)]
