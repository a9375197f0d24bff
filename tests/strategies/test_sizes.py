"""The bytes that are counted are those that Flower would write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.strategies.sizes import content_bytes

whole = st.integers(-(2**63), 2**63 - 1)
numbers = whole | st.floats()
scalars = numbers | st.integers(2**63, 2**64 - 1) | st.booleans() | st.text() | st.binary()
lists: st.SearchStrategy[Any] = st.one_of(
    *(st.lists(kind, max_size=20) for kind in (whole, st.floats(), st.booleans())),
    *(st.lists(kind, max_size=5) for kind in (st.text(), st.binary())),
)


@given(st.dictionaries(st.text(), scalars | lists, max_size=6))
def test_the_bytes_of_a_config_record(values: dict[str, Any]) -> None:
    record = ConfigRecord(values)
    assert content_bytes(RecordDict({"config": record})) == len(record.deflate())


@given(st.dictionaries(st.text(), numbers | st.lists(whole) | st.lists(st.floats()), max_size=6))
def test_the_bytes_of_a_metric_record(values: dict[str, Any]) -> None:
    record = MetricRecord(values)
    assert content_bytes(RecordDict({"metrics": record})) == len(record.deflate())


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 129, 16383, 16384, 100_000])
@pytest.mark.parametrize("kind", [str, bytes])
def test_the_bytes_of_long_texts(kind: type, length: int) -> None:
    record = ConfigRecord({"text": "x" * length if kind is str else b"x" * length})
    assert content_bytes(RecordDict({"config": record})) == len(record.deflate())


def test_arrays_count_with_their_data() -> None:
    record = ArrayRecord({"w": Array(np.ones(1000)), "b": Array(np.ones(()))})
    config = ConfigRecord({"x": 1})
    data = sum(len(array.data) for array in record.values())
    expected = data + len(record.deflate()) + len(config.deflate())
    assert content_bytes(RecordDict({"arrays": record, "config": config})) == expected
