"""How a user's functions expect a model and give one back.

Two dialects: Flower's message API (one ArrayRecord, one ConfigRecord, under the keys of the
strategy), and the legacy ``client_fn`` with its fixed ``fitins.*`` and ``fitres.*`` records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from ..server_free.errors import ModError
from ..server_free.models import Model
from .placement import Placement
from .records import from_record, record_of, records_of, to_record

__all__ = ["Dialect", "Legacy", "Modern", "checked_reply", "dialect_for"]

Metrics = dict[str, Any]


class Dialect(Protocol):
    """Wraps a model for the user's function and unwraps its reply."""

    def wrap(
        self, model: Model, beside: Mapping[str, Model], config: ConfigRecord, evaluating: bool
    ) -> RecordDict:
        """Return the content of the message that the user's function gets."""

    def arrays(self, content: RecordDict, given: Model) -> dict[str, np.ndarray]:
        """Return the trained arrays in a reply; ``ModError`` says what is wrong with it."""

    def beside(self, content: RecordDict) -> dict[str, Model]:
        """Return the travelling records in a reply."""

    def metrics(self, content: RecordDict) -> Metrics:
        """Return all metrics in a reply."""


def dialect_for(placement: Placement, order: Mapping[str, Any]) -> Dialect:
    """Return the dialect of the app that runs."""
    if placement.legacy:
        return Legacy()
    return Modern(
        arrays_key=str(order.get("arrays_key", "arrays")),
        config_key=str(order.get("config_key", "config")),
        travelling=tuple(_names(order.get("travelling", ""))),
    )


def _names(text: object) -> list[str]:
    return [name for name in str(text).split(",") if name]


@dataclass(frozen=True, slots=True)
class Modern:
    """Flower's message API."""

    arrays_key: str = "arrays"
    config_key: str = "config"
    travelling: tuple[str, ...] = ()

    def wrap(
        self, model: Model, beside: Mapping[str, Model], config: ConfigRecord, evaluating: bool
    ) -> RecordDict:
        """Return exactly one ArrayRecord (plus what travels) and one ConfigRecord."""
        records: dict[str, Any] = {self.arrays_key: to_record(model)}
        records |= {name: to_record(other) for name, other in beside.items()}
        records[self.config_key] = config
        return RecordDict(records)

    def arrays(self, content: RecordDict, given: Model) -> dict[str, np.ndarray]:
        """Return the one ArrayRecord of the reply that does not travel beside the model."""
        records = records_of(content, ArrayRecord)
        found = {key: record for key, record in records.items() if key not in self.travelling}
        if len(found) != 1:
            raise ModError(
                f"the train function returned {len(found)} ArrayRecords "
                f"({sorted(found)}), allowed is exactly one, with the trained model: "
                f'Message(RecordDict({{"{self.arrays_key}": ArrayRecord(...), ...}}), '
                "reply_to=msg)."
            )
        trained = from_record(next(iter(found.values())))
        if not trained and given:
            raise ModError(
                "the train function returned an ArrayRecord without arrays, allowed is the trained "
                "model: ArrayRecord(model.state_dict())."
            )
        return trained

    def beside(self, content: RecordDict) -> dict[str, Model]:
        """Return the records named in ``travelling``."""
        records = records_of(content, ArrayRecord)
        return {name: from_record(records[name]) for name in self.travelling if name in records}

    def metrics(self, content: RecordDict) -> Metrics:
        """Return the values of all MetricRecords."""
        records = records_of(content, MetricRecord).values()
        return {key: value for record in records for key, value in record.items()}


@dataclass(frozen=True, slots=True)
class Legacy:
    """``ClientApp(client_fn=...)`` with a ``Client`` or ``NumPyClient``."""

    def wrap(
        self, model: Model, beside: Mapping[str, Model], config: ConfigRecord, evaluating: bool
    ) -> RecordDict:
        """Return FitIns or EvaluateIns as records; array names become positions."""
        prefix = "evaluateins" if evaluating else "fitins"
        numbered = {str(place): array for place, array in enumerate(model.values())}
        return RecordDict(
            {
                f"{prefix}.parameters": to_record(numbered),
                f"{prefix}.config": config,
            }
        )

    def arrays(self, content: RecordDict, given: Model) -> dict[str, np.ndarray]:
        """Return the fitted parameters under the names of the model that was given."""
        self._check_status(content, "fitres")
        record = record_of(content, "fitres.parameters", ArrayRecord)
        fitted = list(from_record(record or ArrayRecord()).values())
        if len(fitted) != len(given):
            raise ModError(
                f"fit returned {len(fitted)} arrays, allowed are the {len(given)} of the "
                "model it was given, in the same order."
            )
        return dict(zip(given, fitted, strict=True))

    def beside(self, content: RecordDict) -> dict[str, Model]:
        """Return nothing: legacy replies carry one set of parameters."""
        return {}

    def metrics(self, content: RecordDict) -> Metrics:
        """Return num-examples, the loss of an evaluation, and the numeric metrics."""
        found: Metrics = {}
        for name, record in records_of(content, MetricRecord).items():
            for key, value in record.items():
                found[{"num_examples": "num-examples"}.get(key, key)] = value
            self._check_status(content, name.partition(".")[0])
        for name, config in records_of(content, ConfigRecord).items():
            if name.endswith(".metrics"):
                numeric = {k: v for k, v in config.items() if isinstance(v, int | float)}
                found |= {k: int(v) if isinstance(v, bool) else v for k, v in numeric.items()}
        return found

    @staticmethod
    def _check_status(content: RecordDict, prefix: str) -> None:
        found = record_of(content, f"{prefix}.status", ConfigRecord)
        status: Mapping[str, Any] = {} if found is None else dict(found.items())
        if int(status.get("code", 0)) != 0:
            raise ModError(
                f"the client answered with status {status['code']}: {status.get('message', '')}"
            )


def checked_reply(reply: object, kind: str) -> Message:
    """Return the reply of the user's function; ``ModError`` when it is not a message."""
    if isinstance(reply, Message):
        return reply
    raise ModError(
        f"the {kind} function returned {type(reply).__name__}, allowed is a Message: "
        "return Message(content, reply_to=msg)."
    )
