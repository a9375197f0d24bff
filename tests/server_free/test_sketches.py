"""The count-sketch: linear, unbiased, as exact as it says, and the same on every node."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.server_free import sketches
from flwr_gossip.server_free.errors import ModelError
from flwr_gossip.server_free.models import Model
from flwr_gossip.server_free.sketches import NUM_BUCKETS, consensus_distance, estimate, sketch


def flat(values: np.ndarray) -> Model:
    return {"w": values}


def some_models(k: int, d: int, seed: int = 0) -> list[Model]:
    rng = np.random.default_rng(seed)
    return [flat(row) for row in 3 + rng.normal(size=(k, d))]


@given(a=st.floats(-3, 3), b=st.floats(-3, 3), seed=st.integers(0, 99))
def test_a_sketch_is_linear(a: float, b: float, seed: int) -> None:
    x, y = (model["w"] for model in some_models(2, 500, seed))
    combined = sketch(flat(a * x + b * y), seed)
    np.testing.assert_allclose(
        combined, a * sketch(flat(x), seed) + b * sketch(flat(y), seed), rtol=0, atol=1e-10
    )


def test_a_single_coordinate_goes_to_one_bucket_with_a_sign() -> None:
    d = 4096
    touched = np.zeros((d, 256))
    for i in range(0, d, 16):
        x = np.zeros(d)
        x[i] = 2.0
        touched[i] = sketch(flat(x), 7, 256)
    used = touched[::16]
    assert (np.count_nonzero(used, axis=1) == 1).all()
    assert set(np.abs(used[used != 0])) == {2.0}
    assert 90 < (used > 0).sum() < 166  # 256 fair signs, mean 128, 4.75 standard deviations


@pytest.mark.parametrize("m", [256, 1024])
def test_the_estimate_is_unbiased_with_the_stated_error(m: int) -> None:
    models = some_models(2, 2000)
    exact = consensus_distance(models)
    errors = [
        estimate([sketch(model, seed, m) for model in models]) / exact - 1 for seed in range(800)
    ]
    stated = np.sqrt(2 / m)
    assert abs(np.mean(errors)) < 4 * stated / np.sqrt(800)
    assert 0.85 * stated < np.std(errors) < 1.15 * stated


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_estimate_is_near_the_consensus_distance(k: int) -> None:
    models = some_models(k, 20_000, seed=k)
    exact = consensus_distance(models)
    found = estimate([sketch(model, 0) for model in models])
    # More than two models only lower the error: their differences are hashed independently.
    assert found == pytest.approx(exact, rel=5 * np.sqrt(2 / NUM_BUCKETS), abs=0)


def test_consensus_distance_is_its_definition() -> None:
    models = [flat(np.array([0.0, 0.0])), flat(np.array([4.0, 2.0]))]
    assert consensus_distance(models) == 5.0  # mean (2, 1), each 4 + 1 away
    assert consensus_distance(models[:1]) == 0.0


def test_equal_models_have_no_distance() -> None:
    model = some_models(1, 3000)[0]
    assert estimate([sketch(model, 3)] * 4) == 0.0


def test_single_precision_on_the_way_changes_little() -> None:
    models = some_models(3, 5000)
    exact = [sketch(model, 0) for model in models]
    rounded = [np.frombuffer(one.astype("<f4").tobytes(), "<f4") for one in exact]
    assert estimate(rounded) == pytest.approx(estimate(exact), rel=1e-5)


def test_the_seed_alone_decides_signs_and_buckets() -> None:
    model = some_models(1, 300)[0]
    assert sketch(model, 5).tobytes() == sketch(model, 5).tobytes()
    assert sketch(model, 5).tobytes() != sketch(model, 6).tobytes()


def test_signs_and_buckets_never_change() -> None:
    # Nodes of different versions sum up their sketches.
    found = sketch(flat(np.arange(1.0, 6.0)), 0, 256)
    values = {int(place): found[place] for place in np.flatnonzero(found)}
    assert values == {1: -5.0, 23: -4.0, 26: -3.0, 43: -1.0, 241: -2.0}


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 18])
def test_pieces_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"a": np.arange(100.0), "b": np.arange(50.0).reshape(5, 10), "c": np.array(2.0)}
    expected = sketch(flat(np.concatenate([np.arange(100.0), np.arange(50.0), [2.0]])), 1)
    monkeypatch.setattr(sketches, "_CHUNK", chunk)
    np.testing.assert_allclose(sketch(model, 1), expected, rtol=0, atol=1e-10)
    assert consensus_distance([model, model]) == 0.0


def test_whole_numbers_are_left_out_and_precision_does_not_matter() -> None:
    x = np.array([0.5, -2.0, 8.0])
    model = {"n": np.array(9), "w": x.astype("f2"), "ok": np.array([True]), "e": np.zeros((0, 2))}
    assert sketch(model, 1).tobytes() == sketch(flat(x), 1).tobytes()
    other = {**model, "n": np.array(77)}
    assert consensus_distance([model, other]) == 0.0


def test_a_model_without_floats_has_an_empty_sketch() -> None:
    assert not sketch({"n": np.arange(5)}, 0).any()
    assert consensus_distance([{"n": np.arange(5)}, {"n": np.arange(5)}]) == 0.0


def test_the_sketch_of_a_large_model_takes_little_memory() -> None:
    model = {"w": np.zeros(4_000_000, np.float32)}
    tracemalloc.start()
    try:
        found = sketch(model, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.shape == (NUM_BUCKETS,)
    assert peak < model["w"].nbytes


@pytest.mark.parametrize("m", [0, -256, 1, 255, 257, 300, 128])
def test_the_number_of_buckets_is_a_power_of_two_from_256(m: int) -> None:
    with pytest.raises(ModelError, match=f"num_buckets is {m}, allowed is a power of two from 256"):
        sketch(flat(np.ones(3)), 0, m)


def test_signs_and_buckets_are_those_of_the_flat_model_however_it_is_cut() -> None:
    values = np.arange(1.0, 32.0)  # whole numbers: sums in any order are the same
    pieces = np.split(values, [3, 4, 9, 22])
    cut = {str(place): piece for place, piece in enumerate(pieces)}
    np.testing.assert_array_equal(sketch(cut, 5), sketch(flat(values), 5))
