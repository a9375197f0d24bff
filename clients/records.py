"""Flower's records: picking them out of a message, and ArrayRecord to model and back.

Flower keeps each array as the bytes of an .npy file. Reading and writing those is most of what a
round costs beyond the training itself, so it is done here without numpy's detours.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import SType

from ..server_free.models import Model
from ..server_free.orders import Report

__all__ = [
    "from_record",
    "has_beside",
    "join",
    "record_of",
    "records_of",
    "report_record",
    "shown",
    "split",
    "to_record",
    "travels_alone",
]

_SEPARATOR = "\x1f"

R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord)


def records_of(content: RecordDict, kind: type[R]) -> dict[str, R]:
    """Return the records of one kind under their keys, in order.

    As ``content.array_records`` and its like do, which make a dictionary that writes through.
    """
    return {key: record for key, record in content.items() if isinstance(record, kind)}


def report_record(report: Report) -> ConfigRecord:
    """Return a report as a record; Flower, which checks them, checks only the unusual values."""
    usual, record = _usual_report()
    record = record.copy()
    record.update({k: v for k, v in report.to_values().items() if v != usual[k]})
    return record


@lru_cache(maxsize=1)
def _usual_report() -> tuple[dict[str, Any], ConfigRecord]:
    values = Report(node=0).to_values()
    return values, ConfigRecord(values)


def record_of(content: RecordDict, key: str, kind: type[R]) -> R | None:
    """Return the record under ``key``, None if there is none of this kind."""
    record = content.get(key)
    return record if isinstance(record, kind) else None


def from_record(record: ArrayRecord) -> dict[str, np.ndarray]:
    """Return the arrays of a record under their names, in its order; read-only views."""
    return {name: _from_array(array) for name, array in record.items()}


def to_record(model: Model) -> ArrayRecord:
    """Return a record of the model's arrays under their names, in its order."""
    record = ArrayRecord()  # given all arrays at once it would make each a second time
    for name, array in model.items():
        record[name] = _to_array(np.asarray(array))
    return record


def _from_array(array: Array) -> np.ndarray:
    """Return ``array.numpy()`` without its copy, and without parsing the same header each round."""
    start = _header_bytes(array.data)
    if array.stype != SType.NUMPY or start is None:
        return array.numpy()
    shape, fortran, dtype = _parsed(array.data[:start])
    flat = np.frombuffer(array.data, dtype=dtype, offset=start)
    return flat.reshape(shape, order="F" if fortran else "C")


def _to_array(array: np.ndarray) -> Array:
    """Return ``Array(array)``, made in one copy instead of numpy's many small ones."""
    name, header = _header(array.dtype, array.shape)
    data = b"".join((header, np.ascontiguousarray(array).data.cast("B") if array.size else b""))
    return Array(name, tuple(array.shape), SType.NUMPY, data)


def _header_bytes(data: bytes) -> int | None:
    """Return where the buffer starts in the bytes of an .npy file of version 1.0."""
    if data[:8] != b"\x93NUMPY\x01\x00":
        return None
    return 10 + int.from_bytes(data[8:10], "little")


@lru_cache(maxsize=4096)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = BytesIO(header)
    np.lib.format.read_magic(stream)
    return np.lib.format.read_array_header_1_0(stream)


@lru_cache(maxsize=4096)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[str, bytes]:
    """Return the dtype's name and the header of the .npy file."""
    stream = BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return dtype.name, stream.getvalue()


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


def travels_alone(name: str) -> bool:
    """Return whether an array of this name is one of the main arrays."""
    return _SEPARATOR not in name


def has_beside(model: Model) -> bool:
    """Return whether something travels beside the model's main arrays."""
    return any(_SEPARATOR in name for name in model)


def shown(name: str) -> str:
    """Return the name of an array for people: ``record/array`` when it travels."""
    return name.replace(_SEPARATOR, "/")
