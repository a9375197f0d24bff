"""Who takes part: the nodes that answered, in a fixed order, each with an identity."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from logging import INFO

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore import log

from ..server_free.errors import GossipError, ModError, RosterError
from ..server_free.orders import RECORD, Hello, Introduction, read
from .client_errors import NO_MOD, at_first_contact
from .exchange import push

__all__ = ["AWAY", "Member", "assemble", "hello", "introduction", "ordered", "reassemble"]

_DEFAULT_MINIMUM = 2
AWAY = {ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE}
_NAMELESS = "no identity"


@dataclass(frozen=True, slots=True)
class Member:
    """One node: its Flower node id and how it introduced itself."""

    node_id: int
    intro: Introduction

    @property
    def identity(self) -> str:
        """What stays the same when the node comes back under another Flower node id."""
        if self.intro.name:
            return f"peer-name {self.intro.name!r}"
        return f"partition-id {self.intro.partition}" if self.intro.partition >= 0 else _NAMELESS


def hello(node_id: int) -> Message:
    """Return the first message to a node."""
    record = ConfigRecord(Hello().to_values())
    return Message(RecordDict({RECORD: record}), node_id, MessageType.TRAIN)


def introduction(reply: Message) -> Introduction | None:
    """Return the introduction in a reply to :func:`hello`; None when the node is not there.

    Raises ``ModError`` or ``RosterError`` with what the node's owner has to do.
    """
    node = f"Flower node {reply.metadata.src_node_id}"
    if reply.has_error():
        if reply.error.code in AWAY:
            return None
        raise at_first_contact(node, reply.error)
    record = reply.content.get(RECORD)
    answer = dict(record.items()) if isinstance(record, ConfigRecord) else {}
    if answer.get("kind", Hello.KIND) == Hello.KIND:  # nothing, or our own record sent back
        raise ModError(f"{node} answered without gossip_mod. {NO_MOD}")
    intro = read(Introduction, answer, node)
    if intro.failure:
        identity = Member(reply.metadata.src_node_id, intro).identity
        known = "" if identity == _NAMELESS else f" ({identity})"
        raise RosterError(f"{node}{known} cannot take part: {intro.failure}")
    return intro


@dataclass(slots=True)
class _Gathering:
    """The nodes met so far."""

    grid: Grid
    minimum: int | None
    members: dict[int, Member] = field(default_factory=dict)
    awaited: frozenset[str] = frozenset()
    partitions: int = -1
    waiting: dict[str, Message] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Greet new nodes and take in the answers that are there."""
        fresh = [node for node in self.grid.get_node_ids() if node not in self.asked]
        self.asked.update(fresh)
        self.waiting |= push(self.grid, [hello(node) for node in fresh])
        for reply in self.grid.pull_messages(list(self.waiting)) if self.waiting else ():
            del self.waiting[reply.metadata.reply_to_message_id]
            intro = introduction(reply)
            node_id = reply.metadata.src_node_id
            if intro is not None:
                self.members[node_id] = Member(node_id, intro)

    @property
    def required(self) -> int:
        """How many nodes to wait for, as far as one can tell now."""
        announced = [m.intro.num_partitions for m in self.members.values()]
        known = max(announced, default=-1)
        return self.minimum or (known if known > 0 else _DEFAULT_MINIMUM)

    @property
    def num_nodes(self) -> int | None:
        """Number of nodes where no more can come, as in a simulation; None where they may."""
        simulated = {m.intro.num_partitions for m in self.members.values() if m.intro.simulated}
        return getattr(self.grid, "num_nodes", max(simulated, default=None))

    @property
    def exhausted(self) -> bool:
        """Whether all nodes that there can ever be have answered."""
        return not self.waiting and len(self.asked) == self.num_nodes

    @property
    def complete(self) -> bool:
        """Whether enough nodes are there and no connected one still has to answer."""
        if self.awaited:
            members = self.members.values()
            misfit = any(member.intro.num_partitions != self.partitions for member in members)
            all_here = self.awaited <= {member.identity for member in members}
            return misfit or (all_here and not self.waiting)
        return len(self.members) >= self.required and not self.waiting


def assemble(grid: Grid, minimum: int | None, timeout_s: float) -> list[Member]:
    """Return the members in the order of their identities, once enough nodes are there.

    Raises ``RosterError`` after ``timeout_s`` seconds with too few nodes, and at once where no more
    can come, for missing, doubled or non-contiguous identities and for clients without the mod.
    """
    gathering = _Gathering(grid, minimum)
    _gather(gathering, timeout_s, lambda: gathering.required)
    if len(gathering.members) < gathering.required:
        raise _too_few(gathering, timeout_s)
    return ordered(gathering.members.values())


