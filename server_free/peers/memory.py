"""Peers inside one process: the same rules as over gRPC, without a network or any thread."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

from ..errors import PeerUnreachable
from ..kept import KeptModel
from ..models import Model
from ..orders import plugin_version
from ..reachability import Unreachable
from .base_host import BaseHost
from .base_link import BaseLink, long_wait_s
from .links import WIRE_VERSION, Membership, Missing, ModelId, Patience, PeerInfo
from .mailbox import DEFAULT_MAX_BYTES, Attachment
from .store import Store
from .tokens import fingerprint
from .training import Absent, NotReady, Ready
from .waiting import Wait

__all__ = ["MemoryHost", "MemoryLink", "find_host"]

RETRY_S = 0.05
"""How soon an address where no host is registered is tried again."""

HOW_TO_RAISE = (
    "This host holds the models of all its nodes: fewer or smaller ones need less, or raise the "
    "limit with MemoryHost(max_bytes=...)"
)

_hosts: dict[str, MemoryHost] = {}
_hosts_lock = threading.Lock()


class MemoryHost(BaseHost):
    """A peer host that only this process can reach.

    Parameters
    ----------
    max_bytes : int (default: 4 GiB)
        The most that all its models together may have.
    store : Store, optional
        Where they are kept on disk too.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, store: Store | None = None) -> None:
        super().__init__(max_bytes, HOW_TO_RAISE, store)
        self.address = self.local_address = f"memory:{uuid.uuid4().hex}"

    @property
    def info(self) -> PeerInfo:
        """What this host says about itself."""
        return PeerInfo(self.address, plugin_version(), WIRE_VERSION, tls=False)

    def start(self) -> Self:
        """Make the address known in this process, with what the store holds."""
        self.mailbox.restore()
        with _hosts_lock:
            _hosts[self.address] = self
        return self

    def stop(self) -> None:
        """Take the address back and wake who waits."""
        with _hosts_lock:
            _hosts.pop(self.address, None)
        self.mailbox.wake_all()
        self.mailbox.close_store()

    def _stored(self, model: Model) -> KeptModel:
        return KeptModel.of(model)


def find_host(address: str) -> MemoryHost:
    """Return the running host at ``address``; raises ``PeerUnreachable`` if there is none."""
    with _hosts_lock:
        host = _hosts.get(address)
    if host is None:
        raise PeerUnreachable(
            f"no peer at {address} in this process. An address of the kind memory:<id> is that of "
            "a running MemoryHost; for another process set the node-config field gossip-peer to "
            "the address of a peer started with: flwr-gossip peer --listen HOST:PORT --insecure"
        )
    return host


@dataclass(slots=True)
class _Want:
    """One model that is being fetched, and the answer once there is one."""

    wait: Wait
    answer: Model | Missing | None = None
    next_look: float = 0.0
    asked: bool = False


