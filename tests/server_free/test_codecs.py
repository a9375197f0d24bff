"""Models survive the way to bytes and back; bytes that lie are one clear error."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flwr_gossip.server_free.codecs import DTYPES, Chunk, Decoder, EncodedModel, decode, encode
from flwr_gossip.server_free.errors import ModelError, WireError
from flwr_gossip.server_free.models import Model, TensorSpec, signature

arrays = hnp.arrays(
    dtype=st.sampled_from(sorted(DTYPES)).map(np.dtype),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
models = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), arrays, max_size=6)


def same(left: Model, right: Model) -> bool:
    return signature(left) == signature(right) and all(
        left[name].tobytes() == right[name].tobytes() for name in left
    )


@given(model=models, chunk_bytes=st.one_of(st.none(), st.integers(1, 100)))
def test_every_model_comes_back_bit_for_bit(model: Model, chunk_bytes: int | None) -> None:
    encoded = encode(model, chunk_bytes)
    assert same(decode(encoded), model)
    assert sum(len(chunk.data) for chunk in encoded.chunks) == encoded.nbytes


@pytest.mark.parametrize("chunk_bytes", [None, 64])
def test_nobody_can_change_decoded_arrays(chunk_bytes: int | None) -> None:
    for array in decode(encode({"a": np.arange(100.0), "b": np.ones(3)}, chunk_bytes)).values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@given(model=models, chunk_bytes=st.integers(1, 40))
def test_all_chunks_but_the_last_are_full(model: Model, chunk_bytes: int) -> None:
    sizes = [len(chunk.data) for chunk in encode(model, chunk_bytes).chunks]
    assert all(size == chunk_bytes for size in sizes[:-1])
    assert all(0 < size <= chunk_bytes for size in sizes)


def test_layout_is_the_documented_one() -> None:
    model = {"flags": np.array([True, False, True]), "scale": np.array(1.5, np.float32)}
    encoded = encode(model)
    assert encoded.nbytes == 12  # 3 bytes, 5 of gap, 4 bytes
    assert encoded.chunks[0].data == b"\x01\x00\x01" + bytes(5) + b"\x00\x00\xc0\x3f"


def test_other_memory_orders_are_encoded_by_value() -> None:
    base = np.arange(12, dtype=np.float64).reshape(3, 4)
    model = {"t": base.T, "strided": base[:, ::2], "big": base.astype(">f8")}
    decoded = decode(encode(model))
    for name, array in model.items():
        np.testing.assert_array_equal(decoded[name], array)
        assert decoded[name].dtype == np.dtype("<f8")


def test_encoding_is_a_snapshot() -> None:
    array = np.zeros(4)
    encoded = encode({"a": array})
    array += 1
    assert decode(encoded)["a"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("chunk_bytes", [None, 7])
def test_decoded_floats_are_aligned(chunk_bytes: int | None) -> None:
    model = {"bool": np.ones(3, bool), "x": np.ones(5, np.float64)}
    assert decode(encode(model, chunk_bytes))["x"].flags.aligned


def test_same_bytes_however_cut() -> None:
    model = {"a": np.arange(100.0)}
    assert encode(model, 64).same_bytes(encode(model, None))
    assert not encode(model).same_bytes(encode({"a": np.arange(100.0) + 1}))
    assert not encode(model).same_bytes(encode({"b": np.arange(100.0)}))


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([object()]), np.array([1j]), np.zeros((1,) * 33)]
)
def test_what_cannot_travel_is_named(array: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"'layer\.bad'.*Convert it"):
        encode({"layer.bad": array})


def test_a_name_that_is_not_text_is_an_error() -> None:
    with pytest.raises(ModelError, match="Unicode"):
        encode({"\ud800": np.zeros(1)})


@pytest.mark.parametrize(
    ("tensors", "nbytes", "says"),
    [
        ([TensorSpec("a", (2,), "float32")], 9, "states 9 bytes but its tensors make 8"),
        ([TensorSpec("a", (2,), "object")], 16, "dtype 'object'"),
        ([TensorSpec("a", (-1, -8), "float32")], 32, "impossible shape"),
        ([TensorSpec("a", (2**63, 0), "float32")], 0, "impossible shape"),
        ([TensorSpec("a", (1,) * 33, "float32")], 4, "impossible shape"),
        ([TensorSpec("a", (1,), "bool")] * 2, 9, "same name"),
        ([TensorSpec("a", (2**40,), "float64")], 2**43, "more than the 1000 allowed"),
    ],
)
def test_impossible_headers_are_refused(tensors: list[TensorSpec], nbytes: int, says: str) -> None:
    with pytest.raises(WireError, match=says):
        Decoder(tensors, nbytes, max_bytes=1000)


def test_damage_is_found() -> None:
    encoded = encode({"a": np.arange(100.0)}, 256)
    first, *rest = encoded.chunks
    flipped = bytes([first.data[0] ^ 1]) + first.data[1:]
    with pytest.raises(WireError, match="damaged"):
        decode(replace(encoded, chunks=(Chunk(flipped, first.crc32), *rest)))
    with pytest.raises(WireError, match="ends after 256 of 800 bytes"):
        decode(replace(encoded, chunks=(first,)))
    with pytest.raises(WireError, match="more than the 800 bytes"):
        decode(replace(encoded, chunks=(*encoded.chunks, first)))


specs = st.builds(
    TensorSpec,
    name=st.text(max_size=3),
    shape=st.lists(st.integers(-3, 2**64), max_size=3).map(tuple) | st.just((2**62, 0)),
    dtype=st.sampled_from([*DTYPES, "object", "complex64", "", "<f4"]),
)


@settings(max_examples=300)
@given(tensors=st.lists(specs, max_size=4), pieces=st.lists(st.binary(max_size=9), max_size=4))
def test_the_decoder_meets_nonsense_with_wire_errors_only(
    tensors: list[TensorSpec], pieces: list[bytes]
) -> None:
    chunks = tuple(Chunk(piece, zlib.crc32(piece)) for piece in pieces)
    try:
        decode(EncodedModel(tuple(tensors), sum(map(len, pieces)), chunks))
    except WireError:
        return


@settings(max_examples=200)
@given(model=models, seed=st.integers(0, 2**32))
def test_one_flipped_bit_never_passes(model: Model, seed: int) -> None:
    encoded = encode(model, 16)
    if not encoded.chunks:
        return
    rng = random.Random(seed)
    chunks = list(encoded.chunks)
    index = rng.randrange(len(chunks))
    data = bytearray(chunks[index].data)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    chunks[index] = Chunk(bytes(data), chunks[index].crc32)
    with pytest.raises(WireError):
        decode(replace(encoded, chunks=tuple(chunks)))
