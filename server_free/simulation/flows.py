"""Flows: transfers that share the nodes' bandwidth, as fluids.

The rate of a transfer is the smaller of its sender's upload and its receiver's download, each
divided by the number of transfers that run there, and it changes whenever a transfer at one of
the two starts, ends or stalls. No transfer is faster in this model than under max-min fairness,
which would give what one end leaves unused to the others there: times are on the safe side, and
a change concerns the transfers of two nodes instead of all. In Gossip and Teleportation, where
all transfers are of one size and start in waves, both models agree wherever the links of one
kind (mostly uploads) are the narrow ones.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Generic, TypeVar

__all__ = ["Flow", "Flows", "Port"]


F = TypeVar("F", bound="Flow")


class Port(Generic[F]):
    """The links of a node: its transfers that run in each direction, and those that stall.

    Parameters
    ----------
    node : int
    up, down : float
        Bytes per second, above 0, may be infinite.
    """

    __slots__ = ("down", "down_share", "into", "node", "online", "out", "stalled", "up", "up_share")

    def __init__(self, node: int, up: float, down: float) -> None:
        self.node, self.up, self.down = node, up, down
        self.up_share, self.down_share = up, down
        self.online = True
        # Dictionaries as sets that keep their order, so that runs are the same again.
        self.out: dict[F, None] = {}
        self.into: dict[F, None] = {}
        self.stalled: dict[F, None] = {}

    @property
    def busy(self) -> bool:
        """Whether a transfer runs or stalls here."""
        return bool(self.out or self.into or self.stalled)


class Flow:
    """One transfer: where it goes, and how far it is.

    Parameters
    ----------
    sender, receiver : Port
        Of different nodes.
    left : float
        Bytes to go, 0 or more; up to date at ``since``.
    """

    __slots__ = ("due", "left", "rate", "receiver", "scheduled", "sender", "since")

    def __init__(self, sender: Port[Any], receiver: Port[Any], left: float) -> None:
        self.sender, self.receiver, self.left = sender, receiver, left
        self.rate = self.since = 0.0
        self.due = self.scheduled = inf

    @property
    def is_stalled(self) -> bool:
        """Whether an end is offline."""
        return not (self.sender.online and self.receiver.online)


class Flows(Generic[F]):
    """All transfers, by the time at which the next one ends.

    Changes at one moment (:meth:`start`, :meth:`stop`, :meth:`pause`, :meth:`resume`) take effect
    together, when :meth:`next_end` is asked for.
    """

    def __init__(self) -> None:
        # A flow is in the heap under `scheduled`, never later than it is `due`: one that slows
        # down is put back when its old time comes, which spares most of the pushes.
        self._heap: list[tuple[float, int, F]] = []
        self._order = count()
        self._up: dict[Port[F], None] = {}
        self._down: dict[Port[F], None] = {}

    def start(self, flow: F, now: float) -> None:
        """Let a new transfer run, or stall while an end is offline."""
        flow.since = now
        if flow.is_stalled:
            flow.sender.stalled[flow] = flow.receiver.stalled[flow] = None
        else:
            self._insert(flow)

    def stop(self, flow: F, now: float) -> None:
        """Take a transfer out before its end; ``left`` says how many bytes were not sent."""
        if flow.is_stalled:
            del flow.sender.stalled[flow], flow.receiver.stalled[flow]
        else:
            self._remove(flow, now)

    def pause(self, port: Port[F], now: float) -> None:
        """Take a node offline: its transfers stall, but for those that end just now."""
        for flow in (*port.out, *port.into):
            if flow.due > now:
                self._remove(flow, now)
                flow.sender.stalled[flow] = flow.receiver.stalled[flow] = None
        port.online = False

    def resume(self, port: Port[F], now: float) -> None:
        """Bring a node back online: transfers whose other end is online go on."""
        port.online = True
        for flow in tuple(port.stalled):
            if not flow.is_stalled:
                del flow.sender.stalled[flow], flow.receiver.stalled[flow]
                flow.since = now
                self._insert(flow)

    def next_end(self, now: float) -> float:
        """Return when the next transfer ends, infinite if none runs; ``now`` is the present."""
        if self._up or self._down:
            self._share(now)
        heap = self._heap
        while heap:
            time, _, flow = heap[0]
            if flow.scheduled == time == flow.due:
                return time
            heappop(heap)
            if flow.scheduled == time:
                self._schedule(flow)
        return inf

    def ended(self, now: float) -> list[F]:
        """Return the transfers that end at ``now``, taken out, in the order they were put in."""
        done = []
        while self._heap and self._heap[0][0] <= now:
            time, _, flow = heappop(self._heap)
            if flow.scheduled == time == flow.due:
                self._remove(flow, now)
                flow.left = 0.0
                done.append(flow)
            elif flow.scheduled == time:
                self._schedule(flow)
        return done

    def _insert(self, flow: F) -> None:
        flow.sender.out[flow] = flow.receiver.into[flow] = None
        self._up[flow.sender] = self._down[flow.receiver] = None

    def _remove(self, flow: F, now: float) -> None:
        del flow.sender.out[flow], flow.receiver.into[flow]
        self._up[flow.sender] = self._down[flow.receiver] = None
        self._progress(flow, now)
        flow.rate = 0.0
        flow.due = flow.scheduled = inf

    def _share(self, now: float) -> None:
        """Divide the links anew where something changed, and move the ends of what they carry."""
        for port in self._up:
            port.up_share = port.up / (len(port.out) or 1)
        for port in self._down:
            port.down_share = port.down / (len(port.into) or 1)
        for port in self._up:
            share = port.up_share
            for flow in port.out:
                other = flow.receiver.down_share
                if (rate := share if share < other else other) != flow.rate:
                    self._change(flow, rate, now)
        for port in self._down:
            share = port.down_share
            for flow in port.into:
                other = flow.sender.up_share
                if (rate := share if share < other else other) != flow.rate:
                    self._change(flow, rate, now)
        self._up.clear()
        self._down.clear()

    def _change(self, flow: F, rate: float, now: float) -> None:
        self._progress(flow, now)
        flow.rate = rate
        flow.due = now + flow.left / rate
        if flow.due < flow.scheduled:
            self._schedule(flow)

    def _progress(self, flow: F, now: float) -> None:
        if now > flow.since and flow.rate:
            flow.left = max(0.0, flow.left - flow.rate * (now - flow.since))
        flow.since = now

    def _schedule(self, flow: F) -> None:
        flow.scheduled = flow.due
        heappush(self._heap, (flow.due, next(self._order), flow))
