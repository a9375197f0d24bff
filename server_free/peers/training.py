"""What one peer host holds of one training: its models, its nodes, and who is missing.

No locks and no threads: :mod:`.mailbox` guards these objects.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import PeerError
from ..kept import HeldModel
from .links import ModelId
from .store import StoredModel
from .tokens import fingerprint

__all__ = ["Absent", "Answer", "NotReady", "Ready", "Training"]

KEPT_ROUNDS = 2
KEPT_SEGMENTS = 2
DOUBTED_ROUNDS = 8
DOUBTED_BYTES = 256 << 20
"""The most that is kept of models sent to readers who may ask again."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """The model may still come; what the holder is doing.

    Parameters
    ----------
    started : bool
        Whether the holder's client is attached to some segment now.
    round : int
        The newest round the holder has published, 0 if none.
    known_missing : Mapping[int, str]
        Node -> reason: who is known to be missing in the segment asked about.
    waiting : bool (default: False)
        Whether the holder's client waits for others itself.
    working_s : float (default: 0.0)
        If it does not: for how many seconds it has worked since it attached, published or
        waited.
    """

    started: bool
    round: int
    known_missing: Mapping[int, str]
    waiting: bool = False
    working_s: float = field(default=0.0, compare=False)

    def at_work(self, within_s: float) -> bool:
        """Whether the client is there and waits for others or gave a word ``within_s``."""
        return self.started and (self.waiting or self.working_s < within_s)


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is here; ``state`` is what would be said of its holder if it were not."""

    model: HeldModel
    state: NotReady


@dataclass(frozen=True, slots=True)
class Absent:
    """The model will not come; ``kind`` and ``reason`` as in :class:`.links.Missing`."""

    kind: str
    reason: str


Answer = Ready | NotReady | Absent


@dataclass(slots=True)
class _Held:
    model: HeldModel
    readers: set[int]  # who has not read it yet
    segment_no: int
    keep: bool
    of_this_run: bool = True
    doubted: dict[int, float] = field(default_factory=dict)  # reader -> till when it may ask again


@dataclass(frozen=True, slots=True)
class Gone:
    """A client ended in failure: of its rounds up to ``until`` no more will come."""

    until: int
    reason: str


@dataclass(slots=True)
class _Node:
    attachments: dict[int, int] = field(default_factory=dict)  # number -> last round it works on
    first: int = 0  # of an older round its clients will publish nothing more
    newest: int = 0
    gone: Gone | None = None
    waiting: set[int] = field(default_factory=set)  # attachments whose clients wait for others
    heard: float = 0.0  # when a client last gave a word, by the monotonic clock

    def state(self, known_missing: Mapping[int, str]) -> NotReady:
        """What a reader is told who waits for this node."""
        started = bool(self.attachments)
        waiting = started and self.waiting >= self.attachments.keys()
        working_s = time.monotonic() - self.heard if started and not waiting else 0.0
        return NotReady(started, self.newest, known_missing, waiting, working_s)


