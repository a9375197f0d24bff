"""Who of the roster is live, who failed and why, and how a node comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import INFO, WARNING

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore import log

from ..server_free.errors import GossipError, NoNodesLeft
from .exchange import push
from .pairs import Pairs
from .roster import Member, hello, introduction

__all__ = ["Attendance"]

_MOST_LISTED = 8


@dataclass(slots=True)
class Attendance:
    """The members of a training, node -> member, and which of them are live.

    A node that failed is absent until it answers a greeting; it may come back under another
    Flower node id, recognised by its identity.
    """

    grid: Grid
    members: list[Member]
    pairs: Pairs = field(default_factory=Pairs)
    live: set[int] = field(default_factory=set)
    failures: dict[int, list[str]] = field(default_factory=dict)
    greetings: dict[str, Message] = field(default_factory=dict)
    _nodes: dict[int, int] = field(default_factory=dict)  # Flower node id -> node

    def __post_init__(self) -> None:
        self.live = set(range(len(self.members)))
        self._nodes = {member.node_id: node for node, member in enumerate(self.members)}

    def node_of(self, node_id: int) -> int:
        """Return the node with a Flower node id, -1 for one that is not in the roster."""
        return self._nodes.get(node_id, -1)

    def lose(self, node: int, reason: str) -> None:
        """Take ``node`` out of the live ones and say why."""
        self.note(node, reason)
        self.live.discard(node)

    def note(self, node: int, reason: str) -> None:
        """Say that something went wrong at ``node``, which stays live."""
        log(WARNING, "node %d (%s) failed: %s", node, self.members[node].identity, reason)
        self.failures.setdefault(node, []).append(reason)

    def lost(self) -> dict[int, str]:
        """Return the nodes that are not live, with what last went wrong there."""
        absent = set(range(len(self.members))) - self.live
        return {node: self.failures.get(node, ["not live"])[-1] for node in sorted(absent)}

    def check_alive(self) -> None:
        """Raise ``NoNodesLeft`` with the reasons when no node is live."""
        if self.live:
            return
        nodes: dict[str, list[int]] = {}
        for node, reasons in self.failures.items():
            nodes.setdefault(reasons[-1], []).append(node)
        lines = [f"{_listed(group)}: {reason}" for reason, group in nodes.items()]
        between = "\n  " if len(lines) > 1 else " "
        raise NoNodesLeft(f"no node is left in the training:{between}{between.join(lines[:20])}")

    def greet_absent(self) -> list[int]:
        """Return the nodes that are back; greet the absent ones again. Nothing here waits."""
        replies = self.grid.pull_messages(list(self.greetings)) if self.greetings else ()
        returned = []
        for reply in replies:
            self.greetings.pop(reply.metadata.reply_to_message_id, None)
            node = self._welcomed(reply)
            if node is not None:
                returned.append(node)
        if len(self.live) < len(self.members):
            busy = {message.metadata.dst_node_id for message in self.greetings.values()}
            busy |= {self.members[node].node_id for node in self.live}
            absent = [node_id for node_id in self.grid.get_node_ids() if node_id not in busy]
            self.greetings |= push(self.grid, [hello(node_id) for node_id in absent])
        return returned

    def _welcomed(self, reply: Message) -> int | None:
        """Return the node that introduces itself in ``reply``, live again; None if it is not."""
        try:
            intro = introduction(reply)
        except GossipError as error:
            log(WARNING, "%s", error)
            return None
        if intro is None:
            return None
        member = Member(reply.metadata.src_node_id, intro)
        known = {one.identity: node for node, one in enumerate(self.members)}
        node = known.get(member.identity)
        if node is None:
            log(WARNING, "%s is not in the roster of this training; ignored.", member.identity)
        elif self.members[node].intro.peer and not intro.peer:
            log(WARNING, "node %d is back without a gossip-peer in its node-config.", node)
        elif node not in self.live:
            log(INFO, "node %d (%s) is back.", node, member.identity)
            del self._nodes[self.members[node].node_id]
            self.members[node], self._nodes[member.node_id] = member, node
            self.live.add(node)
            return node
        return None


def _listed(nodes: Sequence[int]) -> str:
    if len(nodes) == 1:
        return f"node {nodes[0]}"
    shown = ", ".join(map(str, nodes[:_MOST_LISTED]))
    more = len(nodes) - _MOST_LISTED
    return f"nodes {shown}" + (f" and {more} more" if more > 0 else "")
