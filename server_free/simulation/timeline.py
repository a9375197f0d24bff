"""The timeline: what decentralized training costs in seconds and bytes on a given network.

There is no barrier between rounds. A slot begins round t as soon as its holder has the h of round
t - 1 of all its sources (or has given up on them) and is done with its own earlier round; an h
goes to the nodes that will read it as soon as it is there. Within a node nothing is transferred;
between two nodes a transfer takes the latency and then the bytes at the rate that
:mod:`.flows` gives it. What offline nodes do to the others is in :mod:`.clock`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import inf, nan

import numpy as np

from ..counts import check_count
from ..errors import NoNodesLeft, PlanError
from ..plans import VACANT, Plan
from ..topologies import Topology
from .clock import Clock
from .jobs import Job, Round, Row
from .networks import Network
from .steps import Step

__all__ = ["Timeline"]


class Timeline:
    """Plays a plan on a network, round by round, on a simulated clock.

    Parameters
    ----------
    network : Network
    plan : Plan
        Whose rounds are played.
    model_bytes : int
        Bytes of one model on the wire, 0 or more.
    timeout_s : float (default: 10.0)
        Seconds that others wait for a node that is offline, or for a transfer that broke off. A
        slow node is waited for as long as it takes.
    replan_every : int, optional
        Rounds in a segment. Before each segment the server learns who is online, and the others
        are not live in it; to ask the server is a barrier: the segment begins, with the exchange
        after the last round, once all slots are done. Without it there are no barriers, and who is
        offline keeps its place in all rounds: its rows are missing.
    segment_s : float (default: 0.0)
        Seconds that go by before each segment, for the server's messages.

    Notes
    -----
    As on real links, a faster node may delay others: who is early shares a link with who is late.
    A node that is alone in the world (n = 1) is never given up. When all nodes of a segment are
    offline at once, a round goes by every ``timeout_s``. Memory is that of the rounds that some
    slots have begun and others have not finished, whatever the number of nodes, but for live
    lists.

    Examples
    --------
    >>> plan = Plan(topologies.ring(4), AllActive(4), num_rounds=2)
    >>> timeline = Timeline(Network.lan(compute_s=1.0), plan, model_bytes=1_000_000)
    >>> [timeline.play(round).seconds for round in (1, 2)]
    [1.0, 2.0162]
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        model_bytes: int,
        *,
        timeout_s: float = 10.0,
        replan_every: int | None = None,
        segment_s: float = 0.0,
    ) -> None:
        _check(plan, model_bytes, timeout_s, replan_every, segment_s)
        network.check(plan.num_nodes)
        self.network, self.model_bytes = network, model_bytes
        self._first_plan = self._plan = plan
        self._replans = replan_every is not None and network.availability is not None
        self._length = replan_every or max(1, plan.num_rounds)
        self._segment_s = segment_s
        self._lives: list[tuple[int, tuple[int, ...]]] = []
        self._last = 0
        self._played = 0
        self._rounds: dict[int, Round] = {}
        self._sources = lru_cache(maxsize=64)(lambda phase: _sources(plan.topology, phase + 1))
        self._clock = Clock(network, timeout_s if plan.num_nodes > 1 else inf, self._decided)

    @property
    def plan(self) -> Plan:
        """The plan with all live lists decided so far: right for every round played."""
        return replace(self._first_plan, live=tuple(self._lives)) if self._lives else self._plan

    def play(self, round: int) -> Step:
        """Return what happens in ``round``; rounds are played in order, from 1.

        Raises
        ------
        PlanError
            For another round than the next, and for one that the plan does not have.
        NoNodesLeft
            When every node has gone for good.
        """
        if round != self._played + 1:
            raise PlanError(f"round is {round}, the next one to play is {self._played + 1}.")
        if round > self._plan.num_rounds:
            raise PlanError(f"round is {round}, but the plan has {self._plan.num_rounds} rounds.")
        if round > self._last:
            self._begin_segment(round)
        current = self._round(round)
        while current.undecided:
            self._clock.advance()
        self._played = round
        if (before := self._rounds.pop(round - 1, None)) is not None:
            self._clock.retire(before)
            current.settled = max(current.settled, before.settled)
        return self._step(current)

    # --- segments and rounds ------------------------------------------------------------------

    def _begin_segment(self, first: int) -> None:
        before = self._rounds.get(first - 1)
        time_s = (0.0 if before is None else before.settled) + self._segment_s
        self._clock.wait_until(self._replan(first, time_s) if self._replans else time_s)
        self._last = min(first + self._length - 1, self._plan.num_rounds)
        self._round(first)
        for job in filter(None, before.jobs if before is not None else ()):
            self._send(job)

    def _replan(self, first: int, time_s: float) -> float:
        """Let those who are online be live from round ``first`` on; return the time they are."""
        everyone = tuple(range(self._plan.num_nodes))
        nodes = np.array(everyone)
        online, until = self.network.online(nodes, time_s)
        while not online.any():
            time_s = float(until.min())
            if time_s == inf:
                raise NoNodesLeft(f"from round {first} on every node is offline for good.")
            online, until = self.network.online(nodes, time_s)
        live = tuple(np.flatnonzero(online).tolist())
        if live != (self._lives[-1][1] if self._lives else everyone):
            if first > 1 and not self._lives:
                self._lives.append((1, everyone))
            self._lives.append((first, live))
            self._plan = self._plan.recent(first).with_live(first, live)
        return time_s

    def _round(self, number: int) -> Round:
        """Return a round, made when it is first asked for."""
        if number not in self._rounds:
            self._rounds[number] = round = Round(number)
            self._add_jobs(round)
            if number > 1:
                self._add_rows(round, self._rounds[number - 1])
            for job in filter(None, round.jobs):
                if not job.pending:
                    self._clock.begin(job)
        return self._rounds[number]

    def _add_jobs(self, round: Round) -> None:
        active = self._plan.active(round.number)
        held = [(slot, node) for slot, node in enumerate(active) if node != VACANT]
        indices = [node for _, node in held]
        seconds = self.network.compute(np.array(indices, dtype=np.int64), round.number)
        nodes = self._clock.nodes(indices)
        round.jobs = [None] * len(active)
        round.undecided = len(held)
        for (slot, _), node, needed in zip(held, nodes, seconds.tolist(), strict=True):
            round.jobs[slot] = job = Job(round, slot, node, needed)
            self._clock.add(job)

    def _add_rows(self, round: Round, before: Round) -> None:
        """Add what the jobs of a round read: the rows of W of the round before."""
        sources = self._sources(self._plan.topology.phase(before.number))
        for job in filter(None, round.jobs):
            for slot in sources[job.slot]:
                if (source := before.jobs[slot]) is not None:
                    row = Row(source.node, job, slot, self.model_bytes)
                    round.rows.append(row)
                    source.rows.append(row)
                    job.pending += 1
        between = [row for row in round.rows if row.sender is not row.receiver]
        senders = np.array([row.sender.node for row in between], dtype=np.int64)
        receivers = np.array([row.receiver.node for row in between], dtype=np.int64)
        latency = self.network.latency(senders, receivers, before.number).tolist()
        lost = self.network.lost(senders, receivers, before.number).tolist()
        for row, seconds, breaks in zip(between, latency, lost, strict=True):
            row.latency, row.lost = seconds, breaks

    def _decided(self, job: Job) -> None:
        if job.round.number < self._last:
            self._round(job.round.number + 1)
            self._send(job)

    def _send(self, job: Job) -> None:
        rows, job.rows = job.rows, []
        self._clock.send(rows, job.trained)

    # --- the record ---------------------------------------------------------------------------

    def _step(self, round: Round) -> Step:
        jobs = round.jobs
        trained = [job if job is not None and job.trained else None for job in jobs]
        wanted = [row for row in round.rows if row.reader.trained]
        absent = {job.node.node for job in filter(None, jobs) if not job.trained}
        sent: dict[int, int] = {}
        received: dict[int, int] = {}
        for row in round.rows:
            if row.sender is not row.receiver and row.sent:
                _count(sent, row.sender.node, row.sent)
                if row.arrived == row.arrived:
                    _count(received, row.receiver.node, row.sent)
        return Step(
            round=round.number,
            plan=self._plan,
            active=tuple(VACANT if job is None else job.node.node for job in trained),
            start=np.array([nan if job is None else job.start for job in trained]),
            finish=np.array([nan if job is None else job.finish for job in trained]),
            seconds=round.settled,
            arrivals={(r.reader.slot, r.slot): r.arrived for r in wanted if not r.reason},
            missing={
                (r.reader.slot, round.number - 1, r.slot): r.reason for r in wanted if r.reason
            },
            sent=sent,
            received=received,
            offline=frozenset(absent | {_gone(row) for row in wanted if "offline" in row.reason}),
        )


def _count(totals: dict[int, int], node: int, size: int) -> None:
    totals[node] = totals.get(node, 0) + size


def _gone(row: Row) -> int:
    return (row.sender if row.reason.startswith("sender") else row.receiver).node


def _sources(topology: Topology, round: int) -> list[list[int]]:
    """Return the slots whose h each slot reads, its own always, sorted."""
    return [
        sorted({slot} | topology.weights(slot, round).keys()) for slot in range(topology.num_nodes)
    ]


def _check(
    plan: Plan, model_bytes: int, timeout_s: float, replan_every: int | None, segment_s: float
) -> None:
    check_count("model_bytes", model_bytes, least=0)
    for name, seconds in (("timeout_s", timeout_s), ("segment_s", segment_s)):
        if not 0 <= seconds < inf:
            raise PlanError(f"{name} is {seconds!r}, allowed are finite seconds from 0.")
    if replan_every is None:
        return
    check_count("replan_every", replan_every)
    if plan.live:
        raise PlanError(
            "the plan has live lists of its own, but with replan_every the timeline decides who "
            "is live; give a plan without them, or no replan_every."
        )
