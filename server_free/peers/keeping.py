"""What of a mailbox is on disk too: nothing, where the peer has no store."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from .links import ModelId
from .store import Store, StoredModel, StoredTraining
from .training import Training

__all__ = ["Keeping", "Restored", "record_of"]


@dataclass(frozen=True, slots=True)
class Restored:
    """A training that an earlier process of this peer held, and its models, read one by one."""

    name: str
    state: Training
    age_s: float
    models: Iterator[StoredModel]


class Keeping:
    """Does with a store what a mailbox asks for; nothing, where there is none."""

    def __init__(self, store: Store | None) -> None:
        self._store = store

    def restored(self) -> Iterator[Restored]:
        """Take the store for this process and yield what is in it, newest first."""
        if self._store is None:
            return
        self._store.open()
        for stored, age_s in self._store.trainings():
            models = self._store.models(stored.name)
            yield Restored(stored.name, _state_of(stored), age_s, models)

    def note(self, name: str, state: Training) -> None:
        """Keep the state of a training."""
        if self._store is not None:
            self._store.note(record_of(name, state))

    def write(self, training: str, model: StoredModel) -> None:
        """Keep a model; raises what :meth:`.store.Store.write` does."""
        if self._store is not None:
            self._store.write(training, model)

    def remove(self, training: str, ids: Collection[ModelId]) -> None:
        """Delete what has been dropped."""
        if self._store is not None and ids:
            self._store.remove(training, ids)

    def forget(self, training: str) -> None:
        """Delete a training with all its models."""
        if self._store is not None:
            self._store.forget(training)

    def close(self) -> None:
        """Give the store back."""
        if self._store is not None:
            self._store.close()


def record_of(name: str, state: Training) -> StoredTraining:
    """Return what is kept of a training beside its models."""
    return StoredTraining(
        name=name,
        key=state.key,
        addresses=state.addresses,
        finished=state.finished,
        resumed=state.resumed,
        segment_no=state.segment_no,
        recent=tuple(state.recent),
        former=tuple(sorted(one.hex() for one in state.former)),
    )


def _state_of(stored: StoredTraining) -> Training:
    return Training(
        stored.key,
        stored.addresses,
        finished=stored.finished,
        resumed=stored.resumed,
        segment_no=stored.segment_no,
        recent=list(stored.recent),
        former=set(map(bytes.fromhex, stored.former)),
    )
