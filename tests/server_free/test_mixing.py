"""z = sum_r W[s, r] h[r]: equal to dense numpy, tensor for tensor and dtype for dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import ModelError
from flwr_gossip.server_free.mixing import mix, renormalized
from flwr_gossip.server_free.models import Model, signature

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def models_like(shape: tuple[int, ...], k: int, seed: int) -> dict[int, Model]:
    rng = np.random.default_rng(seed)
    return {slot: {"w": np.asarray(rng.normal(size=shape))} for slot in range(k)}


def single(value: object, dtype: str, name: str = "w") -> Model:
    return {name: np.array(value, dtype)}


@given(k=st.integers(1, 9), shape=shapes, seed=st.integers(0, 1000))
def test_mixing_all_slots_is_the_matrix_product(k: int, shape: tuple[int, ...], seed: int) -> None:
    models = models_like(shape, k, seed)
    topology = topologies.exponential(k)
    stacked = np.stack([models[slot]["w"] for slot in range(k)])
    expected = np.tensordot(topology.matrix(1), stacked, axes=1)
    for slot in range(k):
        row = topology.weights(slot, 1)
        mixed = mix({r: models[r] for r in row}, row, own=slot)["w"]
        assert isinstance(mixed, np.ndarray)
        assert (mixed.shape, mixed.dtype) == (shape, np.float64)
        np.testing.assert_allclose(mixed, expected[slot], rtol=1e-13, atol=1e-13)


@given(k=st.integers(1, 9), seed=st.integers(0, 1000), data=st.data())
def test_the_order_of_arrival_changes_no_bit(k: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    models = {
        slot: {"a": rng.normal(size=7).astype("f4"), "b": rng.normal(size=7)} for slot in range(k)
    }
    weights = dict(enumerate(rng.dirichlet(np.ones(k)).tolist()))
    order = data.draw(st.permutations(range(k)))
    expected = mix(models, weights, own=0)
    for other in (order, order[::-1]):
        mixed = mix({s: models[s] for s in order}, {s: weights[s] for s in other}, own=0)
        assert all(mixed[name].tobytes() == expected[name].tobytes() for name in expected)


# --- dtypes and shapes ------------------------------------------------------------------------


def test_half_precision_accumulates_in_single() -> None:
    # In float16 1 + 1/2048 is 1: added one by one, the small terms would be lost.
    models = {0: single([1.0], "f2")} | {slot: single([2**-10], "f2") for slot in range(1, 33)}
    mixed = mix(models, dict.fromkeys(models, 1 / 33), own=0)["w"]
    assert mixed.dtype == np.float16
    assert mixed[0] == np.float16((1 + 32 * 2**-10) / 33)
    big = {0: single([60000.0], "f2"), 1: single([60000.0], "f2")}
    assert mix(big, {0: 0.5, 1: 0.5}, own=0)["w"][0] == np.float16(60000.0)


def test_float32_stays_float32_and_float64_keeps_its_digits() -> None:
    fine = 1 + 2.0**-50
    models = {slot: {"s": np.ones(2, "f4"), "d": np.full(2, fine)} for slot in range(2)}
    mixed = mix(models, {0: 0.5, 1: 0.5}, own=0)
    assert [mixed[name].dtype.name for name in ("s", "d")] == ["float32", "float64"]
    assert mixed["d"].tolist() == [fine, fine]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_whole_numbers_come_from_the_own_slot(dtype: str) -> None:
    models = {slot: single([slot == 1, 0], dtype) for slot in (0, 1, 2)}
    mixed = mix(models, dict.fromkeys(models, 1 / 3), own=1)["w"]
    assert mixed.dtype == np.dtype(dtype)
    assert mixed.tolist() == [1, 0]


def test_without_the_own_model_whole_numbers_come_from_the_lowest_slot() -> None:
    models = {slot: single(slot, "int64") for slot in (7, 3, 5)}
    assert mix(models, dict.fromkeys(models, 1 / 3), own=4)["w"] == 3


def test_an_own_weight_of_zero_still_gives_the_whole_numbers() -> None:
    models = {slot: {"x": np.array([1.0 * slot]), "n": np.array(slot)} for slot in (1, 2)}
    mixed = mix(models, {1: 1.0, 2: 0.0}, own=2)
    assert (mixed["x"].tolist(), mixed["n"].tolist()) == ([1.0], 2)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("k", [1, 3])
def test_shapes_stay(shape: tuple[int, ...], dtype: str, k: int) -> None:
    models = {slot: {"w": np.ones(shape, dtype)} for slot in range(k)}
    mixed = mix(models, dict.fromkeys(models, 1 / k), own=0)
    assert all(isinstance(array, np.ndarray) for array in mixed.values())
    assert signature(mixed) == signature(models[0])
    np.testing.assert_allclose(mixed["w"].astype(float), 1.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
def test_inputs_are_neither_changed_nor_handed_out(dtype: str) -> None:
    arrays = [np.ones(3, dtype), np.zeros(3, dtype)]
    for array in arrays:
        array.flags.writeable = False  # a change would raise
    for slots in ([0], [0, 1]):
        models = {slot: {"w": arrays[slot]} for slot in slots}
        mixed = mix(models, dict.fromkeys(slots, 1 / len(slots)), own=0)["w"]
        mixed[...] = 1
        assert not any(np.shares_memory(mixed, array) for array in arrays)


def test_other_byte_orders_and_layouts_mix_by_value() -> None:
    models = {0: single([1.0, 2.0], ">f8"), 1: {"w": np.array([[3.0, 9.0], [5.0, 9.0]])[:, 0]}}
    assert mix(models, {0: 0.5, 1: 0.5}, own=0)["w"].tolist() == [2.0, 3.5]


# --- tensors and slots that are missing -------------------------------------------------------


def test_a_tensor_that_some_lack_is_averaged_over_those_that_have_it() -> None:
    models = {
        0: {"w": np.array([0.0])},
        1: {"w": np.array([4.0]), "m": np.array([10.0]), "n": np.array(1)},
        2: {"w": np.array([8.0]), "m": np.array([20.0]), "n": np.array(2)},
    }
    mixed = mix(models, {0: 0.5, 1: 0.125, 2: 0.375}, own=0)
    assert list(mixed) == ["w", "m", "n"]
    assert [mixed[name].tolist() for name in mixed] == [[3.5], [17.5], 1]


def test_names_come_in_the_order_of_the_own_model() -> None:
    models = {0: {"b": np.ones(1), "a": np.ones(1)}, 1: {"a": np.ones(1), "b": np.ones(1)}}
    assert list(mix(models, {0: 0.5, 1: 0.5}, own=1)) == ["a", "b"]
    assert list(mix(models, {0: 0.5, 1: 0.5}, own=9)) == ["b", "a"]


@given(st.dictionaries(st.integers(0, 99), st.floats(0.01, 1), min_size=1, max_size=9))
def test_renormalised_weights_sum_to_one_and_keep_their_ratios(weights: dict[int, float]) -> None:
    shares = renormalized(weights)
    assert list(shares) == list(weights)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    first = next(iter(weights))
    for slot in weights:
        assert shares[slot] * weights[first] == pytest.approx(shares[first] * weights[slot])


def test_weights_of_zero_are_shared_equally() -> None:
    assert renormalized({4: 0.0, 2: 0.0}) == {4: 0.5, 2: 0.5}
    assert renormalized({}) == {}


@pytest.mark.parametrize(
    ("slots", "weights"), [([], {}), ([0, 1], {0: 1.0}), ([0], {0: 0.5, 1: 0.5})]
)
def test_models_and_weights_must_be_of_the_same_slots(
    slots: list[int], weights: dict[int, float]
) -> None:
    with pytest.raises(ModelError) as caught:
        mix({slot: single(1.0, "f4") for slot in slots}, weights, own=0)
    assert str(slots) in str(caught.value)
    assert str(list(weights)) in str(caught.value)
