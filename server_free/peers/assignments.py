"""For which pairs of nodes a peer may stand in, or be read through another, as clients tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..reachability import Relayed

__all__ = ["Assignments"]


class Assignments:
    """The pairs of each training that the ServerApp has had relayed.

    Parameters
    ----------
    is_known : Callable[[str], bool]
        Whether a training is still registered here; those that are not are forgotten.
    """

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        self._is_known = is_known
        self._pairs: dict[str, set[Relayed]] = {}

    def add(self, training: str, pairs: Iterable[Relayed]) -> None:
        """Note further pairs; those of earlier segments stay good."""
        if new := set(pairs):
            self._pairs = {t: known for t, known in self._pairs.items() if self._is_known(t)}
            self._pairs.setdefault(training, set()).update(new)

    def allow(self, training: str, reader: int, holder: int, relay: int) -> bool:
        """Return whether ``reader`` reads ``holder``'s models through ``relay``'s peer."""
        known = self._pairs.get(training, ())
        return any((p.reader, p.holder, p.relay) == (reader, holder, relay) for p in known)
