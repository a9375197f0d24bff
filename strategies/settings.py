"""The options that every decentralized strategy takes, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict

from flwr.app import MetricRecord, RecordDict

from ..server_free.coding import Codec
from ..server_free.counts import check_count
from ..server_free.errors import PlanError
from ..server_free.orders import INITIAL_RECORD, RECORD
from ..server_free.schedules import check_seed
from .pairs import UNREACHABLE_MODES

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
    codec: str
    unreachable: str
    folder: str | Path | None
    tensorboard: bool
    checkpoint: str | Path | bool | None
    resume: str | Path | None
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
        another (simulation; never more there), else about a minute of work. Larger: fewer
        messages, later news.
    fetch_models : int, optional
        How many slots' models the server fetches for ``evaluate_fn`` and the final model,
        which is their mean. Default: all of up to 16 slots, else 16 spread evenly.
    peer_timeout : float (default: 10.0)
        Seconds without any sign of life after which a node's model counts as missing.
    join_timeout : float (default: 300.0)
        Seconds to wait for ``min_available_nodes``.
    codec : str (default: "none")
        How models travel between clients: "none" as they are; "fp16" or "bf16" in two bytes a
        number; "block-int8:lossy" in one, with the error floor that is accepted by this name. With
        "choco:fp16", "choco:bf16" or "choco:block-int8" coded differences with error feedback
        travel, which leaves no floor: only for :class:`Gossip` over a fixed topology.
    unreachable : str (default: "report")
        What to do about nodes whose peers cannot connect, which the nodes find out before their
        first round. ``"report"`` names the pairs in the log and in ``result.unreachable`` and goes
        on without the models between them; ``"refuse"`` raises ``PeerUnreachable`` before round 1;
        ``"relay"`` sends the models through a third node's peer that both can talk to. The last
        two cost a Flower message more; in ``"relay"`` all pairs are tried.
    folder : str or Path, optional
        Where the run leaves its record: what it is, its metrics as they come, the final model. One
        that holds another run is never written over: the name gets a number. Default:
        DATE-TIME-STRATEGY under the folder in the environment variable ``FLWR_GOSSIP_RUNS``, else
        under ``./runs``. "": nothing is written, as where that variable is empty.
    tensorboard : bool (default: False)
        Whether ``tensorboard`` in the run's folder gets the curves as TensorBoard's event files.
    checkpoint : str or Path or bool, optional
        A folder of this run alone, at the ServerApp, that after every segment has what a new run
        needs to go on; True: ``checkpoints`` in the run's folder. In a deployment the models are
        in the peers, which keep them on disk with ``--store``; elsewhere they are in this folder
        too.
    resume : str or Path, optional
        The ``checkpoint`` of a run that ended early: go on after its last segment, with the same
        numbers, and with further checkpoints there. None or "": begin anew.
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
    codec: str = "none"
    unreachable: str = "report"
    folder: str | Path | None = None
    tensorboard: bool = False
    checkpoint: str | Path | bool | None = None
    resume: str | Path | None = None
    travelling: Sequence[str] = ()
    weighted_by_key: str = "num-examples"
    arrayrecord_key: str = "arrays"
    configrecord_key: str = "config"
    train_metrics_aggr_fn: MetricsFn | None = None
    evaluate_metrics_aggr_fn: MetricsFn | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check_seed(self.seed))
        for name in ("evaluate_every", "min_available_nodes", "rounds_per_message", "fetch_models"):
            if (value := getattr(self, name)) is not None:
                count = check_count(name, value, advice=", or None")
                object.__setattr__(self, name, count)
        _check_number("fraction_evaluate", self.fraction_evaluate, low=0.0, high=1.0)
        for name in ("peer_timeout", "join_timeout"):
            _check_number(name, getattr(self, name), low=1e-3)
        Codec(self.codec)
        if self.unreachable not in UNREACHABLE_MODES:
            raise PlanError(
                f"unreachable is {self.unreachable!r}, allowed is one of {UNREACHABLE_MODES}."
            )
        self._check_folders()
        self._check_keys()

    def _check_folders(self) -> None:
        if not isinstance(self.tensorboard, bool):
            raise PlanError(f"tensorboard is {self.tensorboard!r}, allowed is True or False.")
        for name in ("folder", "checkpoint", "resume"):
            value = getattr(self, name)
            if name == "checkpoint" and isinstance(value, bool):
                continue
            if value is not None and not isinstance(value, str | Path):
                raise PlanError(f"{name} is {value!r}, allowed is the path of a folder, or None.")
        both = self.checkpoint and self.checkpoint is not True and self.resume
        if both and Path(str(self.checkpoint)) != Path(str(self.resume)):
            raise PlanError(
                f"resume is {str(self.resume)!r} and checkpoint {str(self.checkpoint)!r}; a run "
                "that goes on writes its checkpoints where it found one: leave checkpoint out."
            )

    def _check_keys(self) -> None:
        if isinstance(self.travelling, str):
            raise PlanError(
                f"travelling is {self.travelling!r}, allowed is a list of record names: "
                f"[{self.travelling!r}]."
            )
        _check_key("weighted_by_key", self.weighted_by_key, ())
        taken = [RECORD, INITIAL_RECORD]
        keys = [
            ("arrayrecord_key", self.arrayrecord_key),
            ("configrecord_key", self.configrecord_key),
        ]
        for name, key in [*keys, *(("travelling", key) for key in self.travelling)]:
            _check_key(name, key, taken)
            taken.append(key)

    @staticmethod
    def of(options: Options) -> Settings:
        """Return the settings of keyword arguments; an unknown one is an error that lists all."""
        allowed = {field.name for field in fields(Settings)}
        unknown: list[Any] = sorted(set(options) - allowed)
        if unknown:
            raise TypeError(
                f"unknown option {unknown[0]!r}{_meant(unknown[0], allowed)}; allowed are "
                f"{', '.join(sorted(allowed))}."
            )
        return Settings(**options)


_INSTEAD = {
    "fraction_fit": "leave it out: Gossip trains all nodes, Teleportation(num_active=...) some",
    "fraction_train": "leave it out: Gossip trains all nodes, Teleportation(num_active=...) some",
    "initial_parameters": "the model goes into start(initial_arrays=ArrayRecord(...))",
    "k": "write Teleportation(num_active=...)",
    "num_active": "only Teleportation has it; Gossip trains all nodes",
    "num_nodes": "write min_available_nodes, to wait for so many",
    "num_rounds": "it goes into start(num_rounds=...)",
}
"""What to write for what people know from Flower's strategies."""


def _meant(option: str, allowed: Collection[str]) -> str:
    """Return what to do about an option that there is not."""
    if option.startswith("min_") and option.endswith(("_nodes", "_clients")):
        return " (write min_available_nodes)"
    if option in _INSTEAD:
        return f" ({_INSTEAD[option]})"
    close = get_close_matches(option, allowed, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check_number(name: str, value: object, low: float, high: float = math.inf) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= float(str(value)) <= high or value == math.inf:
        upper = "" if high == math.inf else f" to {high:g}"
        raise PlanError(f"{name} is {value!r}, allowed is a number from {low:g}{upper}.")


def _check_key(name: str, key: object, taken: Sequence[str]) -> None:
    if not isinstance(key, str) or not key or "," in key:
        raise PlanError(f"{name} is {key!r}, allowed is a non-empty text without commas.")
    if key in taken:
        raise PlanError(f"{name} is {key!r}, which is in use already; record keys must differ.")
