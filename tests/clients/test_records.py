"""Arrays of Flower's records as numpy arrays and back: what Flower itself reads and writes."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from flwr_gossip.clients.records import from_record, join, shown, split, to_record

RNG = np.random.default_rng(0)
ARRAYS = [
    RNG.normal(size=(3, 4)).astype(np.float32),
    np.asarray(3.0),
    np.zeros((0, 2)),
    np.zeros((2, 0, 3), np.int8),
    np.arange(5),
    np.array(True),
    np.asfortranarray(RNG.normal(size=(3, 4))),
    RNG.normal(size=(4, 6))[::2, 1::2],
    RNG.normal(size=7).astype(np.float16),
    np.arange(6, dtype=">i4").reshape(2, 3),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_flower_reads_what_we_write_and_we_what_flower_writes(array: np.ndarray) -> None:
    written = to_record({"x": array})["x"]
    assert (written.dtype, written.shape) == (array.dtype.name, array.shape)
    for back in (written.numpy(), from_record(ArrayRecord({"x": Array(array)}))["x"]):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)


def test_a_written_record_does_not_share_memory_with_the_model() -> None:
    model = {"x": np.zeros(3)}
    record = to_record(model)
    model["x"][:] = 1
    np.testing.assert_array_equal(record["x"].numpy(), np.zeros(3))


def test_objects_are_not_read() -> None:
    pickled = Array("object", (1,), "numpy.ndarray", _npy_header("|O") + b"\x80\x04N.")
    with pytest.raises(ValueError, match=r"(?i)object"):
        from_record(ArrayRecord({"x": pickled}))


def _npy_header(descr: str) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_what_travels_beside_the_model_comes_apart_again() -> None:
    main, beside = {"w": np.ones(2)}, {"optimizer": {"w": np.zeros(2)}}
    joined = join(main, beside)
    assert [shown(name) for name in joined] == ["w", "optimizer/w"]
    back, others = split(joined, ["optimizer", "absent"])
    assert list(back) == ["w"]
    assert {k: list(v) for k, v in others.items()} == {"optimizer": ["w"]}
