"""The options that every decentralized strategy takes, checked in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from flwr.app import MetricRecord, RecordDict

from ..server_free.errors import PlanError

__all__ = ["MetricsFn", "Options", "Settings"]

MetricsFn = Callable[[list[RecordDict], str], MetricRecord]


class Options(TypedDict, total=False):
    """Keyword arguments of :class:`Gossip` and :class:`Teleportation`; see :class:`Settings`."""

    seed: int
    evaluate_every: int | None
    fraction_evaluate: float
    min_available_nodes: int | None
    rounds_per_message: int | None
    fetch_models: int | None
    peer_timeout: float
    join_timeout: float
    travelling: Sequence[str]
    weighted_by_key: str
    arrayrecord_key: str
    configrecord_key: str
    train_metrics_aggr_fn: MetricsFn | None
    evaluate_metrics_aggr_fn: MetricsFn | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a decentralized strategy.

    Parameters
    ----------
    seed : int (default: 0)
        The only source of randomness: active sets, evaluation samples, sketches.
    evaluate_every : int, optional
        Evaluate after every so many rounds, and after the last. Default: about ten times a run.
    fraction_evaluate : float (default: 1.0)
        Fraction of the nodes that evaluate; 0 switches federated evaluation off.
    min_available_nodes : int, optional
        Wait for this many nodes. Default: ``num-partitions`` of the nodes' config if they
        have it, else 2.
    rounds_per_message : int, optional
        Rounds that one Flower message asks for. Default: 1 where clients may run one after
        another (simulation), else about a minute of work. Larger: fewer messages, later news.
    fetch_models : int, optional
        How many slots' models the server fetches for ``evaluate_fn`` and the final model,
        which is their mean. Default: all of up to 16 slots, else 16 spread evenly.
    peer_timeout : float (default: 10.0)
        Seconds without any sign of life after which a node's model counts as missing.
    join_timeout : float (default: 300.0)
        Seconds to wait for ``min_available_nodes``.
    travelling : sequence of str (default: ())
        Further ArrayRecords (optimizer state, say) that go from client to client with the
        model. The train function returns them under these names, and finds them in its next
        message; they are not there in a slot's first round.
    weighted_by_key, arrayrecord_key, configrecord_key : str
        As in Flower's ``FedAvg``: "num-examples", "arrays", "config".
    train_metrics_aggr_fn, evaluate_metrics_aggr_fn : callable, optional
        ``(list[RecordDict], weighted_by_key) -> MetricRecord`` over the nodes of one round.
        Default: mean over the nodes; also ``-weighted`` by examples, and in evaluations
        ``-min`` and ``-max`` over the nodes.
    """

    seed: int = 0
    evaluate_every: int | None = None
    fraction_evaluate: float = 1.0
    min_available_nodes: int | None = None
    rounds_per_message: int | None = None
    fetch_models: int | None = None
    peer_timeout: float = 10.0
    join_timeout: float = 300.0
    travelling: Sequence[str] = ()
    weighted_by_key: str = "num-examples"
    arrayrecord_key: str = "arrays"
    configrecord_key: str = "config"
    train_metrics_aggr_fn: MetricsFn | None = None
    evaluate_metrics_aggr_fn: MetricsFn | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise PlanError(f"seed is {self.seed}, allowed is 0 or more.")
        if not 0.0 <= self.fraction_evaluate <= 1.0:
            raise PlanError(f"fraction_evaluate is {self.fraction_evaluate}, allowed is 0 to 1.")
        counts = ("evaluate_every", "min_available_nodes", "rounds_per_message", "fetch_models")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PlanError(f"{name} is {value}, allowed is 1 or more, or None.")
        for name in ("peer_timeout", "join_timeout"):
            if not getattr(self, name) > 0:
                raise PlanError(f"{name} is {getattr(self, name)}, allowed is more than 0 seconds.")
        for name in self.travelling:
            if not name or "," in name or name in (self.arrayrecord_key, self.configrecord_key):
                raise PlanError(
                    f"travelling names {name!r}; allowed are record names without commas other "
                    f"than {self.arrayrecord_key!r} and {self.configrecord_key!r}."
                )

    @staticmethod
    def of(options: Options) -> Settings:
        """Return the settings of keyword arguments; an unknown one is an error that lists all."""
        allowed = {field.name for field in fields(Settings)}
        unknown: list[Any] = sorted(set(options) - allowed)
        if unknown:
            raise TypeError(f"unknown option {unknown[0]!r}; allowed are {sorted(allowed)}.")
        return Settings(**options)
