"""The peer of a machine: gRPC servers on the network and on a local socket, one mailbox."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ..errors import PeerError
from ..orders import plugin_version
from . import peer_pb2 as pb
from .addresses import HostPort, SocketFolder, check_can_listen, check_unix_path, parse_host_port
from .assignments import Assignments
from .base_host import BaseHost
from .certificates import check_files
from .events import Log, Observer
from .frames import CHANNEL_OPTIONS
from .guard import Guard
from .limits import MAX_REQUESTS, network_options
from .links import WIRE_VERSION, PeerInfo, TlsFiles
from .local_service import LocalService
from .loops import LoopThread
from .mailbox import DEFAULT_MAX_BYTES
from .metrics import PeerMetrics, parse_metrics_address
from .network_service import NetworkService
from .raw import serve_local_peer, serve_peer, serve_relay
from .relay import RelayService, dialler
from .shelf import Shelf
from .store import Store
from .tls import server_credentials

__all__ = ["PeerHost"]

START_S = 20.0
STOP_S = 10.0
GRACE_S = 0.5
HOW_TO_RAISE = (
    "Raise the limit with the option --max-memory of flwr-gossip peer or flwr-gossip supernode, or "
    "with PeerHost(max_bytes=...)"
)
# Without so_reuseport=0 a second peer on the same port starts and steals half of the requests.
SERVER_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.so_reuseport", 0))


class _Health(health.aio.HealthServicer):  # type: ignore[misc]
    """The standard health service without its stream, which anybody could hold for ever."""

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> None:
        """Refuse: gRPC's own clients then do without."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask with Check")


