"""The trainings that a peer knows: whose they are, when they were last touched, which may go."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..errors import PeerError
from .tokens import fingerprint
from .training import Training

__all__ = ["Outdated", "Register", "Unregistered"]

IDLE_S = 3600.0
"""A training that nobody touched for this long may be dropped whole when memory is short."""


class Unregistered(PeerError):
    """A peer does not know the training."""


class Outdated(PeerError):
    """A run wants to write into a training that a newer run has taken up."""

    def __init__(self, training: str) -> None:
        super().__init__(
            f"another run has taken up training {training!r} at this peer (flwr run with "
            "resume=...): what clients of an older run do for it is refused. End the older run"
        )


class Register:
    """Trainings by name, without locks: :mod:`.mailbox` guards it."""

    def __init__(self) -> None:
        self._states: dict[str, Training] = {}
        self._touched: dict[str, float] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def find(self, name: str) -> Training | None:
        """Return the state of a training, None if it is not registered."""
        return self._states.get(name)

    def get(self, name: str, run: bytes | None = None) -> Training:
        """Return the state of a training; ``run`` is the fingerprint of who writes, if known.

        Raises
        ------
        Unregistered
            If it is not registered.
        Outdated
            If it is another run's by now.
        """
        state = self._states.get(name)
        if state is None:
            raise Unregistered(
                f"training {name!r} is not registered with this peer (it may have restarted); "
                "connect again"
            )
        if run is not None and run != fingerprint(state.key):
            raise Outdated(name)
        return state

    def add(self, name: str, state: Training, age_s: float = 0.0) -> None:
        """Note a training that was touched ``age_s`` ago."""
        self._states[name] = state
        self._touched[name] = time.monotonic() - age_s

    def touch(self, name: str) -> None:
        """Note that something happened to a training, if there is such a one."""
        if name in self._states:
            self._touched[name] = time.monotonic()

    def remove(self, name: str) -> None:
        """Forget a training."""
        self._states.pop(name, None)
        self._touched.pop(name, None)

    @property
    def nbytes(self) -> int:
        """The size of all models in bytes."""
        return sum(state.nbytes for state in self._states.values())

    @property
    def num_models(self) -> int:
        """How many models are held."""
        return sum(len(state.ids()) for state in self._states.values())

    def newest_rounds(self, most: int) -> dict[str, int]:
        """Return training -> newest round held, of the ``most`` trainings touched last."""
        names = sorted(self._states, key=self._touched.__getitem__)[-most:]
        return {
            name: max((id.round for id in self._states[name].ids()), default=0) for name in names
        }

    def idle(self, for_s: float) -> list[str]:
        """Return the trainings without a client that nobody touched for ``for_s`` seconds."""
        before = time.monotonic() - for_s
        return [name for name in self._without_client() if self._touched[name] < before]

    def expendable(self, but: str) -> list[str]:
        """Return what may be dropped: without a client, ended first, then idle; oldest first."""
        idle, ended = self.idle(IDLE_S), [n for n in self._states if self._states[n].finished]
        names = {*idle, *ended} & set(self._without_client()) - {but}
        return sorted(names, key=lambda n: (not self._states[n].finished, self._touched[n]))

    def _without_client(self) -> list[str]:
        return [name for name, state in self._states.items() if not state.attached]
