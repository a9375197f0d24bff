"""What both kinds of peer host share: one mailbox and the calls of its owner."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..codecs import encode
from ..kept import HeldModel
from ..models import Model
from .links import INITIAL
from .mailbox import Mailbox
from .store import Store

__all__ = ["BaseHost"]


class BaseHost:
    """Owns a mailbox; a context manager that starts and stops."""

    def __init__(self, max_bytes: int, how_to_raise: str, store: Store | None) -> None:
        self.mailbox = Mailbox(max_bytes, how_to_raise, store)

    def open(self, training: str, key: bytes, resumed: int = 0) -> None:
        """Register ``training`` with the 32-byte ``key`` of its run.

        ``resumed`` is the round after which the run goes on, 0 if it began the training.
        """
        self.mailbox.open(training, key, resumed=resumed)

    def put_initial(self, training: str, model: Model) -> None:
        """Hold ``model`` as the initial arrays of a registered training."""
        self.mailbox.put(training, INITIAL, self._stored(model))

    def _stored(self, model: Model) -> HeldModel:
        """Return ``model`` as this host's readers take it."""
        return encode(model)

    def close_training(self, training: str) -> None:
        """Forget ``training`` and all its models."""
        self.mailbox.close_training(training)

    def start(self) -> Self:
        """Start serving and return this host."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop serving; does nothing when stopped."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
