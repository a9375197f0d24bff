"""CHOCO in its pure form: the nodes agree exactly on the mean, where coded models do not."""

from __future__ import annotations

import numpy as np
import pytest

from flwr_gossip.server_free.choco import Copies, with_residual
from flwr_gossip.server_free.coding import Coder, NoBase, Plain, numbers
from flwr_gossip.server_free.mixing import mix
from flwr_gossip.server_free.topologies import Topology, from_spec

SIZE = 300


def gossip(topology: Topology, coders: list[Coder], start: np.ndarray, rounds: int) -> np.ndarray:
    """Return the nodes' models after rounds of mixing alone, each node with its own coder."""
    h = start.copy()
    for t in range(1, rounds + 1):
        written = [c.write(s, t, {"w": h[s]}, whole=False) for s, c in enumerate(coders)]
        mixed = []
        for s, coder in enumerate(coders):
            row = {s: 0.0} | topology.weights(s, t)
            seen = {r: coder.read(r, t, written[r][0]) for r in row if r != s}
            seen[s] = written[s][1]
            z = mix(seen, row, own=s)
            if isinstance(coder, Copies):
                z = with_residual(z, {"w": h[s]}, seen[s])
            mixed.append(z["w"])
        h = np.stack(mixed)
    return h


def choco(name: str, count: int, dtype: str = "float64") -> list[Coder]:
    zeros = {"w": np.zeros(SIZE, dtype)}
    return [Copies(numbers(name), lambda: zeros) for _ in range(count)]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        *(("ring", name) for name in ("fp16", "bf16", "block-int8")),
        *((spec, "block-int8") for spec in ("chain", "star", "exponential", "directed-ring")),
    ],
)
def test_all_agree_on_the_exact_mean(spec: str, name: str) -> None:
    topology = from_spec(spec, num_nodes=8)
    start = np.random.default_rng(0).normal(size=(8, SIZE))
    end = gossip(topology, choco(name, 8), start, 600)
    atol = 1e-7 if name == "fp16" else 1e-9  # smaller differences than 2^-25 are 0 in fp16
    np.testing.assert_allclose(end, np.tile(start.mean(axis=0), (8, 1)), rtol=0, atol=atol)


def test_coded_models_do_not_agree_on_the_mean() -> None:
    """What error feedback is for: the same codec on whole models leaves an error."""
    topology, start = (
        from_spec("ring", num_nodes=8),
        np.random.default_rng(0).normal(size=(8, SIZE)),
    )
    plain: list[Coder] = [Plain(numbers("block-int8"), seed=1) for _ in range(8)]
    end = gossip(topology, plain, start, 600)
    assert np.abs(end - start.mean(axis=0)).max() > 1e-2


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_models_keep_their_dtype_and_their_mean(dtype: str) -> None:
    start = np.random.default_rng(0).normal(size=(6, SIZE)).astype(dtype)
    end = gossip(from_spec("ring", num_nodes=6), choco("block-int8", 6, dtype), start, 150)
    assert end.dtype == dtype
    atol = {"float16": 1e-2, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(end, np.tile(start.mean(axis=0), (6, 1)), atol=atol)


def test_a_large_ring_agrees_as_fast_as_with_exact_models() -> None:
    topology, n = from_spec("ring", num_nodes=48), 48
    start = np.random.default_rng(0).normal(size=(n, SIZE))
    end = gossip(topology, choco("block-int8", n), start, 200)
    exact = np.linalg.matrix_power(topology.matrix(1), 200) @ start
    spread = np.linalg.norm(exact - start.mean(axis=0))
    assert np.linalg.norm(end - exact) < 0.05 * spread


def test_without_the_copy_before_a_difference_cannot_be_read() -> None:
    zeros = {"w": np.zeros(SIZE)}
    writer, reader = (Copies(numbers("bf16"), lambda: zeros) for _ in range(2))
    models = [{"w": np.random.default_rng(t).normal(size=SIZE)} for t in range(5)]
    one, copy = writer.write(3, 1, models[1], whole=False)
    np.testing.assert_array_equal(reader.read(3, 1, one)["w"], copy["w"])
    writer.write(3, 2, models[2], whole=False)  # lost on the way
    three, _ = writer.write(3, 3, models[3], whole=False)
    with pytest.raises(NoBase, match=r"slot 3 in round 3, and its model of round 2 is not here"):
        reader.read(3, 3, three)
    four, copy = writer.write(3, 4, models[4], whole=True)
    np.testing.assert_array_equal(reader.read(3, 4, four)["w"], copy["w"])


def test_a_whole_copy_is_the_one_that_differences_lead_to() -> None:
    zeros = {"w": np.zeros(SIZE)}
    whole, pieces = (Copies(numbers("block-int8"), lambda: zeros) for _ in range(2))
    for t in range(1, 6):
        model = {"w": np.random.default_rng(t).normal(size=SIZE)}
        sent, copy = whole.write(0, t, model, whole=True)
        _, other = pieces.write(0, t, model, whole=False)
        assert sent is copy
        np.testing.assert_array_equal(copy["w"], other["w"])
        assert not np.array_equal(copy["w"], model["w"])


def test_a_slot_without_a_copy_begins_anew_with_its_model() -> None:
    copies = Copies(numbers("block-int8"), lambda: {"w": np.zeros(SIZE)})
    model = {"w": np.random.default_rng(0).normal(size=SIZE)}
    assert copies.write(0, 5, model, whole=False) == (model, model)


def test_integers_are_those_of_the_own_model() -> None:
    mixed, h = {"n": np.array(1), "w": np.zeros(2)}, {"n": np.array(7), "w": np.ones(2)}
    copy = {"n": np.array(5), "w": np.full(2, 0.75)}
    fixed = with_residual(mixed, h, copy)
    assert fixed["n"] == 7
    np.testing.assert_array_equal(fixed["w"], [0.25, 0.25])
