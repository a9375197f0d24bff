"""How much the models of a mailbox may have together, and what of that is spoken for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import MailboxFull

__all__ = ["Capacity", "Reserved"]


@dataclass(slots=True)
class Reserved:
    """Bytes that are kept free for a model on its way in; 0 once it is there."""

    nbytes: int


class Capacity:
    """A limit, without locks: :mod:`.mailbox` guards it.

    Parameters
    ----------
    max_bytes : int
        The most that all models together may have, also those that are being received.
    how_to_raise : str
        The advice in the error when it is reached.
    held : Callable[[], int]
        How many bytes the models have that are here.
    """

    def __init__(self, max_bytes: int, how_to_raise: str, held: Callable[[], int]) -> None:
        if max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}, must be > 0")
        self.max_bytes, self.how_to_raise = max_bytes, how_to_raise
        self._held = held
        self._reserved = 0

    def fits(self, nbytes: int) -> bool:
        """Whether so many bytes more fit."""
        return self._held() + self._reserved + nbytes <= self.max_bytes

    def reserve(self, nbytes: int) -> Reserved:
        """Keep so many bytes free; raises ``MailboxFull`` if they do not fit."""
        if not self.fits(nbytes):
            incoming = f" and is receiving {self._reserved} bytes" if self._reserved else ""
            raise MailboxFull(
                f"the peer holds {self._held()} bytes{incoming} of its limit of {self.max_bytes}, "
                f"a model of {nbytes} bytes does not fit. {self.how_to_raise}; models leave the "
                "peer when all their readers have them."
            )
        self._reserved += nbytes
        return Reserved(nbytes)

    def release(self, room: Reserved) -> None:
        """End a reservation: the model is here, or does not come."""
        self._reserved -= room.nbytes
        room.nbytes = 0