@dataclass(slots=True)
class Training:
    """The state of one training in one peer host."""

    key: bytes
    addresses: tuple[str, ...] = ()
    nbytes: int = 0
    finished: bool = False
    resumed: int = 0
    segment_no: int = 0
    recent: list[str] = field(default_factory=list)  # names of the last segments
    former: set[bytes] = field(default_factory=set)  # fingerprints of the keys of older runs
    _rounds: dict[int, dict[ModelId, _Held]] = field(default_factory=dict)
    _nodes: dict[int, _Node] = field(default_factory=dict)
    _asked: dict[int, int] = field(default_factory=dict)  # reader -> newest round it asked for
    _missing: dict[str, dict[int, str]] = field(default_factory=dict)  # segment -> node -> reason
    _not_reading: set[int] = field(default_factory=set)  # reported missing in the last segment

    def rekey(self, key: bytes, resumed: int) -> list[ModelId]:
        """Go on as a new run, after round ``resumed``; return the models that are dropped.

        Those of later rounds are: their rounds begin anew. The others stay readable as if they
        had been published now, and may be replaced; marks, and the clients at work, are forgotten.
        """
        self.former.add(fingerprint(self.key))
        self.key, self.finished, self.resumed = key, False, resumed
        dropped = [id for round in self._rounds if round > resumed for id in self._rounds[round]]
        for id in dropped:
            self._take_out(id)
        for held in self._all():
            held.of_this_run = False
            held.readers.clear()
            held.doubted.clear()
            held.segment_no = self.segment_no
        for node in self._nodes.values():
            node.gone, node.first, node.newest = None, 0, 0
            node.attachments.clear()
            node.waiting.clear()
        self._asked.clear()
        self._missing.clear()
        self._not_reading.clear()
        return dropped

    @property
    def attached(self) -> bool:
        """Whether any client is attached."""
        return any(node.attachments for node in self._nodes.values())

    # ----- the nodes' clients

    def attach(self, node: int, segment: str, attachment: int, first: int, last: int) -> bool:
        """Note that ``node``'s client works on ``segment``; a mark "gone" is cleared.

        Returns whether the segment begins here with it.
        """
        state = self._node(node)
        state.attachments[attachment] = last
        state.heard = time.monotonic()
        state.first = max(state.first, first)
        state.gone = None
        self.found([node])
        if segment in self.recent:
            return False
        self.segment_no += 1
        self._not_reading.clear()
        self.recent = [*self.recent, segment][-KEPT_SEGMENTS:]
        self._forget_old_segments()
        return True

    def detach(self, node: int, attachment: int, failure: str | None) -> None:
        """Note that a client has ended; with ``failure`` and no other client the node is gone.

        It is gone for the rounds of its segment: in a later one it may be back.
        """
        state = self._node(node)
        last = state.attachments.pop(attachment, None)
        state.waiting.discard(attachment)
        if last is not None and failure is not None and not state.attachments:
            state.gone = Gone(last or sys.maxsize, failure)

    def wait(self, node: int, attachment: int, waiting: bool) -> None:
        """Note that a client waits for others' models, or goes on."""
        state = self._node(node)
        state.heard = time.monotonic()
        state.waiting.discard(attachment)
        if waiting and attachment in state.attachments:
            state.waiting.add(attachment)

    def _forget_old_segments(self) -> None:
        """Who read in an older segment than the last two has moved on, dead or alive."""
        for old in [s for s in self._missing if s not in self.recent]:
            del self._missing[old]
        for held in self._all():
            if held.segment_no <= self.segment_no - KEPT_SEGMENTS:
                held.readers.clear()
                held.keep = False

    def report_missing(self, segment: str, missing: Mapping[int, str]) -> None:
        """Note who is missing in ``segment`` (if not ""); their reading is not waited for."""
        if segment:
            self._missing[segment] = {**missing, **self._missing.get(segment, {})}
        self._not_reading.update(missing)

    def found(self, nodes: Iterable[int]) -> None:
        """Forget that ``nodes`` were missing: their reading is waited for again."""
        for node in nodes:
            self._not_reading.discard(node)
            for missing in self._missing.values():
                missing.pop(node, None)

    def known_missing(self, segment: str) -> Mapping[int, str]:
        """Node -> reason of who is missing in ``segment``."""
        return dict(self._missing.get(segment, {}))

    # ----- the models

    def __contains__(self, id: ModelId) -> bool:
        return self._find(id) is not None

    def size(self, id: ModelId) -> int:
        """Return the size in bytes of what is held under ``id``."""
        held = self._find(id)
        return held.model.nbytes if held else 0

    def is_news(self, id: ModelId, model: HeldModel) -> bool:
        """Return whether :meth:`put` would change anything: not for the very same model again.

        Raises ``PeerError`` if ``id`` is here with other content.
        """
        old = self._find(id)
        if old is None or not old.of_this_run:
            return True
        if old.model.encoded().same_bytes(model.encoded()):
            return False
        raise PeerError(f"{id} was already published with other content; it is not replaced")

    def put(
        self,
        id: ModelId,
        model: HeldModel,
        readers: Collection[int],
        keep: bool,
    ) -> None:
        """Hold ``model``; see :meth:`is_news`."""
        if not self.is_news(id, model):
            return
        self._hold(id, _Held(model, set(readers), self.segment_no, keep))
        self._node(id.node).heard = time.monotonic()

    def restore(self, stored: StoredModel) -> None:
        """Hold a model that an earlier process of this peer held."""
        held = _Held(stored.model, set(stored.readers), stored.segment_no, stored.keep)
        self._hold(stored.id, held)

    def _hold(self, id: ModelId, held: _Held) -> None:
        self.nbytes += held.model.nbytes - self.size(id)
        self._rounds.setdefault(id.round, {})[id] = held
        state = self._node(id.node)
        state.newest = max(state.newest, id.round)

    def look(self, id: ModelId, reader: int, segment: str) -> Answer:
        """Return the model, or whether it may still come."""
        self._asked[reader] = max(self._asked.get(reader, 0), id.round)
        state = self._nodes.get(id.node) or _Node()
        held = self._find(id)
        if held is not None:
            return Ready(held.model, state.state(self.known_missing(segment)))
        if 0 < id.round <= state.newest:
            return Absent("dropped", f"it has published round {state.newest} and no longer has it")
        if 0 < id.round <= self.resumed:
            return Absent("dropped", f"the run was resumed after round {self.resumed} without it")
        if 0 < id.round < state.first:
            return Absent("dropped", f"its client works from round {state.first} on")
        if state.gone is not None and id.round <= state.gone.until:
            return Absent("gone", state.gone.reason)
        return state.state(self.known_missing(segment))

    def delivered(self, id: ModelId, reader: int, doubt_s: float = 0.0) -> None:
        """Note that ``reader`` has the model; for ``doubt_s`` it may find that it has not."""
        if (held := self._find(id)) is not None:
            held.readers.discard(reader)
            if doubt_s > 0.0:
                held.doubted[reader] = time.monotonic() + doubt_s

    def drop_read(self, coming: int = 0, *, spare_memory: bool = False) -> list[ModelId]:
        """Drop, and return, what all have read and is older than the newest two rounds.

        What was sent is kept a while, in some rounds and up to some size, for readers who find that
        their line broke before they had it. To ``spare_memory`` it is not; the round of a model
        that is ``coming`` counts as here then.
        """
        rounds = sorted({*self._rounds, coming} if coming else self._rounds)[:-KEPT_ROUNDS]
        read = [
            (id, held)
            for round in reversed(rounds)
            if round > 0
            for id, held in self._rounds.get(round, {}).items()
            if not self._awaited(id, held)
        ]
        room, now = 0 if spare_memory else DOUBTED_BYTES, time.monotonic()
        oldest = max(self._rounds, default=0) - DOUBTED_ROUNDS
        dropped = []
        for id, held in read:
            if id.round > oldest and held.model.nbytes <= room and self._in_doubt(id, held, now):
                room -= held.model.nbytes
            else:
                self._take_out(id)
                dropped.append(id)
        return dropped

    def _take_out(self, id: ModelId) -> None:
        of_round = self._rounds[id.round]
        self.nbytes -= of_round.pop(id).model.nbytes
        if not of_round:
            del self._rounds[id.round]

    def ids(self) -> list[ModelId]:
        """Return the ids of all models held, in order."""
        return sorted(id for held in self._rounds.values() for id in held)

    def _awaited(self, id: ModelId, held: _Held) -> bool:
        """Whether it is to be kept, or a reader has not read it nor asked for a later round."""
        readers = held.readers - self._not_reading
        return held.keep or any(self._asked.get(reader, 0) <= id.round for reader in readers)

    def _in_doubt(self, id: ModelId, held: _Held, now: float) -> bool:
        """Whether a reader may ask for it again: it has asked for nothing later yet."""
        return any(
            until > now and self._asked.get(reader, 0) <= id.round
            for reader, until in held.doubted.items()
        )

    def _find(self, id: ModelId) -> _Held | None:
        return self._rounds.get(id.round, {}).get(id)

    def _all(self) -> list[_Held]:
        return [held for of_round in self._rounds.values() for held in of_round.values()]

    def _node(self, node: int) -> _Node:
        return self._nodes.setdefault(node, _Node())
