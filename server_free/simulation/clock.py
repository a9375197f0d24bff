"""The simulated clock: plays jobs and rows in the order of time.

Here is what silence means. A node that goes offline pauses: its training stops and its transfers
stall until it is back. Once it has been missed for ``timeout_s`` (work is due there, or a transfer
stalls), it is given up until it is back: its job is over without a model, rows from and to it are
missing, and whatever round the others go on to, they do not wait for it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf, nan
from typing import Any

import numpy as np

from ..errors import NoNodesLeft
from .flows import Flows
from .jobs import Job, Node, Round, Row
from .networks import Network

__all__ = ["Clock"]

_SPARE_NODES = 1024


class Clock:
    """Time, the nodes that are involved, and what happens next.

    Parameters
    ----------
    network : Network
    timeout_s : float
        Seconds of silence after which a node is given up; infinite: never.
    decided : callable
        Called with every job that has ended or was given up.
    """

    def __init__(self, network: Network, timeout_s: float, decided: Callable[[Job], None]) -> None:
        self.network, self.timeout_s = network, timeout_s
        self.now = 0.0
        self._decided = decided
        self._churns = network.availability is not None
        self._nodes: dict[int, Node] = {}
        self._flows: Flows[Row] = Flows()
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = count()

    def nodes(self, indices: Sequence[int]) -> list[Node]:
        """Return the nodes of these indices, made where they are not there yet."""
        if len(self._nodes) > 4 * len(indices) + _SPARE_NODES:
            self._forget()
        fresh = [index for index in indices if index not in self._nodes]
        upload, download = self.network.rates(np.array(fresh, dtype=np.int64))
        for index, up, down in zip(fresh, upload.tolist(), download.tolist(), strict=True):
            self._nodes[index] = node = Node(index, up, down)
            node.until = -inf if self._churns else inf
        found = [self._nodes[index] for index in indices]
        self._look([node for node in found if node.until <= self.now])
        return found

    def add(self, job: Job) -> None:
        """Give a node its next job; it waits for the one before."""
        node = job.node
        if node.jobs:
            job.pending += 1
            next(reversed(node.jobs)).then = job
        node.jobs[job] = None
        node.holds += 1

    def retire(self, round: Round) -> None:
        """Note that nobody reads from the jobs of a round any more."""
        for job in filter(None, round.jobs):
            job.node.holds -= 1

    def advance(self) -> None:
        """Play all that happens at the next moment at which anything does."""
        time = self._next()
        if time == inf:  # only where nobody is there to give up on a node
            raise NoNodesLeft("the only node is offline for good.")
        self._play(time)

    def wait_until(self, time_s: float) -> None:
        """Play all that happens up to a time, and set the clock to it."""
        while (time := self._next()) <= time_s:
            self._play(time)
        self.now = time_s

    def begin(self, job: Job) -> None:
        """Make a job due that waits for nothing."""
        self._at(self.now, self._due, job)

    def send(self, rows: Iterable[Row], trained: bool | None) -> None:
        """Send the h of a job to its readers, or tell them that there is none."""
        for row in rows:
            if not trained:
                self._miss(row, "untrained")
            elif row.sender is row.receiver:
                self._arrive(row)
            elif row.latency:
                self._at(self.now + row.latency, self._transfer, row)
            else:
                self._transfer(row)

    # --- time ---------------------------------------------------------------------------------

    def _at(self, time: float, action: Callable[[Any], None], what: Any) -> None:
        heappush(self._events, (time, next(self._order), action, what))

    def _next(self) -> float:
        end = self._flows.next_end(self.now)
        return min(self._events[0][0], end) if self._events else end

    def _play(self, time: float) -> None:
        self.now = time
        while self._events and self._events[0][0] <= time:
            _, _, action, what = heappop(self._events)
            action(what)
        for row in self._flows.ended(time):
            if row.lost:
                self._at(time + self.timeout_s, self._lose, row)
            else:
                self._arrive(row)

    # --- jobs ---------------------------------------------------------------------------------

    def _due(self, job: Job) -> None:
        if job.trained is not None:
            return
        node = job.node
        node.job = job
        self._watch(node)
        if node.online:
            if job.start != job.start:  # NaN: not begun when the node came back just now
                self._train(job)
            return
        if node.known:
            if job.round.trained or not node.spent:
                self._decide(job, trained=False)
                return
            node.silent_since = None  # nobody is further: a timeout for every round
        self._silence(node)

    def _train(self, job: Job) -> None:
        job.start = self.now
        job.finish = self.now + job.seconds
        self._at(job.finish, self._finish, job)

    def _finish(self, job: Job) -> None:
        if job.trained is None and job.finish == self.now:  # else it was paused or given up
            self._decide(job, trained=True)

    def _decide(self, job: Job, trained: bool) -> None:
        job.trained = trained
        node, round = job.node, job.round
        del node.jobs[job]
        if node.job is job:
            node.job = None
        round.undecided -= 1
        round.settled = self.now
        if not trained:
            node.spent = True
        else:
            round.trained += 1
            if self._churns and round.trained == 1:
                for other in filter(None, round.jobs):
                    if other.node.known:
                        self._at(self.now, self._leave_behind, other)
        if job.then is not None:
            self._need_less(job.then)
        self._decided(job)

    def _leave_behind(self, job: Job) -> None:
        """Give up a job in whose round others have gone on, if its node is known to be gone."""
        if job.trained is None and job.node.known:
            for earlier in tuple(job.node.jobs):
                if earlier.round.number <= job.round.number:
                    self._decide(earlier, trained=False)

    def _need_less(self, job: Job) -> None:
        job.pending -= 1
        if not job.pending:
            self._at(self.now, self._due, job)  # not at once: chains of jobs can be long

    # --- rows ---------------------------------------------------------------------------------

    def _transfer(self, row: Row) -> None:
        if row.reader.trained is not None:
            return
        if self._churns:
            for end in (row.sender, row.receiver):
                self._watch(end)
            gone = [end for end in (row.sender, row.receiver) if not end.online]
            if any(end.known for end in gone):
                self._miss(row, _who_is_gone(row))
                return
            for end in gone:
                self._silence(end)
        self._flows.start(row, self.now)

    def _arrive(self, row: Row) -> None:
        row.arrived = self.now
        if row.reader.trained is None:
            self._need_less(row.reader)

    def _lose(self, row: Row) -> None:
        self._miss(row, "lost")

    def _miss(self, row: Row, reason: str) -> None:
        if row.reader.trained is None:
            row.reason = reason
            self._need_less(row.reader)

    # --- who is there -------------------------------------------------------------------------

    def _look(self, nodes: Sequence[Node]) -> None:
        """Find out who is online now, and let them leave and return."""
        if not nodes:
            return
        indices = np.array([node.node for node in nodes])
        online, until = self.network.online(indices, self.now)
        for node, is_on, end in zip(nodes, online.tolist(), until.tolist(), strict=True):
            node.until = end
            if is_on != node.online:
                (self._return if is_on else self._leave)(node)

    def _watch(self, node: Node) -> None:
        """Look after a node that is at work, now and whenever its availability may change."""
        if node.until <= self.now:
            self._look([node])
        if node.wakes_at != node.until < inf:
            node.wakes_at = node.until
            self._at(node.until, self._wake, node)

    def _wake(self, node: Node) -> None:
        if node.job is not None or node.busy:
            self._watch(node)

    def _leave(self, node: Node) -> None:
        self._flows.pause(node, self.now)
        job = node.job
        if job is not None and job.finish == self.now:
            job = None  # what ends in the moment in which a node leaves has ended
        if job is not None:
            job.left, job.finish = job.finish - self.now, nan
        if job is not None or node.stalled:
            self._silence(node)

    def _return(self, node: Node) -> None:
        self._flows.resume(node, self.now)
        node.silent_since, node.known = None, False
        job = node.job
        if job is None:
            return
        if job.start != job.start:  # NaN: not begun
            self._train(job)
        else:
            job.finish = self.now + job.left
            self._at(job.finish, self._finish, job)

    def _silence(self, node: Node) -> None:
        if node.silent_since is None:
            node.silent_since = self.now
            if self.timeout_s < inf:
                self._at(self.now + self.timeout_s, self._unheard, (node, self.now))

    def _unheard(self, silence: tuple[Node, float]) -> None:
        node, since = silence
        if node.until <= self.now:
            self._look([node])
        if node.silent_since != since:
            return
        node.known, node.spent = True, False
        for row in tuple(node.stalled):
            self._flows.stop(row, self.now)
            self._miss(row, _who_is_gone(row))
        if node.job is not None:
            self._decide(node.job, trained=False)
        for job in tuple(node.jobs):
            if job.round.trained:
                self._leave_behind(job)

    def _forget(self) -> None:
        """Drop the nodes that no round holds, unless it is known that they are gone."""
        self._nodes = {
            index: node
            for index, node in self._nodes.items()
            if node.holds or (not node.online and node.until > self.now)
        }


def _who_is_gone(row: Row) -> str:
    return "receiver offline" if row.sender.online else "sender offline"
