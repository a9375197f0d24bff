"""ArrayRecord to model and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord

from ..server_free.models import Model

__all__ = ["from_record", "join", "shown", "split", "to_record"]

_SEPARATOR = "\x1f"


def from_record(record: ArrayRecord) -> dict[str, np.ndarray]:
    """Return the arrays of a record under their names, in its order."""
    return {name: array.numpy() for name, array in record.items()}


def to_record(model: Model) -> ArrayRecord:
    """Return a record of the model's arrays under their names, in its order."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in model.items()})


def join(main: Model, travelling: dict[str, Model]) -> dict[str, np.ndarray]:
    """Return one model of the main arrays and of those that travel beside them."""
    joined: dict[str, np.ndarray] = dict(main)
    for record, model in travelling.items():
        joined |= {f"{record}{_SEPARATOR}{name}": array for name, array in model.items()}
    return joined


def split(model: Model, names: Iterable[str]) -> tuple[dict[str, np.ndarray], dict[str, Model]]:
    """Return the main arrays and, for each of ``names`` present, what travels beside them."""
    main = {name: array for name, array in model.items() if _SEPARATOR not in name}
    beside: dict[str, Model] = {}
    for record in names:
        prefix = f"{record}{_SEPARATOR}"
        found = {n[len(prefix) :]: a for n, a in model.items() if n.startswith(prefix)}
        if found:
            beside[record] = found
    return main, beside


def shown(name: str) -> str:
    """Return the name of an array for people: ``record/array`` when it travels."""
    return name.replace(_SEPARATOR, "/")
