"""What both kinds of peer host share: one mailbox and the calls of its owner."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..codecs import encode
from ..models import Model
from .links import INITIAL
from .mailbox import Mailbox

__all__ = ["BaseHost"]


class BaseHost:
    """Owns a mailbox; a context manager that starts and stops."""

    def __init__(self, max_bytes: int, how_to_raise: str) -> None:
        self.mailbox = Mailbox(max_bytes, how_to_raise)

    def open(self, training: str, key: bytes) -> None:
        """Register ``training`` with the 32-byte ``key`` of its run."""
        self.mailbox.open(training, key)

    def put_initial(self, training: str, model: Model) -> None:
        """Hold ``model`` as the initial arrays of a registered training."""
        self.mailbox.put(training, INITIAL, encode(model))

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
