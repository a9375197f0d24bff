"""The mailbox of a peer host: bounded, shared by threads, and telling who waits about changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from logging import getLogger

from ..kept import HeldModel
from .capacity import Capacity, Reserved
from .keeping import Keeping, Restored, record_of
from .links import ModelId
from .register import Outdated, Register
from .store import Store, StoredModel
from .tokens import fingerprint
from .training import Answer, NotReady, Ready, Training
from .watchers import Watchers

__all__ = ["DEFAULT_MAX_BYTES", "Attachment", "Mailbox"]

DEFAULT_MAX_BYTES = 4 << 30
HOW_TO_RAISE = "Raise the limit with Mailbox(max_bytes=...)"

log = getLogger("flwr")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One client at work: of which training, node and segment."""

    number: int
    training: str
    node: int
    segment: str


class Mailbox:
    """Models by training and id, with the rules of who may have them and how long they stay.

    A model of round >= 1 is dropped when every reader has it, is known to be missing, has asked
    for a later round or belongs to an older segment than the last two, and two newer rounds are
    here; while memory allows, not before a reader would have noticed that its line broke. One to
    ``keep`` stays in any case till two newer segments have begun. Models of round 0 stay till
    ``close_training``. When memory is short, trainings without a client at work are dropped whole:
    those that have ended first, then those that nobody touched for an hour.

    Who writes for a client names the run, by the fingerprint of its key: of a training that a
    newer run has resumed, nothing is taken from an older one (``Outdated``).

    Parameters
    ----------
    max_bytes : int (default: 4 GiB)
        The most that all models together may have, also those that are being received.
    how_to_raise : str (default: HOW_TO_RAISE)
        The advice in the error when it is reached.
    store : Store, optional
        Where everything is kept on disk too; see :meth:`restore`.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_MAX_BYTES,
        how_to_raise: str = HOW_TO_RAISE,
        store: Store | None = None,
    ) -> None:
        self.store = store
        self._disk = Keeping(store)
        self._lock = threading.RLock()
        self._trainings = Register()
        self.capacity = Capacity(max_bytes, how_to_raise, lambda: self._trainings.nbytes)
        self._watchers = Watchers()
        self._attachments = 0

    @property
    def max_bytes(self) -> int:
        """The most that all models together may have."""
        return self.capacity.max_bytes

    # ----- trainings

    def open(
        self,
        training: str,
        key: bytes,
        addresses: tuple[str, ...] = (),
        final: bool = False,
        resumed: int = 0,
    ) -> None:
        """Register ``training`` with its key; another key is that of a run that resumes it.

        With ``final`` the training ends with the message that opens it; ``resumed`` is the round
        after which the run goes on, 0 if it began the training. Raises ``Outdated`` for the key
        of a run that another has resumed.
        """
        with self._lock:
            state = self._trainings.find(training)
            before = None if state is None else record_of(training, state)
            if state is None:
                self._close_outdated()
                state = Training(key, resumed=resumed)
                self._trainings.add(training, state)
            elif state.key != key:
                if fingerprint(key) in state.former:
                    raise Outdated(training)
                self._disk.remove(training, state.rekey(key, resumed))
            state.addresses = addresses or state.addresses
            state.finished = state.finished or final
            if record_of(training, state) != before:
                self._disk.note(training, state)
            self._changed(training)

    def close_training(self, training: str) -> None:
        """Forget ``training`` and all its models."""
        with self._lock:
            self._trainings.remove(training)
            self._disk.forget(training)
            self._changed(training)

    def key(self, training: str) -> bytes | None:
        """Return the key of ``training``, None if it is not registered."""
        with self._lock:
            state = self._trainings.find(training)
            return None if state is None else state.key

    def addresses(self, training: str) -> tuple[str, ...]:
        """Return the nodes' addresses as the local client told them; may be empty."""
        with self._lock:
            state = self._trainings.find(training)
            return () if state is None else state.addresses

    # ----- the clients of this host's nodes

    def attach(
        self,
        training: str,
        node: int,
        segment: str,
        first: int = 0,
        last: int = 0,
        *,
        run: bytes | None = None,
    ) -> Attachment:
        """Note that the client of ``node`` works on ``segment``, rounds ``first`` to ``last``."""
        with self._lock:
            self._attachments += 1
            attachment = Attachment(self._attachments, training, node, segment)
            state = self._trainings.get(training, run)
            if state.attach(node, segment, attachment.number, first, last):
                self._disk.note(training, state)
            self._changed(training, node)
            return attachment

    def detach(self, attachment: Attachment, failure: str | None = None) -> None:
        """End ``attachment``, once; with ``failure`` its node is gone and that is why."""
        with self._lock:
            state = self._trainings.find(attachment.training)
            if state is not None:
                state.detach(attachment.node, attachment.number, failure)
                self._changed(attachment.training, attachment.node)

    def wait(self, attachment: Attachment, waiting: bool) -> None:
        """Note that a client waits for others' models, or goes on; its readers are told."""
        with self._lock:
            state = self._trainings.find(attachment.training)
            if state is not None:
                state.wait(attachment.node, attachment.number, waiting)
                self._changed(attachment.training, attachment.node)

    def report_missing(
        self,
        training: str,
        segment: str,
        missing: Mapping[int, str],
        found: Iterable[int] = (),
        *,
        run: bytes | None = None,
    ) -> None:
        """Note who is missing in ``segment``, and who is ``found`` not to be.

        Everyone who waits in the training is told of the missing.
        """
        with self._lock:
            state = self._trainings.get(training, run)
            state.found(found)
            if missing:
                state.report_missing(segment, missing)
                self._disk.remove(training, state.drop_read())
                self._changed(training)

    def hear_from(self, training: str, node: int) -> None:
        """Note that ``node`` has asked for something: it is not missing."""
        with self._lock:
            if (state := self._trainings.find(training)) is not None:
                state.found([node])

    # ----- models

    def put(
        self,
        training: str,
        id: ModelId,
        model: HeldModel,
        readers: Collection[int] = (),
        *,
        keep: bool = False,
        room: Reserved | None = None,
        run: bytes | None = None,
    ) -> None:
        """Hold ``model`` till ``readers`` have it, and with ``keep`` for two segments more.

        With a store it is on disk before anybody reads it. ``room`` is what :meth:`room` gave for
        it, if it was received under that.

        Raises
        ------
        MailboxFull
            If it does not fit.
        PeerError
            If ``id`` is here with other content, or the training is not registered.
        """
        with self._lock:
            state = self._trainings.get(training, run)
            if not state.is_news(id, model):
                return
            grows = max(0, model.nbytes - state.size(id))
            room = room or self._reserve(training, grows, id.round)
            segment_no = state.segment_no
        try:
            if self.store is not None:  # not under the lock: others read and wait meanwhile
                stored = StoredModel(id, model.encoded(), frozenset(readers), keep, segment_no)
                self._disk.write(training, stored)
            with self._lock:
                self.capacity.release(room)
                state = self._still(training, run, id)
                state.put(id, model, readers, keep)
                self._disk.remove(training, state.drop_read())
                self._changed(training, id.node)
        finally:
            self._release(room)

    def _still(self, training: str, run: bytes | None, id: ModelId) -> Training:
        """Return the state of ``training`` if it is still that run's, which has written ``id``.

        Two runs that write the same id in the same moment leave either content on disk, or none.
        """
        try:
            return self._trainings.get(training, run)
        except Outdated:
            if id not in self._trainings.get(training):
                self._disk.remove(training, [id])
            raise

    def look(self, training: str, id: ModelId, reader: int, segment: str = "") -> Answer:
        """Return the model for node ``reader``, or whether it may still come."""
        with self._lock:
            if (state := self._trainings.find(training)) is None:
                return NotReady(started=False, round=0, known_missing={})
            return state.look(id, reader, segment)

    def take(
        self, training: str, key: bytes, id: ModelId, reader: int, segment: str, again: bool
    ) -> Answer | None:
        """Return what :meth:`look` does; a model counts as delivered. None under another key.

        Unless the node asks ``again``, it is heard as by :meth:`hear_from`. For readers in this
        process, to whom nothing can get lost on the way.
        """
        with self._lock:
            if self.key(training) != key:
                return None
            state = self._trainings.get(training)
            if not again:
                state.found([reader])
            answer = state.look(id, reader, segment)
            if isinstance(answer, Ready):
                state.delivered(id, reader)
                self._disk.remove(training, state.drop_read())
            return answer

    def delivered(self, training: str, id: ModelId, reader: int, doubt_s: float = 0.0) -> None:
        """Note that the model was sent to node ``reader``, which may ask again for ``doubt_s``."""
        with self._lock:
            if (state := self._trainings.find(training)) is not None:
                state.delivered(id, reader, doubt_s)
                self._disk.remove(training, state.drop_read())

    def known_missing(self, training: str, segment: str) -> Mapping[int, str]:
        """Node -> reason of who is missing in ``segment`` as far as this host knows."""
        with self._lock:
            return self._trainings.get(training).known_missing(segment)

    def held(self, training: str) -> tuple[ModelId, ...]:
        """Return the ids of the models held of ``training``."""
        with self._lock:
            state = self._trainings.find(training)
            return () if state is None else tuple(state.ids())

    # ----- disk

    def restore(self) -> None:
        """Take the store for this process, and everything that is in it.

        What does not fit into the memory limit stays on disk, unread, the oldest trainings first.
        Should it fail, the store is given back.
        """
        with self._lock:
            before = set(self._trainings)
            try:
                for one in self._disk.restored():
                    if one.name not in before:
                        self._take_back(one)
            except BaseException:
                for name in set(self._trainings) - before:
                    self._trainings.remove(name)
                self._disk.close()
                raise

    def _take_back(self, kept: Restored) -> None:
        self._trainings.add(kept.name, kept.state, kept.age_s)
        for one in kept.models:
            if self.capacity.fits(one.model.nbytes):
                kept.state.restore(one)
            else:
                log.warning("store: %s is left out. %s", one.id, self.capacity.how_to_raise)
        log.info("store: %d models of a training are back", len(kept.state.ids()))

    def close_store(self) -> None:
        """Give the store back."""
        self._disk.close()

    def _close_outdated(self) -> None:
        """Delete trainings that are too old for the disk."""
        if self.store is not None:
            for name in self._trainings.idle(self.store.max_age_s):
                self.close_training(name)

    # ----- memory

    @property
    def nbytes(self) -> int:
        """The size of all models in bytes."""
        with self._lock:
            return self._trainings.nbytes

    @property
    def num_models(self) -> int:
        """How many models are held."""
        with self._lock:
            return self._trainings.num_models

    def newest_rounds(self, most: int) -> dict[str, int]:
        """Return training -> newest round held, of the ``most`` trainings touched last."""
        with self._lock:
            return self._trainings.newest_rounds(most)

    @contextmanager
    def room(self, training: str, nbytes: int, round: int = 0) -> Iterator[Reserved]:
        """Keep ``nbytes`` free for a model that is being received; it is then :meth:`put` with it.

        Raises ``MailboxFull`` if they do not fit.
        """
        room = self._reserve(training, nbytes, round)
        try:
            yield room
        finally:
            self._release(room)

    def _reserve(self, training: str, nbytes: int, round: int) -> Reserved:
        """Keep ``nbytes`` free; what all have read, and other trainings, make room first."""
        with self._lock:
            if not self.capacity.fits(nbytes):
                for name in set(self._trainings):
                    coming = round if name == training else 0
                    dropped = self._trainings.get(name).drop_read(coming, spare_memory=True)
                    self._disk.remove(name, dropped)
            for other in self._trainings.expendable(training):
                if self.capacity.fits(nbytes):
                    break
                self.close_training(other)
            return self.capacity.reserve(nbytes)

    def _release(self, room: Reserved) -> None:
        with self._lock:
            self.capacity.release(room)

    # ----- who waits

    def watch(
        self, training: str, node: int, wake: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Call ``wake`` at every change that may concern a model of ``node``."""
        return self._watchers.watch(training, node, wake)

    def wake_all(self) -> None:
        """Wake everyone who waits, for example because the host stops."""
        with self._lock:
            self._watchers.wake_all()

    def _changed(self, training: str, node: int | None = None) -> None:
        """Wake who waits for ``node``, or for any node, of ``training``."""
        self._trainings.touch(training)
        self._watchers.wake(training, node)
