"""The network of a simulation: how fast each node computes, sends and receives, and who is away.

A :class:`Network` is a description without a number of nodes and without a clock; its answers are
pure functions of (seed, node, round, time), drawn when asked for, so that a hundred thousand nodes
of which sixteen work cost what sixteen cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from math import inf, nan
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..schedules import check_seed
from .availability import Availability, OnlineTrace, OnOff
from .distributions import Distribution, LogNormal, uniforms

__all__ = ["Network", "Quantity", "Stragglers"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Quantity: TypeAlias = float | Sequence[float] | Floats | Distribution
"""A number (all nodes alike), one number a node, or what each node's is drawn from, once."""

Latency: TypeAlias = Quantity | Callable[[Ints, Ints], Floats]

_RATES = ("upload_bytes_per_s", "download_bytes_per_s")
_QUANTITIES = ("compute_s", "latency_s", *_RATES)
_JITTERS = ("compute_jitter", "latency_jitter")


@dataclass(frozen=True, slots=True)
class Stragglers:
    """Some nodes compute slower: the same ones always, or others in every round.

    Parameters
    ----------
    share : float
        Probability, 0 to 1, that a node is slow (that it is slow in a round, if ``each_round``).
    factor : float
        How many times as long a slow node takes, 1 or more.
    each_round : bool (default: False)
        Whether this is drawn anew for each node and round.
    """

    share: float
    factor: float
    each_round: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise PlanError(f"Stragglers: share is {self.share!r}, allowed is 0 to 1.")
        if not 1 <= self.factor < inf:
            raise PlanError(f"Stragglers: factor is {self.factor!r}, allowed is a number from 1.")

    def factors(self, nodes: Ints, round: int, seed: int) -> Floats:
        """Return by what each node's compute time is multiplied, (m,) float64."""
        drawn, _ = uniforms(seed, "stragglers", nodes, round if self.each_round else 0)
        return np.where(drawn < self.share, self.factor, 1.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network:
    """What computing and communicating cost each node, in seconds and bytes per second.

    Parameters
    ----------
    compute_s : number, one a node, or Distribution (default: 1.0)
        Seconds that a node trains in a round, 0 or more.
    latency_s : number, one a node, Distribution, (n, n) array or callable (default: 0.0)
        Seconds before the first byte of a transfer arrives, the request included, 0 or more: the
        *sum* of what sender and receiver have here. An (n, n) array [sender, receiver] or a
        callable ``(senders, receivers) -> (m,)`` gives the whole for each pair.
    upload_bytes_per_s, download_bytes_per_s : number, one a node, or Distribution (default: inf)
        What a node sends and receives at most, over all its transfers, above 0. 1 Mbit/s is
        125,000 bytes per second.
    compute_jitter, latency_jitter : Distribution, optional
        Factors drawn for each node and round, and for each transfer.
    stragglers : Stragglers, optional
    availability : OnOff, OnlineTrace or another Availability, optional
        When nodes are online; without it, always.
    loss_probability : float (default: 0.0)
        Probability, 0 to 1, that a transfer breaks off at its end.
    seed : int (default: 0)
        The only source of all draws. A node's draws do not depend on the number of nodes.

    Raises
    ------
    PlanError
        For a value that cannot be, here or, for what is drawn, when it is asked for.
    """

    compute_s: Quantity = 1.0
    latency_s: Latency = 0.0
    upload_bytes_per_s: Quantity = inf
    download_bytes_per_s: Quantity = inf
    compute_jitter: Distribution | None = None
    latency_jitter: Distribution | None = None
    stragglers: Stragglers | None = None
    availability: Availability | None = None
    loss_probability: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0 <= self.loss_probability <= 1:
            raise PlanError(f"loss_probability is {self.loss_probability!r}, allowed is 0 to 1.")
        for name in _QUANTITIES:
            object.__setattr__(self, name, _described(name, getattr(self, name)))
        for name in _JITTERS:
            if getattr(self, name) is not None and not _draws(getattr(self, name)):
                raise PlanError(
                    f"{name} is {getattr(self, name)!r}, allowed is a distribution of factors, "
                    "for instance LogNormal(1, 0.2)."
                )

    def check(self, num_nodes: int) -> None:
        """Raise ``PlanError`` where this network has numbers for fewer nodes than there are."""
        for name in _QUANTITIES:
            table = getattr(self, name)
            if isinstance(table, np.ndarray) and len(table) < num_nodes:
                raise PlanError(
                    f"{name} has values for {len(table)} nodes, but there are {num_nodes}; "
                    "give one for each."
                )
        if isinstance(self.availability, OnlineTrace):
            absent = set(range(num_nodes)).difference(self.availability.nodes)
            if absent:
                raise PlanError(
                    f"the availability trace lacks {len(absent)} of {num_nodes} nodes, first node "
                    f"{min(absent)}; give it an interval, (0, inf) if it never leaves."
                )

    def compute(self, nodes: Ints, round: int) -> Floats:
        """Return how long each node trains in a round, (m,) seconds."""
        seconds = self._of_nodes("compute_s", nodes)
        if self.compute_jitter is not None:
            factors = self.compute_jitter.draw(*uniforms(self.seed, "compute-jitter", nodes, round))
            seconds = seconds * _checked("compute_jitter", factors, nodes)
        if self.stragglers is not None:
            seconds = seconds * self.stragglers.factors(nodes, round, self.seed)
        return seconds

    def latency(self, senders: Ints, receivers: Ints, round: int) -> Floats:
        """Return the latency of transfers that start in a round, (m,) seconds."""
        given = self.latency_s
        if isinstance(given, np.ndarray) and given.ndim == 2:
            seconds = given[senders, receivers]
        elif callable(given):
            seconds = _checked("latency_s", np.asarray(given(senders, receivers), np.float64))
        else:
            ends = self._of_nodes("latency_s", np.concatenate([senders, receivers]))
            seconds = ends[: len(senders)] + ends[len(senders) :]
        if self.latency_jitter is None:
            return seconds
        drawn = uniforms(self.seed, "latency-jitter", receivers, round, senders)
        return seconds * _checked("latency_jitter", self.latency_jitter.draw(*drawn))

    def rates(self, nodes: Ints) -> tuple[Floats, Floats]:
        """Return what each node sends and receives at most, twice (m,) bytes per second."""
        upload, download = (self._of_nodes(name, nodes) for name in _RATES)
        return upload, download

    def lost(self, senders: Ints, receivers: Ints, round: int) -> Bools:
        """Return which transfers of models of a round break off, (m,)."""
        if self.loss_probability == 0.0:
            return np.zeros(len(senders), np.bool_)
        return uniforms(self.seed, "loss", receivers, round, senders)[0] < self.loss_probability

    def online(self, nodes: Ints, time_s: float) -> tuple[Bools, Floats]:
        """Return who is online at a time, and until when that surely stays so, both (m,)."""
        if self.availability is None:
            return np.ones(len(nodes), np.bool_), np.full(len(nodes), inf)
        return self.availability.online(nodes, time_s, self.seed)

    def _of_nodes(self, name: str, nodes: Ints) -> Floats:
        given = getattr(self, name)
        if isinstance(given, np.ndarray):
            return given[nodes]
        if _draws(given):
            return _checked(name, given.draw(*uniforms(self.seed, name, nodes)), nodes)
        return np.full(len(nodes), float(given))

    @classmethod
    def lan(cls, **changes: Any) -> Network:
        """Return an example of machines at one switch: 0.1 ms an end, 1 Gbit/s both ways."""
        return _example(changes, latency_s=1e-4, up=125e6, down=125e6)

    @classmethod
    def sites(cls, **changes: Any) -> Network:
        """Return an example of organisations: 10 ms an end, 100 Mbit/s both ways."""
        return _example(changes, latency_s=0.01, up=12.5e6, down=12.5e6)

    @classmethod
    def home(cls, **changes: Any) -> Network:
        """Return an example of home lines: 10 ms an end, median 20 Mbit/s up and 100 down."""
        up, down = LogNormal(2.5e6, 0.5), LogNormal(12.5e6, 0.5)
        return _example(changes, latency_s=0.01, up=up, down=down)

    @classmethod
    def mobile(cls, **changes: Any) -> Network:
        """Return an example of phones: 25 ms an end, median 10 Mbit/s up and 40 down.

        They are online for ten minutes and offline for one in the mean; compute times vary by 20 %.
        """
        up, down = LogNormal(1.25e6, 0.7), LogNormal(5e6, 0.7)
        more = {"availability": OnOff(600, 60), "compute_jitter": LogNormal(1.0, 0.2)}
        return _example(more | changes, latency_s=0.025, up=up, down=down)


def _example(changes: dict[str, Any], *, latency_s: float, up: Quantity, down: Quantity) -> Network:
    unknown = changes.keys() - {field.name for field in fields(Network)}
    if unknown:
        raise PlanError(f"Network has no {sorted(unknown)[0]!r}; see its parameters.")
    network = Network(latency_s=latency_s, upload_bytes_per_s=up, download_bytes_per_s=down)
    return replace(network, **changes)


def _draws(given: object) -> bool:
    return callable(getattr(given, "draw", None))


def _described(name: str, given: Any) -> Latency:
    """Return a quantity that can be asked: a number, a read-only table, or what was given."""
    if isinstance(given, int | float | np.integer | np.floating):
        return float(_checked(name, np.array([given], dtype=np.float64))[0])
    if _draws(given) or (callable(given) and name == "latency_s"):
        return given  # type: ignore[no-any-return]
    return _table(name, given)


def _table(name: str, given: object) -> Floats:
    """Return one value a node as a read-only array; for latencies also one a pair."""
    try:
        values = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array(nan)
    if not values.ndim:
        raise PlanError(
            f"{name} is {given!r}, allowed are a number, one number a node, or a distribution."
        )
    square = values.ndim == 2 and values.shape[0] == values.shape[1] and name == "latency_s"
    if not (values.ndim == 1 or square) or not values.size:
        also = " or (n, n)" if name == "latency_s" else ""
        raise PlanError(f"{name} has shape {values.shape}, allowed is (n,){also}, n >= 1.")
    _checked(name, values)
    values.flags.writeable = False
    return values


def _checked(name: str, values: Floats, nodes: Ints | None = None) -> Floats:
    """Return the values; ``PlanError`` names the first that cannot be."""
    good = values > 0 if name in _RATES else (values >= 0) & (values < inf)
    if not good.all():
        place = tuple(int(index) for index in np.argwhere(~good)[0])
        whose = place[0] if nodes is None else int(nodes[place[0]])
        where = f" of node {whose}" if values.size > 1 or nodes is not None else ""
        allowed = "bytes per second above 0" if name in _RATES else "a finite number from 0"
        raise PlanError(f"{name}{where} is {float(values[place])!r}, allowed is {allowed}.")
    return values
