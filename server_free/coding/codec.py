"""The ``codec`` argument of the strategies: what it may be and what it means."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PlanError
from .numbers import NAMES, Numbers, numbers

__all__ = ["CODECS", "NONE", "Codec"]

NONE = "none"
FEEDBACK, ACCEPTED = "choco:", ":lossy"
CODECS = (
    NONE,
    *(name if not numbers(name).coarse else f"{name}{ACCEPTED}" for name in NAMES),
    *(f"{FEEDBACK}{name}" for name in NAMES),
)
"""All values of the argument."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How models travel.

    Parameters
    ----------
    text : str (default: "none")
        "none": as they are. "fp16", "bf16": two bytes a number. "block-int8:lossy": one byte a
        number, whose error floor the user thereby accepts. "choco:" and one of the three names:
        coded differences with error feedback, for Gossip over a fixed topology, without a floor.

    Raises
    ------
    PlanError
        For any other value; it says what to write.
    """

    text: str = NONE

    def __post_init__(self) -> None:
        if self.text in NAMES and numbers(self.text).coarse:
            raise PlanError(
                f"codec is {self.text!r}: {numbers(self.text).effect} in every exchange, so that "
                "training ends at an error floor (mean squared error on quadratics: about 1e-4 of "
                "the optimum's squared norm; docs/codecs.md). Write "
                f"codec={FEEDBACK + self.text!r} for Gossip over a fixed topology, which has no "
                f"floor, or accept it by name: codec={self.text + ACCEPTED!r}."
            )
        if self.text not in CODECS:
            raise PlanError(f"codec is {self.text!r}, allowed are {', '.join(CODECS)}.")

    @property
    def feeds_back(self) -> bool:
        """Whether differences travel, and what was cut off is sent later."""
        return self.text.startswith(FEEDBACK)

    @property
    def numbers(self) -> Numbers | None:
        """The coding of the numbers, ``None`` where models travel as they are."""
        if self.text == NONE:
            return None
        return numbers(self.text.removeprefix(FEEDBACK).removesuffix(ACCEPTED))

    def describe(self) -> str:
        """Return one line on what it does to the models."""
        if self.numbers is None:
            return f"{NONE} (exact)"
        effect = "differences with error feedback" if self.feeds_back else self.numbers.effect
        return f"{self.text} ({effect})"

    def refuse_feedback(self, why: str) -> None:
        """Raise ``PlanError`` if it is one with error feedback, which ``why`` rules out."""
        if self.feeds_back:
            name = self.text.removeprefix(FEEDBACK)
            plain = name + ACCEPTED if numbers(name).coarse else name
            raise PlanError(
                f"codec is {self.text!r}, but {why}; differences need readers that stay the same. "
                f"Use Gossip over a fixed topology, or codec={plain!r} or {NONE!r}."
            )
