"""Losses that travel with a model, and what comes instead of them."""

from __future__ import annotations

import numpy as np
import pytest

from flwr_gossip.clients.loss_notes import NOTE, with_note, without_note
from flwr_gossip.server_free.errors import WireError
from flwr_gossip.server_free.orders import Loss

MODEL = {"w": np.arange(3.0)}
LOSS = Loss(
    round=4,
    slot=1,
    holder=2,
    reader=0,
    reader_slot=0,
    kind="gone",
    reason="node 2 is away",
    used="rest of the row",
)


def test_the_losses_come_back_and_the_model_is_as_it_was() -> None:
    model, losses = without_note(with_note(MODEL, [LOSS, LOSS]))
    assert losses == [LOSS, LOSS]
    assert list(model) == ["w"]
    assert model["w"] is MODEL["w"]


def test_nothing_travels_where_nothing_was_lost() -> None:
    assert with_note(MODEL, []) is MODEL
    assert without_note(MODEL) == (MODEL, [])


@pytest.mark.parametrize(
    "note",
    [
        np.zeros(4, np.float32),
        np.frombuffer(b"\xff\xfe", np.uint8),
        np.frombuffer(b"[]", np.uint8),
        np.frombuffer(b'{"texts": [], "rows": [[1]]}', np.uint8),
        np.frombuffer(b'{"texts": [""], "rows": [[1, 0, [], 0, 0, "gone", 0, 0]]}', np.uint8),
        np.frombuffer(b'{"texts": [[]], "rows": [[1, 0, 2, 0, 0, "gone", 0, 0]]}', np.uint8),
        np.full(1 << 20, ord("["), np.uint8),
        np.zeros((1 << 20) + 1, np.uint8),
    ],
)
def test_a_note_that_is_none_is_refused(note: np.ndarray) -> None:
    with pytest.raises(WireError, match="note of losses"):
        without_note({**MODEL, NOTE: note})


def test_too_many_losses_stay_at_home() -> None:
    many = [Loss(**{**_fields(LOSS), "reason": f"{i} {'x' * 1000}"}) for i in range(1100)]
    assert with_note(MODEL, many) is MODEL


def _fields(loss: Loss) -> dict[str, object]:
    return {name: getattr(loss, name) for name in Loss.__slots__}
