"""Coded models come back with names, shapes and dtypes; descriptions that lie are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flwr_gossip.server_free import codecs
from flwr_gossip.server_free.coding import NoBase, Plain, coded, decoded, numbers
from flwr_gossip.server_free.coding.coded import DESCRIPTION
from flwr_gossip.server_free.draws import words
from flwr_gossip.server_free.errors import ModelError, WireError
from flwr_gossip.server_free.models import Model, num_bytes, signature

NAMES = ["fp16", "bf16", "block-int8"]
arrays = st.sampled_from(
    ["bool", "int8", "int64", "uint16", "float16", "float32", "float64"]
).flatmap(
    lambda dtype: hnp.arrays(
        np.dtype(dtype),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7),
        elements=st.floats(-1000, 1000, width=16) if dtype.startswith("float") else None,
    )
)
models = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), arrays, max_size=5)


def on_the_wire(message: Model) -> Model:
    return codecs.decode(codecs.encode(message, 64))


@given(model=models, name=st.sampled_from(NAMES), at_random=st.booleans())
def test_all_but_the_numbers_comes_back_exactly(model: Model, name: str, at_random: bool) -> None:
    bits = words(1, 2, "test") if at_random else None
    message = coded(model, numbers(name), bits)
    back = decoded(on_the_wire(message))
    assert signature(back) == signature(model)
    for key, array in model.items():
        if array.dtype.kind == "f":
            peak = np.abs(array).max(initial=0.0)
            np.testing.assert_allclose(back[key], array, atol=peak / 60, rtol=0)
        else:
            np.testing.assert_array_equal(back[key], array)


@pytest.mark.parametrize("name", NAMES)
def test_readers_see_what_the_writer_sees_bit_for_bit(name: str) -> None:
    model = {"w": np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32).T}
    message = coded(model, numbers(name), words(1, 2, "test"))
    np.testing.assert_array_equal(decoded(on_the_wire(message))["w"], decoded(message)["w"])


def test_a_tensor_that_would_not_get_smaller_travels_as_it_is() -> None:
    model = {"half": np.array([0.1], np.float16), "scalar": np.array(0.1, np.float32)}
    assert coded(model, numbers("bf16"))["half"] is model["half"]
    assert coded(model, numbers("block-int8"))["scalar"] is model["scalar"]
    assert decoded(coded(model, numbers("bf16")))["half"] == model["half"]


def test_bytes_are_a_half_and_a_quarter() -> None:
    model = {"w": np.zeros((1000, 256), np.float32)}
    for name, share in (("fp16", 2.0), ("bf16", 2.0), ("block-int8", 256 / 65)):
        assert num_bytes(coded(model, numbers(name))) == pytest.approx(1_024_000 / share, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_difference_is_added_to_the_base(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    base = {"w": rng.normal(size=600).astype(dtype), "n": np.arange(2)}
    model = {"w": (base["w"] + rng.normal(size=600) * 1e-3).astype(dtype), "n": np.arange(1, 3)}
    if dtype == "float16" and name != "block-int8":
        pytest.skip("would not get smaller")
    message = on_the_wire(coded(model, numbers(name), base=base))
    back = decoded(message, base)
    # As exact as the small difference, not as the large numbers.
    atol = 4e-3 / 127 if dtype != "float16" else 2e-3
    np.testing.assert_allclose(back["w"], model["w"], atol=atol, rtol=0)
    np.testing.assert_array_equal(back["n"], model["n"])
    for other in (None, {}, {"w": base["w"][:-1]}, {"w": base["w"].astype(np.longdouble)}):
        with pytest.raises(NoBase, match="'w'"):
            decoded(message, other)


def test_too_large_numbers_and_reserved_names_are_named() -> None:
    with pytest.raises(ModelError, match=r"'layer' has numbers above 65504.*fp16"):
        coded({"layer": np.array([1e5, 0.0])}, numbers("fp16"))
    with pytest.raises(ModelError, match="reserved name"):
        coded({DESCRIPTION: np.zeros(1)}, numbers("fp16"))


def test_plain_models_pass_through() -> None:
    model = {"w": np.ones(3)}
    assert Plain().write(0, 1, model, whole=False) == (model, model)
    assert Plain().read(0, 1, model) is model


def test_the_draws_depend_on_seed_round_and_slot_alone() -> None:
    model = {"w": np.random.default_rng(0).normal(size=500)}

    def message(seed: int, slot: int, round: int) -> bytes:
        coder = Plain(numbers("bf16"), seed)
        return coder.write(slot, round, model, whole=True)[0]["w"].tobytes()

    assert message(1, 2, 3) == message(1, 2, 3)
    assert len({message(1, 2, 3), message(0, 2, 3), message(1, 0, 3), message(1, 2, 0)}) == 4


def test_readers_of_one_message_share_what_it_stands_for() -> None:
    message = on_the_wire(coded({"w": np.ones(300)}, numbers("bf16")))
    first, second = Plain().read(0, 1, message), Plain().read(0, 1, message)
    assert first is second
    with pytest.raises(ValueError, match="read-only"):
        first["w"][0] = 2


def described(text: Any, **tensors: np.ndarray) -> Model:
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return {DESCRIPTION: np.frombuffer(raw, np.uint8), **tensors}


W = np.zeros(4, np.uint16)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (described(b"\xff"), "cannot be read"),
        (described(b"[" * 100_000), "cannot be read"),
        (described({}, w=W), "cannot be read"),
        (described([], w=W), "describes 0 tensors and has 1"),
        (described([7], w=W), "cannot be read"),
        (described([[1, "float32", [4]]], w=W), "cannot be read"),
        (described([["bf16", "float32"]], w=W), "cannot be read"),
        (described([["zip", "float32", [4]]], w=W), "'zip', known are"),
        (described([["bf16", "object", [4]]], w=W), "dtype 'object'"),
        (described([["bf16", "float32", [-4]]], w=W), "impossible shape"),
        (described([["bf16", "float32", [2**62, 0]]], w=W), "impossible shape"),
        (described([["bf16", "float32", [True] * 4]], w=W), "impossible shape"),
        (described([["bf16", "float32", [1] * 33]], w=W), "impossible shape"),
        (described([["bf16", "float64", [2**40]]], w=W), r"'w' of shape \(1099511627776,\)"),
        (described([["bf16", "float32", [4]]], w=W.astype(np.float32)), "expected are"),
        (described([["bf16", "float32", [4]]], w=W.reshape(2, 2)), "expected are"),
        (described([["+bf16", "float32", [4]]], w=W), "not here"),
        ({DESCRIPTION: np.zeros(3, np.float32)}, "not one"),
    ],
)
def test_descriptions_that_lie_are_refused(model: Model, says: str) -> None:
    with pytest.raises(WireError, match=says):
        decoded(model)


entries = st.none() | st.tuples(
    st.sampled_from(["bf16", "fp16", "block-int8", "+bf16", "", "zip"]),
    st.sampled_from(["float16", "float32", "float64", "int8", ""]),
    st.lists(st.integers(-2, 2**64), max_size=3) | st.just([4]) | st.just([8]),
)


@settings(max_examples=500)
@given(
    text=st.lists(entries, max_size=2)
    | st.binary(max_size=20)
    | st.recursive(st.none() | st.integers() | st.text(max_size=4), st.lists, max_leaves=6),
    raw=st.binary(max_size=24),
    dtype=st.sampled_from(["uint8", "<u2", "<f2"]),
)
def test_nonsense_meets_wire_errors_only(text: Any, raw: bytes, dtype: str) -> None:
    array = np.frombuffer(raw[: len(raw) // 2 * 2], dtype)
    try:
        with np.errstate(all="ignore"):
            decoded(described(text, w=array), {"w": np.zeros(4, np.float32)})
    except WireError:
        return
