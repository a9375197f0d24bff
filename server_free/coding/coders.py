"""How a node's half-step models become what travels, and back."""

from __future__ import annotations

from typing import Protocol

from ..draws import words
from ..models import Model, ReadOnlyModel
from .coded import coded, decoded, is_coded
from .numbers import Numbers

__all__ = ["Coder", "Plain"]


class Coder(Protocol):
    """Both directions, for one node during one message."""

    def write(self, slot: int, round: int, h: Model, *, whole: bool) -> tuple[Model, Model]:
        """Return what travels for h of ``slot``, and the model that all its readers will see.

        ``whole``: it must be readable by who has read nothing before.
        """

    def read(self, slot: int, round: int, message: Model) -> Model:
        """Return the model that ``message`` stands for; raises ``WireError``."""


class Plain:
    """Each model by itself: as it is, or coded with numbers rounded at random.

    The draws are a function of (seed, round, slot), so that a run can be recomputed.
    """

    def __init__(self, how: Numbers | None = None, seed: int = 0) -> None:
        self._how, self._seed = how, seed

    def write(self, slot: int, round: int, h: Model, *, whole: bool) -> tuple[Model, Model]:
        """Return the model, coded, and as its readers see it."""
        if self._how is None:
            return h, h
        message = coded(h, self._how, words(self._seed, round, f"coding {slot}"))
        return message, decoded(message)

    def read(self, slot: int, round: int, message: Model) -> Model:
        """Return the model; those who share one message share its decoded model."""
        if not is_coded(message):
            return message
        if not isinstance(message, ReadOnlyModel):
            return decoded(message)
        if message.stands_for is None:
            message.stands_for = decoded(message)
        return message.stands_for
