"""A client's link over gRPC: to its own peer on a local address, and to the peers of others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import grpc

from ..errors import PeerError, PeerUnreachable
from ..models import Model
from ..reachability import Unreachable
from . import frames
from .answers import Answers
from .base_link import BaseLink, long_wait_s
from .fetching import Fetch
from .forks import keep_out_of_forks
from .links import Membership, Missing, ModelId, Patience, PeerInfo, TlsFiles
from .loops import LoopThread
from .own_peer import CLOSE_S, OwnPeer
from .probing import PROBE_S, Prober
from .raw import Methods, fetch_methods, relay_methods
from .receive_buffers import ReceiveBuffers
from .register import Unregistered
from .room import Room
from .tls import channel_credentials
from .training import NotReady
from .waiting import Wait

__all__ = ["GrpcLink", "describe_peer"]

T = TypeVar("T")
CLIENT_OPTIONS = (
    *frames.CHANNEL_OPTIONS,
    # Peers are dialled directly: an http_proxy in the environment is not meant for them.
    ("grpc.enable_http_proxy", 0),
    # A peer that restarts is found again soon, and links do not share a broken connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def describe_peer(local: str, timeout_s: float) -> PeerInfo:
    """Ask the peer at ``local`` who it is; raises ``PeerUnreachable``."""
    loop = LoopThread.acquire()
    try:
        return loop.run(_describe(local, timeout_s))
    finally:
        loop.release()


async def _describe(local: str, timeout_s: float) -> PeerInfo:
    async with grpc.aio.insecure_channel(local, options=CLIENT_OPTIONS) as channel:
        return await OwnPeer(channel, local, timeout_s).describe()


class GrpcLink(BaseLink):
    """A link over gRPC; see :class:`.links.PeerLink`.

    Its calls block the calling thread; what they wait for runs in one shared event loop.
    """

    def __init__(
        self, local: str, membership: Membership, *, timeout_s: float, return_s: float
    ) -> None:
        super().__init__(membership)
        self._local, self._timeout_s, self._return_s = local, timeout_s, return_s
        self._lost_at: float | None = None
        self._own: OwnPeer | None = None
        self._channels: dict[str, Any] = {}
        self._credentials: Any = None
        self._tls_files: TlsFiles | None = None
        self._max_bytes = 0
        self._challenges: dict[str, bytes] = {}
        self._small: set[str] = set()
        self._buffers = ReceiveBuffers()
        self._methods_at: dict[tuple[str, bool], Methods] = {}
        self._racing: dict[int, set[asyncio.Timeout]] = {}
        self._not_before: dict[int, float] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._tellers: set[asyncio.Task[None]] = set()
        self._keepers: set[asyncio.Task[None]] = set()
        self._loop: LoopThread | None = LoopThread.acquire()
        self._gate = threading.Lock()
        self._calls = 0
        self._connecting = asyncio.Lock()
        try:
            self._run(self._peer())
        except BaseException:
            self._mark_closed()
            self._disconnect(None)
            raise
        keep_out_of_forks(self)

    def publish(
        self, id: ModelId, model: Model, readers: Collection[int], *, keep: bool = False
    ) -> None:
        """Stream ``model`` to the own peer and wait for its acknowledgement."""
        self._check_open()
        nbytes = self._run(self._publish(id, model, readers, keep))
        self._count_publish(nbytes)

    def report_missing(self, missing: Mapping[int, str]) -> None:
        """Tell the own peer who is missing."""
        self._check_open()
        self._run(self._report(missing))

    def fetch(self, wants: Sequence[ModelId], patience: Patience) -> list[Model | Missing]:
        """Fetch all wants as tasks of the shared loop."""
        self._check_open()
        waits = [self._wait(id, self._address(id), patience) for id in wants]
        return self._run(self._fetch_all(waits, long_wait_s(patience)))

    def fetch_each(self, wants: Sequence[ModelId], patience: Patience) -> Iterator[Model | Missing]:
        """Fetch as :meth:`fetch` does, and give the answers one by one in the order of wants."""
        self._check_open()
        waits = [self._wait(id, self._address(id), patience) for id in wants]
        with self._awake() as loop:
            each = Answers(len(waits), loop.loop)
            loop.loop.call_soon_threadsafe(self._begin, waits, patience, each)
            try:
                yield from each
            finally:
                each.leave()

    def probe(self, nodes: Collection[int]) -> list[Unreachable]:
        """Probe all nodes as tasks of the shared loop."""
        self._check_open()
        found = self._run(self._probe_all(nodes))
        self._learn_cut({one.holder: f"not reached from here, {one.why}" for one in found})
        return found

    def close(self, failure: str | None = None) -> None:
        """Detach from the own peer, once, and close all connections."""
        if self._mark_closed():
            self._buffers.close()
            self._disconnect(failure)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run ``call`` in the loop."""
        with self._awake() as loop:
            return loop.run(call)

    @contextmanager
    def _awake(self) -> Iterator[LoopThread]:
        """Keep the link awake, and wake it up if it sleeps."""
        with self._gate:
            self._calls += 1
            if self._loop is None:
                self._loop = LoopThread.acquire()
            loop = self._loop
        try:
            yield loop
        finally:
            with self._gate:
                self._calls -= 1

    # ----- around a fork

    def sleep(self) -> None:
        """Detach for a moment and end gRPC, unless a call of another thread is under way."""
        with self._gate:
            if not self._closed and self._calls == 0:
                self._let_go(None)

    def wake(self) -> None:
        """Attach again, without keeping the caller waiting."""
        with self._gate:
            if not self._closed and self._loop is None:
                self._loop = LoopThread.acquire()
                self._loop.loop.call_soon_threadsafe(self._start, self._reconnect())

    def disown(self) -> None:
        """Be closed in the child: the peer hears of the parent only."""
        self._closed = True

    def _start(self, call: Coroutine[Any, Any, None]) -> None:
        """Run ``call`` in the background; the link does not let go before it has ended."""
        task = asyncio.ensure_future(call)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _reconnect(self) -> None:
        with suppress(PeerError):  # the own peer's troubles show when the client publishes
            await self._peer()

    # ----- the own peer

    async def _connect(self, within_s: float | None = None) -> OwnPeer:
        own = OwnPeer(self._channel(self._local), self._local, self._timeout_s)
        reply = await own.open(self.membership, within_s)
        self._tls_files = frames.from_description(reply.peer).tls_files
        self._credentials = _credentials(self._tls_files)
        self._max_bytes = reply.max_bytes
        self._learn(reply.known_missing)
        if self.membership.segment:
            ended = await self._attach(own)
            keeper = asyncio.ensure_future(self._keep_attached(ended))
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)
        self._own = own
        return own

    async def _attach(self, own: OwnPeer) -> asyncio.Event:
        """Attach, once more if the peer was restarted since it was opened."""
        try:
            return await own.attach(self.membership)
        except (PeerUnreachable, Unregistered):
            await own.open(self.membership, self._return_s)
            return await own.attach(self.membership)

    async def _peer(self) -> OwnPeer:
        """Return the own peer, connected."""
        async with self._connecting:
            return self._own or await self._connect()

    async def _peer_after(self, former: OwnPeer) -> OwnPeer:
        """Return the own peer, connected anew: it was restarted, or did not answer ``former``."""
        async with self._connecting:
            if self._own is not None and self._own is not former:
                return self._own
            now = time.monotonic()
            self._lost_at = self._lost_at or now
            own = await self._connect(max(0.0, self._lost_at + self._return_s - now))
            self._lost_at = None
            former.abandon()
            return own

    async def _keep_attached(self, ended: asyncio.Event) -> None:
        """Attach again when the own peer was restarted, so that it knows that we are at work.

        Waits for an event, not for the stream: what it holds must not keep gRPC alive.
        """
        await ended.wait()
        if self._own is not None and self._own.ended is ended:
            with suppress(PeerError):  # the own peer's troubles show when the client publishes
                await self._peer_after(self._own)

    async def _ask_own(self, call: Callable[[OwnPeer], Awaitable[T]]) -> T:
        """Return what the own peer answers; one that was restarted is asked again."""
        own = await self._peer()
        try:
            return await call(own)
        except (PeerUnreachable, Unregistered):
            return await call(await self._peer_after(own))

    async def _publish(
        self, id: ModelId, model: Model, readers: Collection[int], keep: bool
    ) -> int:
        return await self._ask_own(
            lambda own: own.publish(self.membership, id, model, readers, keep)
        )

    async def _report(self, missing: Mapping[int, str]) -> None:
        if new := self._note(missing):
            await self._ask_own(lambda own: own.tell(self.membership, self._to_tell(new)))

    def _note(self, missing: Mapping[int, str]) -> dict[int, str]:
        """Learn who is missing, wake who waits for them, and return what is new."""
        new = self._learn(missing)
        for scope in [scope for node in new for scope in self._racing.get(node, ())]:
            scope.reschedule(0.0)
        return new

    def _disconnect(self, failure: str | None) -> None:
        with self._gate:
            self._let_go(failure)

    def _let_go(self, failure: str | None) -> None:
        """Detach and end gRPC: its own thread ends with the last object of it that we hold."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            with suppress(TimeoutError):
                loop.run(self._end(failure), 3 * CLOSE_S)
        finally:
            loop.release()

    async def _end(self, failure: str | None) -> None:
        for teller in self._tellers:  # what they have to say ends with the attachment
            teller.cancel()
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=CLOSE_S)
            for task in late:
                task.cancel()
        for keeper in (keepers := list(self._keepers)):
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)  # they hold objects of gRPC
        if self._own is not None:
            await self._own.detach(failure)
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
        self._methods_at.clear()
        self._connecting, self._own = asyncio.Lock(), None

    # ----- the peers of others

    def _address(self, id: ModelId) -> str:
        return self._local if self._is_own(id) else self.membership.address_of(id.node)

    async def _fetch_all(self, waits: Sequence[Wait], long_wait_s: float) -> list[Model | Missing]:
        ended = self._tell_if_long(long_wait_s)
        try:
            return await asyncio.gather(*(self._fetch_one(wait) for wait in waits))
        finally:
            ended()

    def _begin(self, waits: Sequence[Wait], patience: Patience, each: Answers) -> None:
        """Begin to fetch all of which there is room for, and the others when there is."""
        fetches = (self._fetch_one(wait, each.room, place) for place, wait in enumerate(waits))
        each.begin(map(asyncio.ensure_future, fetches), self._tell_if_long(long_wait_s(patience)))

    def _tell_if_long(self, long_wait_s: float) -> Callable[[], None]:
        """Let the own peer say that this client waits, from ``long_wait_s`` on till the call."""
        ended = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(long_wait_s, self._begin_to_tell, ended)

        def end() -> None:
            timer.cancel()
            ended.set()

        return end

    def _begin_to_tell(self, ended: asyncio.Event) -> None:
        if not self._closed:
            teller = asyncio.ensure_future(self._tell_till(ended))
            self._tellers.add(teller)
            teller.add_done_callback(self._tellers.discard)

    async def _tell_till(self, ended: asyncio.Event) -> None:
        is_first = self._begin_waiting()
        try:
            if is_first:
                await self._tell_waiting(True)
            await ended.wait()
        finally:
            is_last = self._end_waiting()
        if is_last:
            await self._tell_waiting(False)

    async def _tell_waiting(self, waiting: bool) -> None:
        with suppress(PeerError):  # the own peer's troubles show when the client publishes
            own = await self._peer()
            await own.wait(waiting)

    async def _fetch_one(
        self, wait: Wait, room: Room | None = None, place: int = 0
    ) -> Model | Missing:
        fetch = Fetch(
            self._methods(wait),
            self.membership,
            wait,
            self._max_bytes,
            self._challenges,
            self._small,
            self._buffers,
            self._hear,
            room,
            place,
        )
        answer = await self._fetch_unless_known(fetch)
        if not isinstance(answer, Missing):
            self._count_fetch(wait.id, fetch.nbytes)
        return answer

    async def _probe_all(self, nodes: Collection[int]) -> list[Unreachable]:
        await self._peer()
        prober = Prober(self.membership, self._tls_files, PROBE_S)
        address_of = self.membership.address_of
        calls = (prober.probe(self._channel(address_of(node)), node) for node in nodes)
        return [found for found in await asyncio.gather(*calls) if found is not None]

    def _methods(self, wait: Wait) -> Methods:
        """Return how to fetch: from the holder's peer, or from the one that relays."""
        relay = None if self._is_own(wait.id) else self.membership.relay_to(wait.id.node)
        address = wait.address if relay is None else self.membership.address_of(relay)
        if (at := (address, relay is None)) not in self._methods_at:
            make = fetch_methods if relay is None else relay_methods
            self._methods_at[at] = make(self._channel(address))
        return self._methods_at[at]

    async def _fetch_unless_known(self, fetch: Fetch) -> Model | Missing:
        """Fetch patiently; once the holder is known to be missing, only ask for what it has."""
        id = fetch.wait.id
        if self._is_own(id):
            return await fetch.patiently()
        while True:
            answer: Model | Missing | None = None
            if self._why_known(id) is None:
                answer = await self._race(fetch)
            answer = await self._probe(fetch) if answer is None else answer
            if answer is not None:
                return answer
            if (reason := self._why_known(id)) is not None:  # else it was heard at work again
                return fetch.wait.known(reason)

    async def _race(self, fetch: Fetch) -> Model | Missing | None:
        """Return the answer, or None if the holder becomes known to be missing before it sends."""
        racing = self._racing.setdefault(fetch.wait.id.node, set())
        try:
            async with asyncio.timeout(None) as scope:
                racing.add(scope)
                try:
                    return await fetch.patiently()
                finally:
                    racing.discard(scope)
        except TimeoutError:
            return None

    async def _probe(self, fetch: Fetch) -> Model | None:
        """Ask a missing holder once, but do not knock at a dead machine again and again."""
        node, patience = fetch.wait.id.node, fetch.wait.patience
        if time.monotonic() < self._not_before.get(node, 0.0):
            return None
        answer = await fetch.probe()
        if answer is None and not fetch.answered:
            self._not_before[node] = time.monotonic() + patience.silence_s
        return answer

    def _hear(self, wait: Wait, state: NotReady) -> None:
        """Take what a peer says of the holder and of who is missing; the own peer tells it on."""
        found = []
        if self._recognise(wait, state):
            found = [wait.id.node]
            self._not_before.pop(wait.id.node, None)
        new = self._note(self._credible(wait, state))
        if (new := self._to_tell(new)) or found:
            self._start(self._tell_on(new, found))

    async def _tell_on(self, missing: Mapping[int, str], found: Collection[int]) -> None:
        with suppress(PeerError):  # the own peer's troubles show when the client publishes
            own = await self._peer()
            await own.tell(self.membership, missing, found)

    def _channel(self, address: str) -> Any:
        if address not in self._channels:
            self._channels[address] = self._dial(address)
        return self._channels[address]

    def _dial(self, address: str) -> Any:
        if self._credentials is None or address == self._local:  # the own peer has a plain socket
            return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
        return grpc.aio.secure_channel(address, self._credentials, options=CLIENT_OPTIONS)


def _credentials(files: TlsFiles | None) -> Any:
    """Return what to dial other peers with, None for plain text."""
    if files is None:
        return None
    try:
        return channel_credentials(files)
    except OSError as error:
        raise PeerError(
            f"the own peer uses TLS, but this client cannot read {error.filename!r} "
            f"({error.strerror}); run both as the same user"
        ) from None