def reassemble(
    grid: Grid, roster: Sequence[Introduction], awaited: Iterable[int], timeout_s: float
) -> dict[int, Member]:
    """Return node -> member for those of an earlier roster that are there.

    Waits for the nodes ``awaited``, then goes on without those that did not come; does not wait
    when one was told another number of partitions. Nodes that are not in the roster are left
    alone. Raises ``RosterError`` if none came.
    """
    identities = {Member(-1, intro).identity: node for node, intro in enumerate(roster)}
    names = list(identities)
    whom = frozenset(names[node] for node in awaited)
    gathering = _Gathering(grid, None, awaited=whom, partitions=roster[0].num_partitions)
    _gather(gathering, timeout_s, lambda: len(gathering.awaited))
    _check_unique(list(gathering.members.values()))
    found = {identities.get(m.identity, -1): m for m in gathering.members.values()}
    strange = found.pop(-1, None)
    if strange is not None:
        log(INFO, "%s is not in the roster of this run; ignored.", strange.identity)
    if not found:
        raise RosterError(
            f"none of the {len(roster)} nodes of the earlier run was ready after "
            f"join_timeout={timeout_s:g} s: {names}. Start their SuperNodes, or raise join_timeout."
        )
    return dict(sorted(found.items()))


def _gather(gathering: _Gathering, timeout_s: float, required: Callable[[], int]) -> None:
    """Greet nodes till the gathering is complete, or the time is up."""
    deadline = time.monotonic() + timeout_s
    told = -1
    while True:
        gathering.look()
        if gathering.complete or gathering.exhausted or time.monotonic() >= deadline:
            return
        if len(gathering.members) != told:
            told = len(gathering.members)
            log(INFO, "Waiting for nodes: %d of %d are ready.", told, required())
        time.sleep(0.1)


def _too_few(gathering: _Gathering, timeout_s: float) -> GossipError:
    if gathering.exhausted:
        return RosterError(
            f"{len(gathering.members)} of the grid's {gathering.num_nodes} node(s) are ready and "
            f"no more can come, {gathering.required} are needed (min_available_nodes, else "
            "num-partitions). Lower min_available_nodes, or simulate more nodes: flwr run ... "
            f"--federation-config 'num-supernodes={gathering.required}', flwr-gossip simulate ... "
            f"--nodes {gathering.required}."
        )
    silent = sorted(m.metadata.dst_node_id for m in gathering.waiting.values())
    return RosterError(
        f"{len(gathering.members)} node(s) were ready after join_timeout={timeout_s:g} s, "
        f"{gathering.required} are needed (min_available_nodes); connected but silent: "
        f"{silent or 'none'}. Start more SuperNodes, lower min_available_nodes or raise "
        "join_timeout."
    )


def ordered(members: Iterable[Member]) -> list[Member]:
    """Return the members sorted by identity; ``RosterError`` names what is wrong with those."""
    found = list(members)
    named = [member for member in found if member.intro.name]
    if named and len(named) < len(found):
        others = [m.node_id for m in found if not m.intro.name]
        raise RosterError(
            f"some nodes have a peer-name in their node-config, but Flower node(s) {others} have "
            "none; give all a peer-name, or none (then partition-id counts)."
        )
    _check_unique(found)
    if named:
        return sorted(found, key=lambda member: member.intro.name)
    return _by_partition(found)


def _check_unique(members: Sequence[Member]) -> None:
    counts = Counter(member.identity for member in members)
    for identity, count in counts.items():
        if count > 1 and identity != _NAMELESS:
            nodes = [m.node_id for m in members if m.identity == identity]
            raise RosterError(
                f"{identity} is claimed by {count} nodes (Flower nodes {nodes}); every node "
                "needs a partition-id or peer-name of its own in its node-config."
            )


def _by_partition(members: Sequence[Member]) -> list[Member]:
    nameless = [member.node_id for member in members if member.intro.partition < 0]
    if nameless:
        raise RosterError(
            f"Flower node(s) {nameless} have no identity; start each SuperNode with --node-config "
            "'partition-id=I num-partitions=N' (I from 0 to N-1) or 'peer-name=\"NAME\"'."
        )
    by_id = {member.intro.partition: member for member in members}
    gaps = sorted(set(range(len(members))) - by_id.keys())
    if gaps:
        raise RosterError(
            f"partition-id {gaps[0]} is missing among {len(members)} nodes, which have "
            f"{sorted(by_id)}; allowed is 0..{len(members) - 1} without gaps."
        )
    return [by_id[index] for index in range(len(members))]
