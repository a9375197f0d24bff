"""How far each coding moves a number, that its mean is kept, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flwr_gossip.server_free.coding import Numbers, numbers
from flwr_gossip.server_free.draws import Words, words

Array = np.ndarray
NAMES = ["fp16", "bf16", "block-int8"]
RELATIVE = {"fp16": 2.0**-11, "bf16": 2.0**-8}
LARGEST = {"fp16": 60000.0, "bf16": 2.0**127, "block-int8": 2.0**127}


def vectors(limit: float) -> st.SearchStrategy[Array]:
    return hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.integers(0, 600),
        elements=st.floats(-limit, limit, width=32),
    )


def returned(how: Numbers, values: Array, bits: Words | None) -> Array:
    coded = how.encode(values, bits)
    assert coded.shape == (how.size(len(values)),)
    assert coded.dtype == how.dtype
    decoded = how.decode(coded, len(values), values.dtype)
    assert decoded.shape == values.shape
    assert decoded.dtype == values.dtype
    return decoded


def bound(name: str, values: Array) -> Array:
    """Return how far each value may move when rounded to nearest."""
    exact = values.astype(np.float64)
    if name == "fp16":
        return np.maximum(np.abs(exact) * 2.0**-11, 2.0**-25)
    if name == "bf16":
        return np.maximum(np.abs(exact) * 2.0**-8, 2.0**-134)
    padded = np.zeros(-(-len(exact) // 256) * 256)
    padded[: len(exact)] = np.abs(exact)
    peaks = padded.reshape(-1, 256).max(axis=1, initial=0.0)
    return np.repeat(peaks / 254 * (1 + 1e-5) + 2.0**-100, 256)[: len(exact)]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), seed=st.none() | st.integers(0, 1000))
def test_no_number_moves_farther_than_stated(name: str, data: Any, seed: int | None) -> None:
    values = data.draw(vectors(LARGEST[name]))
    bits = None if seed is None else words(seed, 1, "test")
    moved = np.abs(returned(numbers(name), values, bits).astype(np.float64) - values)
    assert (moved <= bound(name, values) * (1 if bits is None else 2)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounded_at_random_the_mean_is_exact(name: str, dtype: type) -> None:
    values = np.random.default_rng(0).normal(size=300).astype(dtype)
    draws = [returned(numbers(name), values, words(seed, 1, "test")) for seed in range(3000)]
    error = np.mean(draws, axis=0) - values
    widest = 2 * bound(name, values)  # one step; the standard error is at most half of it / 55
    assert (np.abs(error) < widest * 5 * 0.5 / np.sqrt(3000) + 1e-6).all()
    nearest = np.abs(returned(numbers(name), values, None) - values)
    assert np.abs(error).mean() < nearest.mean() / 5


@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_need_no_rounding_stay(name: str) -> None:
    values = np.array([0.0, 1.0, -1.0, 127.0, -127.0, 64.0, 3.0], np.float32)
    for bits in (None, words(0, 1, "test")):
        np.testing.assert_array_equal(returned(numbers(name), values, bits), values)
        zeros = np.zeros(300, np.float32)
        np.testing.assert_array_equal(returned(numbers(name), zeros, bits), zeros)


def test_bf16_rounds_to_nearest_even() -> None:
    ulp = 2.0**-7
    values = np.array([1 + ulp / 2, 1 + 3 * ulp / 2, 1 + 0.51 * ulp, -1 - ulp / 2], np.float32)
    rounded = returned(numbers("bf16"), values, None)
    assert rounded.tolist() == [1.0, 1 + 2 * ulp, 1 + ulp, -1.0]


def test_fp16_is_numpys() -> None:
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32) * 100
    np.testing.assert_array_equal(
        returned(numbers("fp16"), values, None), values.astype(np.float16).astype(np.float32)
    )


def test_a_block_of_large_numbers_does_not_blur_the_others() -> None:
    values = np.concatenate([np.full(256, 1e6), np.linspace(-1, 1, 256)]).astype(np.float32)
    moved = np.abs(returned(numbers("block-int8"), values, None) - values)
    assert moved[256:].max() <= 1 / 254 * 1.001


@pytest.mark.parametrize("count", [1, 255, 256, 257, 40_000, 32_768 + 300])
@pytest.mark.parametrize("name", NAMES)
def test_long_vectors_are_coded_like_their_blocks(name: str, count: int) -> None:
    values = np.random.default_rng(2).normal(size=count).astype(np.float32)
    whole = returned(numbers(name), values, None)
    blocks = [
        returned(numbers(name), values[start : start + 256], None) for start in range(0, count, 256)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(blocks))


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("fp16", 65536.0, "65504"),
        ("fp16", -1e6, "65504"),
        ("bf16", 3.4028234e38, "3.38e38"),
        ("bf16", 1e39, "3.38e38"),
        ("block-int8", 1e39, "3.4e38"),
    ],
)
def test_what_is_too_large_is_refused(name: str, value: float, limit: str) -> None:
    for bits in (None, words(0, 1, "test")):
        with pytest.raises(OverflowError, match=limit):
            numbers(name).encode(np.array([0.0, value, 1.0]), bits)


def test_sizes() -> None:
    assert [numbers(name).size(1000) for name in NAMES] == [1000, 1000, 1000 + 4 * 4]
    assert [numbers(name).dtype.itemsize for name in NAMES] == [2, 2, 1]