class MemoryLink(BaseLink):
    """A link between hosts of this process; see :class:`.links.PeerLink`."""

    def __init__(self, local: str, membership: Membership) -> None:
        super().__init__(membership)
        self._host = find_host(local)
        self._wakes: set[threading.Event] = set()
        self._run = fingerprint(membership.key)
        self._host.mailbox.open(
            membership.training,
            membership.key,
            membership.addresses,
            membership.final,
            membership.resumed,
        )
        self._attachment: Attachment | None = None
        if membership.segment:
            self._attachment = self._host.mailbox.attach(
                membership.training,
                membership.node,
                membership.segment,
                membership.first,
                membership.last,
                run=self._run,
            )
        self._learn(self._host.mailbox.known_missing(membership.training, membership.segment))

    def publish(
        self, id: ModelId, model: Model, readers: Collection[int], *, keep: bool = False
    ) -> None:
        """Put ``model`` as it is now into the own host."""
        self._check_open()
        find_host(self._host.address)
        kept = KeptModel.of(model)
        training = self.membership.training
        self._host.mailbox.put(training, id, kept, readers, keep=keep, run=self._run)
        self._count_publish(kept.nbytes)

    def report_missing(self, missing: Mapping[int, str]) -> None:
        """Tell the own host who is missing."""
        self._check_open()
        self._spread(missing)

    def probe(self, nodes: Collection[int]) -> list[Unreachable]:
        """Return none: hosts of one process always reach each other."""
        return []

    def close(self, failure: str | None = None) -> None:
        """Detach from the own host, once."""
        if self._mark_closed() and self._attachment is not None:
            self._host.mailbox.detach(self._attachment, failure)

    def _spread(self, missing: Mapping[int, str], found: Sequence[int] = ()) -> None:
        new = self._learn(missing) if missing else {}
        if not new and not found:
            return
        training, segment = self.membership.training, self.membership.segment
        tell = self._to_tell(new)
        self._host.mailbox.report_missing(training, segment, tell, found, run=self._run)
        with self._lock:
            for wake in self._wakes:
                wake.set()

    # ----- fetch

    def fetch(self, wants: Sequence[ModelId], patience: Patience) -> list[Model | Missing]:
        """Look at all mailboxes, and again whenever one of them changes."""
        self._check_open()
        all_wants = [_Want(self._wait(id, self._address(id), patience)) for id in wants]
        if self._look_at_all(all_wants):
            self._wait_for_all(all_wants, time.monotonic() + long_wait_s(patience))
        return [want.answer for want in all_wants if want.answer is not None]

    def fetch_each(self, wants: Sequence[ModelId], patience: Patience) -> Iterator[Model | Missing]:
        """Give the answers one by one; models of this process are shared and take no room."""
        return iter(self.fetch(wants, patience))

    def _wait_for_all(self, wants: Sequence[_Want], tell_at: float) -> None:
        """Look until all have an answer; from ``tell_at`` on the own host says that we wait."""
        wake = threading.Event()
        with ExitStack() as stack:
            self._watch(wants, wake, stack)
            while self._look_at_all(wants):
                soonest = min(want.next_look for want in wants if want.answer is None)
                wake.wait(max(0.0, min(soonest, tell_at) - time.monotonic()))
                wake.clear()
                if time.monotonic() >= tell_at:
                    stack.enter_context(self._waiting_long())
                    tell_at = math.inf

    def _look_at_all(self, wants: Sequence[_Want]) -> bool:
        """Look for what has no answer; return whether something still has none."""
        for want in wants:
            if want.answer is None:
                self._look(want)
        return any(want.answer is None for want in wants)

    @contextmanager
    def _waiting_long(self) -> Iterator[None]:
        """Let the own host say that this client waits for others."""
        if self._begin_waiting() and self._attachment is not None:
            self._host.mailbox.wait(self._attachment, True)
        try:
            yield
        finally:
            if self._end_waiting() and self._attachment is not None:
                self._host.mailbox.wait(self._attachment, False)

    def _address(self, id: ModelId) -> str:
        own = self._is_own(id)
        return self._host.address if own else self.membership.address_of(id.node)

    def _watch(self, wants: Sequence[_Want], wake: threading.Event, stack: ExitStack) -> None:
        with self._lock:
            self._wakes.add(wake)
        stack.callback(self._forget_wake, wake)
        for want in wants:
            with _hosts_lock:
                host = _hosts.get(want.wait.address)
            if host is not None:
                training, node = self.membership.training, want.wait.id.node
                stack.enter_context(host.mailbox.watch(training, node, wake.set))

    def _forget_wake(self, wake: threading.Event) -> None:
        with self._lock:
            self._wakes.discard(wake)

    def _look(self, want: _Want) -> None:
        """Answer ``want`` if there is an answer now, else say when to look again."""
        wait, now = want.wait, time.monotonic()
        try:
            host = find_host(wait.address)
        except PeerUnreachable:
            self._nobody(want, now)
        else:
            self._ask(want, host, now)
        reason = self._why_known(wait.id)
        if reason is not None and (want.answer is None or isinstance(want.answer, Missing)):
            want.answer = wait.known(reason)

    def _nobody(self, want: _Want, now: float) -> None:
        if now >= want.wait.heard + want.wait.patience.silence_s:
            want.answer = want.wait.unreachable("no running host of this process has this address")
        want.next_look = now + RETRY_S

    def _ask(self, want: _Want, host: MemoryHost, now: float) -> None:
        wait, mine = want.wait, self.membership
        answer = host.mailbox.take(
            mine.training, mine.key, wait.id, mine.node, mine.segment, again=want.asked
        )
        if answer is None:  # this run is not registered there yet
            answer = NotReady(started=False, round=0, known_missing={})
        else:
            want.asked = True
        if isinstance(answer, Ready):
            self._hear(wait, answer.state, now)
            want.answer = answer.model.decoded()
            self._count_fetch(wait.id, answer.model.nbytes)
        elif isinstance(answer, Absent):
            want.answer = wait.absent(answer)
        else:
            self._go_on(want, answer, now)

    def _hear(self, wait: Wait, state: NotReady, now: float) -> None:
        """Take what a host says of the holder and of who is missing."""
        wait.hear(state, now)
        found = [wait.id.node] if self._recognise(wait, state) else []
        self._spread(self._credible(wait, state) if state.known_missing else {}, found)

    def _go_on(self, want: _Want, answer: NotReady, now: float) -> None:
        self._hear(want.wait, answer, now)
        want.answer = want.wait.overdue(answer, now)
        want.next_look = want.wait.give_up_at(answer)
