"""Prometheus metrics of a peer, served over HTTP where that is wanted (extra ``metrics``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..errors import PeerError
from .addresses import HostPort, check_can_listen, parse_host_port
from .events import OUTCOMES, FetchEvent
from .mailbox import Mailbox

__all__ = ["MAX_TRAININGS", "PeerMetrics", "parse_metrics_address"]

MAX_TRAININGS = 16
"""The round is told of so many trainings, the latest: labels must not grow without end."""
PREFIX = "flwr_gossip_peer_"
WAITS_S = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 900)
STOP_S = 5.0


def parse_metrics_address(text: str, field: str) -> HostPort:
    """Parse ``PORT``, which is of 127.0.0.1, or ``HOST:PORT``."""
    return parse_host_port(f"127.0.0.1:{text}" if text.isdigit() else text, field)


class PeerMetrics:
    """Counts what a peer does, and tells it to who asks ``http://HOST:PORT/metrics``.

    There are no weights and no names of nodes or tensors in it; the only name is the training's.

    Parameters
    ----------
    mailbox : Mailbox
        Whose bytes, models and rounds are told.

    Raises
    ------
    PeerError
        If the package prometheus-client is not installed.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise PeerError(
                "--metrics needs a package more: pip install 'flwr-gossip[metrics]'"
            ) from None
        registry = self.registry = CollectorRegistry()
        self._out = Counter(
            f"{PREFIX}sent_bytes", "Bytes of models sent to who asked.", registry=registry
        )
        self._in = Counter(
            f"{PREFIX}published_bytes", "Bytes of models of the clients here.", registry=registry
        )
        fetches = Counter(
            f"{PREFIX}fetches", "Requests by how they ended.", ["outcome"], registry=registry
        )
        self._fetches = {outcome: fetches.labels(outcome) for outcome in OUTCOMES}
        self._waiting = Gauge(
            f"{PREFIX}waiting_fetches", "Requests that have not ended.", registry=registry
        )
        self._waits = Histogram(
            f"{PREFIX}wait_seconds",
            "From a request to the answer whether there is a model.",
            buckets=WAITS_S,
            registry=registry,
        )
        registry.register(_MailboxCollector(mailbox))
        self._server: Any = None
        self._thread: Any = None

    # ----- the observer

    def begun(self) -> None:
        """Count a request."""
        self._waiting.inc()

    def fetched(self, event: FetchEvent) -> None:
        """Count how it ended."""
        self._waiting.dec()
        self._fetches[event.outcome].inc()
        self._out.inc(event.nbytes)
        if event.waited_s is not None:
            self._waits.observe(event.waited_s)

    def published(self, nbytes: int) -> None:
        """Count the bytes of a model."""
        self._in.inc(nbytes)

    # ----- the HTTP server

    def start(self, address: HostPort) -> HostPort:
        """Serve in a thread, and return where; raises ``PeerError`` if nobody can listen there."""
        from prometheus_client import start_http_server

        check_can_listen(address, "metrics")
        self._server, self._thread = start_http_server(address.port, address.host, self.registry)
        return HostPort(address.host, self._server.server_port)

    def stop(self) -> None:
        """Stop serving; does nothing when stopped."""
        server, self._server = self._server, None
        if server is not None:
            with suppress(OSError):
                server.shutdown()
            server.server_close()
            self._thread.join(STOP_S)


class _MailboxCollector:
    """Looks into the mailbox when it is asked."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def collect(self) -> Iterator[Any]:
        """Yield bytes, limit, models, and the newest round of the latest trainings."""
        from prometheus_client.core import GaugeMetricFamily as Gauge

        box = self._mailbox
        yield Gauge(f"{PREFIX}mailbox_bytes", "Bytes of all models held.", box.nbytes)
        yield Gauge(f"{PREFIX}mailbox_limit_bytes", "The most they may have.", box.max_bytes)
        yield Gauge(f"{PREFIX}mailbox_models", "Models held.", box.num_models)
        rounds = Gauge(f"{PREFIX}round", "The newest round held.", labels=["training"])
        for training, round in box.newest_rounds(MAX_TRAININGS).items():
            rounds.add_metric([training], round)
        yield rounds

    def describe(self) -> Iterator[Any]:
        """Yield nothing: what is told is known when it is asked."""
        return iter(())
