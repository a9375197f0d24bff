"""A node's reply, read: all that is in it came from a client and is checked before it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from logging import WARNING
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.supercore import log
from numpy.typing import NDArray

from ..server_free.errors import GossipError, ModError, PlanError, one_line
from ..server_free.models import Model, check_finite, digest, signature
from ..server_free.orders import RECORD, Loss, Report, read
from ..server_free.reachability import Probed
from ..server_free.sketches import NUM_BUCKETS

__all__ = ["Expected", "Reported", "read_reply"]

_COUNTS = ("bytes_fetched", "bytes_published", "bytes_relayed")


@dataclass(frozen=True, slots=True)
class Expected:
    """What replies are held against.

    Parameters
    ----------
    num_nodes : int
        The nodes of the training.
    last : int
        The last round that was asked for.
    signature : str
        Digest of names, shapes and dtypes that every model has.
    arrays_key : str
        Where a model is, if one was asked for.
    """

    num_nodes: int
    last: int
    signature: str
    arrays_key: str


@dataclass(frozen=True, slots=True)
class Reported:
    """What a reply says.

    ``rounds`` are those completed; ``sketch`` is (``NUM_BUCKETS``,) float32; ``model`` is the
    mixed model, None where there is none.
    """

    report: Report
    rounds: tuple[int, ...]
    losses: tuple[Loss, ...]
    probed: Probed
    sketch: NDArray[np.float32] | None
    model: Model | None


def read_reply(node: int, content: RecordDict, expected: Expected) -> Reported:
    """Return what the reply of ``node`` says.

    Losses that cannot be are left out and logged: they may be what others said, handed on.

    Raises
    ------
    ModError
        If the reply has no report.
    PlanError, PlanMismatch
        If the report is not one of this version, or a field of it cannot be; the text names the
        node and the field.
    """
    record = content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        raise ModError(
            "its reply has no report: gossip_mod does not wrap this function; write "
            "ClientApp(mods=[gossip_mod]), not only @app.train(mods=[gossip_mod])"
        )
    report = read(Report, dict(record.items()), f"node {node}")
    _check_numbers(report, node)
    key, name = expected.arrays_key, "rounds"
    try:  # name: the field that is read next, for the error
        rounds = _rounds(report.rounds, expected.last)
        name = "losses"
        losses = _plausible(Loss.load(report.losses), node, expected)
        name = "probed"
        probed = Probed.load(report.probed, node, expected.num_nodes)
        name = "sketch"
        sketch = _sketch(report.sketch)
        name = key
        model = _model(content.get(key), expected.signature)
    except (GossipError, ValueError, TypeError) as error:
        raise _wrong(name, node, str(error)) from error
    return Reported(report, rounds, losses, probed, sketch, model)


def _wrong(name: str, node: int, what: str) -> PlanError:
    return PlanError(f"field {name!r} in the report of node {node}: {what}")


def _check_numbers(report: Report, node: int) -> None:
    if not (math.isfinite(report.seconds) and report.seconds >= 0):
        raise _wrong("seconds", node, f"{report.seconds} is no number of seconds from 0")
    for name in _COUNTS:
        if (value := getattr(report, name)) < 0:
            raise _wrong(name, node, f"{value} is no number of bytes from 0")


def _rounds(text: str, last: int) -> tuple[int, ...]:
    rounds = tuple(int(part) for part in text.split(",") if part)
    if list(rounds) != sorted(set(rounds)) or (rounds and not 1 <= rounds[0] <= rounds[-1] <= last):
        raise ValueError(f"{text!r:.100} are no rounds in order, from 1 to {last}")
    return rounds


def _plausible(losses: list[Loss], node: int, expected: Expected) -> tuple[Loss, ...]:
    nodes = range(expected.num_nodes)
    found = tuple(
        loss
        for loss in losses
        if 0 <= loss.round <= expected.last
        and min(loss.slot, loss.reader_slot) >= 0
        and loss.holder in nodes
        and loss.reader in nodes
    )
    if len(found) < len(losses):
        others = len(losses) - len(found)
        log(WARNING, "node %d tells of %d losses that cannot be; left out.", node, others)
    return found


def _sketch(content: bytes) -> NDArray[np.float32] | None:
    if not content:
        return None
    if len(content) != 4 * NUM_BUCKETS:
        raise ValueError(f"{len(content)} bytes, a sketch has {4 * NUM_BUCKETS}")
    return np.frombuffer(content, "<f4")


def _model(record: Any, expected: str) -> Model | None:
    if not isinstance(record, ArrayRecord) or not record:
        return None
    try:
        model = {name: array.numpy() for name, array in record.items()}
        found = digest(signature(model))
    except Exception as error:  # what numpy makes of bytes: EOFError, BadZipFile, MemoryError, ...
        raise ValueError(f"a tensor cannot be read: {one_line(error)}") from error
    if found != expected:
        raise ValueError("a model with other names, shapes or dtypes than the initial arrays")
    check_finite(model, "it")
    return model
