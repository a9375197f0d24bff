"""What is on the simulated clock: nodes, and the jobs and rows of each round.

A *job* is the training of a slot in a round; a *row* is one model that a job mixes before it
begins. :mod:`.clock` moves them, :mod:`.timeline` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, nan

from .flows import Flow, Port

__all__ = ["Job", "Node", "Round", "Row"]


class Node(Port["Row"]):
    """A node: its links, its work, and whether the others have noticed that it is gone.

    Attributes
    ----------
    job : Job or None
        What it trains, or would train if it were online.
    jobs : dict of Job
        All that it has still to do, in order.
    holds : int
        Jobs of rounds that are not over, its own trained ones included.
    until, wakes_at : float
        When its availability may change, and when the clock will look.
    silent_since : float or None
        Since when it is offline though somebody needs it.
    known : bool
        Whether it was silent for a whole timeout, so that nobody waits for it any longer.
    spent : bool
        Whether the latest timeout has already ended a job of its.
    """

    __slots__ = ("holds", "job", "jobs", "known", "silent_since", "spent", "until", "wakes_at")

    def __init__(self, node: int, up: float, down: float) -> None:
        super().__init__(node, up, down)
        self.job: Job | None = None
        self.jobs: dict[Job, None] = {}
        self.holds = 0
        self.until = inf
        self.wakes_at = nan
        self.silent_since: float | None = None
        self.known = self.spent = False


@dataclass(slots=True, eq=False)
class Job:
    """The training of one slot in one round.

    Attributes
    ----------
    seconds : float
        How long it takes while the node is online.
    pending : int
        Rows, and earlier jobs of the node, that it waits for.
    start, finish : float
        NaN until it begins, and while nobody can say.
    left : float
        Seconds to go, while the node is offline.
    trained : bool or None
        None until it has ended (True) or was given up (False).
    rows : list of Row
        Who reads it; known once the next round is.
    then : Job or None
        The node's next job.
    """

    round: Round
    slot: int
    node: Node
    seconds: float
    pending: int = 0
    start: float = nan
    finish: float = nan
    left: float = nan
    trained: bool | None = None
    rows: list[Row] = field(default_factory=list)
    then: Job | None = None


class Row(Flow):
    """The transfer of a slot's h to a job that mixes it; within a node it costs nothing.

    Attributes
    ----------
    arrived : float
        When it was there, NaN if it was not.
    lost : bool
        Whether it will break off at its end.
    reason : str
        Why it did not arrive, once that is decided.
    """

    __slots__ = ("arrived", "latency", "lost", "reader", "reason", "size", "slot")
    sender: Node
    receiver: Node

    def __init__(self, sender: Node, reader: Job, slot: int, size: int) -> None:
        super().__init__(sender, reader.node, float(size))
        self.reader, self.slot, self.size = reader, slot, size
        self.latency, self.lost = 0.0, False
        self.arrived, self.reason = nan, ""

    @property
    def sent(self) -> int:
        """Bytes that left the sender."""
        return round(self.size - self.left)


@dataclass(slots=True, eq=False)
class Round:
    """The jobs of a round, by slot, and the rows that they read.

    Attributes
    ----------
    undecided, trained : int
        Jobs that have not ended, and those that ended with a model.
    settled : float
        When the latest job ended or was given up.
    """

    number: int
    jobs: list[Job | None] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    undecided: int = 0
    trained: int = 0
    settled: float = 0.0
