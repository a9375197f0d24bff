"""A recorded function gives the very bits of the function."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation.batched import BatchedModel  # noqa: E402
from flwr_gossip.server_free.simulation.recording import Recorder  # noqa: E402

MODELS = {
    "mlp": lambda: [torch.nn.Linear(9, 7), torch.nn.ReLU(), torch.nn.Linear(7, 5)],
    "cnn": lambda: [
        torch.nn.Unflatten(1, (1, 3, 3)),
        torch.nn.Conv2d(1, 4, 2),
        torch.nn.GroupNorm(2, 4),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.LayerNorm(4),
        torch.nn.Linear(4, 5),
    ],
}


@pytest.mark.parametrize("layers", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("slots", [1, 6])
def test_gradients_are_the_same_bits(layers: Any, slots: int) -> None:
    torch.manual_seed(0)
    model = BatchedModel(
        torch.nn.Sequential(*layers()), torch.nn.functional.cross_entropy, torch.device("cpu")
    )
    rows = model.start.repeat(slots, 1) + 0.1 * torch.randn(slots, model.layout.width)
    views = model.layout.views(rows)
    recorded = Recorder(model._gradients._function, after=1)
    for _ in range(3):
        inputs, targets = torch.randn(slots, 8, 9), torch.randint(0, 5, (slots, 8))
        wanted, losses = model._gradients._function(views, inputs, targets)
        given, given_losses = recorded("key", views, inputs, targets)
        assert all(a.equal(b) for a, b in zip(wanted, given, strict=True))
        assert losses.equal(given_losses)
    assert recorded._programs["key"] is not recorded._function


def test_a_shape_is_recorded_once_it_recurs() -> None:
    calls = []

    def function(x: Any) -> Any:
        calls.append(len(x))
        return x + 1

    recorder = Recorder(function, after=3, most=1)
    for _ in range(7):
        assert recorder(2, torch.zeros(2)).tolist() == [1.0, 1.0]
    assert calls == [2] * 5  # the third call is recorded too, the fourth compared
    for _ in range(5):
        recorder(3, torch.zeros(3))
    assert calls[5:] == [3] * 5  # there was room for one shape


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * float(x.numpy().sum()),  # would be recorded with the sum of the first call
        lambda x: x * x.sum() if x.sum().item() > 0 else x,
    ],
)
def test_what_cannot_be_recorded_still_runs(function: Any) -> None:
    recorder = Recorder(function, after=1)
    for value in (1.0, 2.0, 3.0, 4.0):
        assert recorder("key", torch.full((2,), value)).tolist() == [2 * value**2] * 2
