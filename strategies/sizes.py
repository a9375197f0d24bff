"""How many bytes Flower sends for a message's records, counted without writing them.

Flower writes a ConfigRecord or MetricRecord as one protobuf message with an item for each value;
to write it only to count would cost the ServerApp more than the rest of its work on a message.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

__all__ = ["content_bytes"]

_INT64_MAX = (1 << 63) - 1


def content_bytes(content: RecordDict) -> int:
    """Return the bytes that Flower sends for the records: their bodies and the arrays' data."""
    return sum(_record_bytes(record) for record in content.values())


def _record_bytes(record: ArrayRecord | ConfigRecord | MetricRecord) -> int:
    if isinstance(record, ArrayRecord):
        return len(record.deflate()) + sum(len(array.data) for array in record.values())
    body = sum(
        _delimited(_key_bytes(key) + _delimited(_value_bytes(value)))
        for key, value in record.items()
    )
    return _head_bytes(type(record)) + len(str(body)) + body


@lru_cache(maxsize=8)
def _head_bytes(kind: type[ConfigRecord] | type[MetricRecord]) -> int:
    """Return the size of what stands before the body, without the body's length in digits."""
    return len(kind().deflate()) - len("0")


@lru_cache(maxsize=256)
def _key_bytes(key: str) -> int:
    return _delimited(_text_bytes(key)) if key else 0


def _value_bytes(value: object) -> int:
    if isinstance(value, (str, bytes)):
        return _delimited(_text_bytes(value))
    if isinstance(value, list):
        return 1 + _delimited(_list_bytes(value))  # Flower's tags of lists have two bytes
    return 1 + _number_bytes(value)


def _list_bytes(values: list[Any]) -> int:
    if not values:
        return 0
    if isinstance(values[0], (str, bytes)):
        return sum(_delimited(_text_bytes(value)) for value in values)
    return _delimited(sum(_number_bytes(value) for value in values))


def _number_bytes(value: object) -> int:
    if not isinstance(value, int):
        return 8
    if isinstance(value, bool):
        return 1
    # Zigzag: the sign is the last bit. What does not fit into int64 goes as it is.
    return _varint_bytes(value if value > _INT64_MAX else 2 * value if value >= 0 else ~(2 * value))


def _text_bytes(text: str | bytes) -> int:
    return len(text if isinstance(text, bytes) or text.isascii() else text.encode())


def _delimited(size: int) -> int:
    """Return the size of a field of ``size`` bytes with its tag and its length."""
    return size + 2 if size < 128 else 1 + _varint_bytes(size) + size


def _varint_bytes(number: int) -> int:
    """Return the size of a number in base 128."""
    return (number.bit_length() + 6) // 7 or 1
