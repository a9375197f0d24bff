"""Losses that travel with a model: a client that dies before it reports has told its readers.

A half-step model is what its holder made of a row from which models may have been missing. The
holder reports that when its message ends; should it die before, the numbers of all others could not
be recomputed. So what was missing goes with the model, as one tensor more, and who fetches the
model reports it as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..server_free.errors import PlanError, WireError
from ..server_free.models import Model, ReadOnlyModel
from ..server_free.orders import Loss

__all__ = ["NOTE", "with_note", "without_note"]

NOTE = "\x1elosses"
"""Name of the tensor."""

MAX_BYTES = 1 << 20


def with_note(model: Model, losses: Sequence[Loss]) -> Model:
    """Return ``model`` with the losses of the row it was made of; as it is when there are none."""
    if not losses:
        return model
    text = Loss.dump(list(losses)).encode()
    return {**model, NOTE: np.frombuffer(text, np.uint8)} if len(text) <= MAX_BYTES else model


def without_note(model: Model) -> tuple[Model, list[Loss]]:
    """Return the model without its note, and the losses in that.

    Raises
    ------
    WireError
        If the note is none.
    """
    if NOTE not in model:
        return model, []
    note = model[NOTE]
    if note.dtype != np.uint8 or note.nbytes > MAX_BYTES:
        raise WireError(f"its note of losses is {note.nbytes} bytes of {note.dtype}")
    try:
        losses = Loss.load(note.tobytes().decode())
    except (PlanError, UnicodeDecodeError) as error:
        raise WireError(f"its note of losses cannot be read: {error}") from None
    return ReadOnlyModel((name, array) for name, array in model.items() if name != NOTE), losses
