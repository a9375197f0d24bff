"""Models kept in memory: snapshots that nobody can change, and what they are on the wire."""

import numpy as np
import pytest

from flwr_gossip.server_free.codecs import decode, encode
from flwr_gossip.server_free.errors import ModelError
from flwr_gossip.server_free.kept import KeptModel

MODEL = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "steps": np.array(3, np.int64),
    "none": np.zeros((0, 4), np.float16),
    "flags": np.array([True, False, True]),
}


def test_what_is_kept_is_what_others_would_receive() -> None:
    kept, sent = KeptModel.of(MODEL), encode(MODEL)
    assert (kept.tensors, kept.nbytes) == (sent.tensors, sent.nbytes)
    assert kept.encoded().same_bytes(sent)
    for name, array in decode(sent).items():
        np.testing.assert_array_equal(kept.decoded()[name], array)
        assert kept.decoded()[name].dtype == array.dtype


def test_it_is_a_snapshot_that_nobody_can_change() -> None:
    array = np.zeros(4)
    kept = KeptModel.of({"a": array}).decoded()["a"]
    array += 1
    assert kept.tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


def test_a_read_only_view_of_an_array_that_can_change_is_copied() -> None:
    owner = np.zeros(4)
    view = owner.view()
    view.flags.writeable = False
    kept = KeptModel.of({"a": view}).decoded()["a"]
    owner += 1
    assert kept.tolist() == [0, 0, 0, 0]


def test_bytes_that_cannot_change_are_not_copied() -> None:
    array = np.frombuffer(bytes(range(8)), np.uint8).reshape(2, 4)
    assert np.shares_memory(KeptModel.of({"a": array}).decoded()["a"], array)


def test_other_byte_and_memory_orders_become_the_usual() -> None:
    big = np.frombuffer(np.arange(6, dtype=">f4").tobytes(), ">f4").reshape(2, 3)
    for array in (big, big.T):
        kept = KeptModel.of({"a": array}).decoded()["a"]
        np.testing.assert_array_equal(kept, array)
        assert kept.dtype == np.dtype("<f4")
        assert kept.flags.c_contiguous


def test_what_cannot_travel_is_refused() -> None:
    with pytest.raises(ModelError, match="complex64"):
        KeptModel.of({"a": np.zeros(2, np.complex64)})
