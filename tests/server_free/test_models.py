"""What a model is: names, shapes and dtypes in order, and which models are refused."""

from __future__ import annotations

import numpy as np
import pytest

from flwr_gossip.server_free.errors import GossipError, ModelError
from flwr_gossip.server_free.models import (
    Model,
    TensorSpec,
    check_finite,
    check_signature,
    digest,
    num_bytes,
    signature,
)

MODEL: Model = {
    "weight": np.zeros((2, 3), np.float32),
    "steps": np.array(4, np.int64),
    "none": np.zeros((0, 5), np.float16),
}


def test_a_signature_lists_names_shapes_and_dtypes_in_order() -> None:
    assert signature(MODEL) == (
        TensorSpec("weight", (2, 3), "float32"),
        TensorSpec("steps", (), "int64"),
        TensorSpec("none", (0, 5), "float16"),
    )
    assert num_bytes(MODEL) == 2 * 3 * 4 + 8
    assert signature({}) == ()


def test_byte_order_and_memory_layout_are_no_part_of_a_signature() -> None:
    other = {**MODEL, "weight": np.ones((3, 2), ">f4").T}
    assert signature(other) == signature(MODEL)
    check_signature(other, signature(MODEL), "it")


CHANGES: dict[str, tuple[Model, str]] = {
    "missing": ({"weight": MODEL["weight"], "steps": MODEL["steps"]}, r"\['none'\]"),
    "extra": ({**MODEL, "bias": np.zeros(1)}, r"\['bias'\]"),
    "order": (dict(reversed(MODEL.items())), "'weight'"),
    "shape": (
        {**MODEL, "weight": np.zeros((3, 2), np.float32)},
        r"'weight' of shape \(3, 2\).*expected is shape \(2, 3\)",
    ),
    "dtype": (
        {**MODEL, "weight": np.zeros((2, 3))},
        "'weight' of shape .* and dtype float64, expected is .* dtype float32",
    ),
    "0-d": ({**MODEL, "steps": np.array([4])}, r"'steps' of shape \(1,\)"),
    "empty": ({}, "it has 0 tensors, expected are 3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_signature_is_an_error_that_names_the_tensor(change: str) -> None:
    model, says = CHANGES[change]
    with pytest.raises(ModelError, match=f"^node 3's model has .*{says}") as caught:
        check_signature(model, signature(MODEL), "node 3's model")
    assert isinstance(caught.value, ValueError | GossipError)
    assert "same model" in str(caught.value)


def test_digests_are_equal_for_equal_signatures_only() -> None:
    assert digest(signature(MODEL)) == digest(signature({k: v + 1 for k, v in MODEL.items()}))
    digests = {digest(signature(model)) for model, _ in CHANGES.values()}
    assert len(digests | {digest(signature(MODEL))}) == len(CHANGES) + 1


def test_a_digest_never_changes() -> None:
    # Nodes of different versions compare it.
    assert digest(signature(MODEL))[:16] == "a8f81ac44d8dfbce"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_are_an_error_that_names_the_tensor(
    value: float, dtype: type
) -> None:
    bad = {**MODEL, "weight": np.array([0, value], dtype)}
    with pytest.raises(ModelError, match="node 3's model has NaN or infinite values in 'weight'"):
        check_finite(bad, "node 3's model")


def test_finite_models_pass() -> None:
    check_finite({**MODEL, "flags": np.array([True]), "large": np.array([1e308])}, "it")