class PeerHost(BaseHost):
    """Serves the models of the clients on this machine to the peers of others.

    Parameters
    ----------
    listen : str (default: "127.0.0.1:0")
        ``HOST:PORT`` of the network side; port 0 is any free one.
    advertise : str | None (default: None)
        ``HOST:PORT`` under which others reach it; what it listens on if None. Needed where
        ``listen`` names all interfaces. Port 0 is the port it listens on.
    local : str | None (default: None)
        Where clients of this machine reach it: ``unix:PATH``, or ``HOST:PORT`` of a loopback
        interface; a socket in a fresh folder that only this user enters if None.
    tls : TlsFiles | None (default: None)
        Certificates; without them everything on the network is in plain text.
    max_bytes : int (default: 4 GiB)
        The most that all models together may have.
    store : Store, optional
        Where the models and the keys of their runs are kept on disk too, so that they outlive
        this process.
    metrics : str | None (default: None)
        ``HOST:PORT``, or ``PORT`` of 127.0.0.1, where Prometheus finds its metrics
        (:class:`.metrics.PeerMetrics`); nowhere if None.

    Raises
    ------
    ValueError
        If an address or a file is no good; the text names it. From :meth:`start`, if the store
        is no good.
    PeerError
        From :meth:`start`, if an address cannot be listened on or another peer has the store.
    """

    def __init__(
        self,
        listen: str = "127.0.0.1:0",
        advertise: str | None = None,
        local: str | None = None,
        tls: TlsFiles | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        store: Store | None = None,
        metrics: str | None = None,
    ) -> None:
        super().__init__(max_bytes, HOW_TO_RAISE, store)
        self._listen = parse_host_port(listen, "listen")
        self._advertise = _advertised(self._listen, advertise)
        self._local = local
        self._tls = None if tls is None else check_files(tls, str(self._advertise))
        self._metrics = None if metrics is None else PeerMetrics(self.mailbox)
        self._metrics_listen = parse_metrics_address(metrics or "0", "metrics")
        self._observers: list[Observer] = [Log()]
        if self._metrics is not None:
            self._observers.append(self._metrics)
        self._loop: LoopThread | None = None
        self._folder: SocketFolder | None = None
        self._shelf: Shelf | None = None
        self._servers: list[Any] = []
        self._assigned = Assignments(lambda training: self.mailbox.key(training) is not None)
        self._relay: RelayService | None = None
        self.address = ""
        self.local_address = ""
        self.listen_address = ""
        self.metrics_address = ""

    @property
    def is_serving(self) -> bool:
        """Whether it is started and its event loop lives."""
        return self._loop is not None and self._loop.is_alive

    @property
    def info(self) -> PeerInfo:
        """What this peer says about itself to its local clients."""
        has_tls = self._tls is not None
        return PeerInfo(self.address, plugin_version(), WIRE_VERSION, has_tls, self._tls)

    def start(self) -> Self:
        """Listen and serve in the background; returns when both sides answer."""
        if self._loop is not None:
            raise PeerError("this peer host is already started")
        self._loop = LoopThread.acquire()
        try:
            self.mailbox.restore()
            self._loop.run(self._start(), START_S)
            if self._metrics is not None:
                self.metrics_address = str(self._metrics.start(self._metrics_listen))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop serving; running fetches are cut off after half a second."""
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        if self._metrics is not None:
            self._metrics.stop()
        try:
            with suppress(TimeoutError):
                loop.run(self._stop(), STOP_S)
        finally:
            loop.release()
            self._remove_socket()
            self.mailbox.close_store()

    async def _start(self) -> None:
        mutual = self._tls is not None and self._tls.ca_certfile is not None
        service = NetworkService(
            self.mailbox,
            bind_requester=mutual,
            observers=self._observers,
            assigned=self._assigned,
        )
        port = await self._start_network(service)
        advertise = self._advertise
        self.listen_address = str(HostPort(self._listen.host, port))
        self.address = str(HostPort(advertise.host, advertise.port or port))
        await self._start_local()

    async def _start_network(self, service: NetworkService) -> int:
        check_can_listen(self._listen, "listen")  # gRPC would say it in its log and more darkly
        options = dict((*SERVER_OPTIONS, *network_options()))  # of two, gRPC takes the first
        server = grpc.aio.server(
            options=tuple(options.items()),
            interceptors=[Guard()],
            maximum_concurrent_rpcs=MAX_REQUESTS,
        )
        serve_peer(service, server)
        self._relay = RelayService(service, dialler(self._tls))
        serve_relay(self._relay, server)
        await _add_health(server)
        port = _bind(server, str(self._listen), "listen", self._tls)
        self._servers.append(server)
        await server.start()
        return port

    async def _start_local(self) -> None:
        server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=[Guard()])
        address = self._local_target()
        port = _bind_privately(server, address)
        self._servers.append(server)
        self.local_address = address
        if not address.startswith("unix:"):
            self.local_address = str(HostPort(parse_host_port(address, "local").host, port))
        # The own client reads here too, in plain text, without a certificate: nobody else enters.
        reading = NetworkService(self.mailbox, bind_requester=False, observers=self._observers)
        serve_peer(reading, server)
        if address.startswith("unix:"):  # else it may be another container's
            self._shelf = Shelf()
        writing = LocalService(
            self.mailbox, self.info, self._assigned, self._observers, self._shelf
        )
        serve_local_peer(writing, server)
        await server.start()

    def _local_target(self) -> str:
        if self._local is None:
            self._folder = SocketFolder()
            return f"unix:{self._folder.socket}"
        if self._local.startswith("unix:"):
            return f"unix:{check_unix_path(self._local, 'local')}"
        address = parse_host_port(self._local, "local")
        if not address.is_loopback:
            raise ValueError(
                f"local is {self._local!r}: who reaches it can write models, so it must be "
                "unix:PATH or a loopback address such as 127.0.0.1:9401"
            )
        return str(address)

    async def _stop(self) -> None:
        servers, self._servers = self._servers, []
        for server in servers:
            await server.stop(GRACE_S)
        if self._relay is not None:
            await self._relay.close()

    def _remove_socket(self) -> None:
        if self._shelf is not None:
            self._shelf.close()
            self._shelf = None
        if self._folder is not None:
            self._folder.remove()
            self._folder = None
        elif self.local_address.startswith("unix:"):
            with suppress(OSError):
                os.unlink(self.local_address.removeprefix("unix:"))


def _advertised(listen: HostPort, advertise: str | None) -> HostPort:
    address = listen if advertise is None else parse_host_port(advertise, "advertise")
    if address.is_wildcard:
        name, value = ("listen", listen) if advertise is None else ("advertise", advertise)
        raise ValueError(
            f"{name} is {str(value)!r}, which is no address that others can dial. Give the one "
            "they reach this machine at: --advertise HOST:PORT (advertise=...)"
        )
    return address


def _bind(server: Any, address: str, field: str, tls: TlsFiles | None) -> int:
    try:
        if tls is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, server_credentials(tls)))
    except RuntimeError as error:
        raise PeerError(f"{field} is {address!r}, which cannot be listened on: {error}") from None


def _bind_privately(server: Any, address: str) -> int:
    """Bind so that a unix socket is never, not even for a moment, open to other users."""
    before = os.umask(0o177)
    try:
        return _bind(server, address, "local", None)
    finally:
        os.umask(before)


async def _add_health(server: Any) -> None:
    servicer = _Health()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for name in ("", pb.DESCRIPTOR.services_by_name["Peer"].full_name):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
