"""What a peer tells Prometheus, and what stands in its log."""

from __future__ import annotations

import logging
import socket
import threading
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest

from flwr_gossip.server_free.errors import PeerError
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import INITIAL, Membership, ModelId, Patience, connect
from flwr_gossip.server_free.peers.metrics import MAX_TRAININGS

FIRST, SECOND = ModelId(1, 0, 0), ModelId(2, 0, 0)
MODEL = {"layer.weight": np.arange(1000, dtype=np.float32)}
HASTY = Patience(silence_s=5, start_s=0.1, ceiling_s=5)


def member(host: PeerHost, node: int, **changes: object) -> Membership:
    fields = {"training": "t", "key": b"k" * 32, "segment": "s", **changes}
    return Membership(node=node, addresses=(host.address, host.address), **fields)  # type: ignore[arg-type]


@pytest.fixture
def host() -> Iterator[PeerHost]:
    pytest.importorskip("prometheus_client")
    with PeerHost(metrics="0") as host:
        yield host


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """See Flower's logger, which otherwise keeps its lines to itself."""
    logger = logging.getLogger("flwr")
    before, logger.propagate = logger.propagate, True
    yield caplog
    logger.propagate = before


def scraped(host: PeerHost) -> dict[str, float]:
    url = f"http://{host.metrics_address}/metrics"
    with urllib.request.urlopen(url, timeout=5) as reply:
        text = reply.read().decode()
    assert "layer.weight" not in text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("flwr_gossip_peer_"): float(value) for name, value in lines}


def test_what_is_counted(host: PeerHost) -> None:
    with connect(host.local_address, member(host, 0, last=3)) as holder:
        holder.publish(INITIAL, MODEL, readers=[])
        holder.publish(FIRST, MODEL, readers=[1])
        with connect(host.local_address, member(host, 1)) as reader:
            assert reader.fetch([FIRST], HASTY) != []
            seen = scraped(host)
    assert seen["published_bytes_total"] == 8000
    assert seen["sent_bytes_total"] == 4000
    assert seen["mailbox_bytes"] == 8000
    assert seen["mailbox_limit_bytes"] == 4 << 30
    assert seen["mailbox_models"] == 2
    assert seen['round{training="t"}'] == 1
    assert seen['fetches_total{outcome="served"}'] == 1
    assert seen['fetches_total{outcome="challenged"}'] == 1
    assert seen['fetches_total{outcome="refused"}'] == 0
    assert seen["wait_seconds_count"] == 1
    assert seen["waiting_fetches"] == 0


def test_fetches_without_a_model(host: PeerHost, log: pytest.LogCaptureFixture) -> None:
    holder = connect(host.local_address, member(host, 0, last=3))
    holder.close("the disk is full")
    with connect(host.local_address, member(host, 1)) as reader:
        reader.fetch([FIRST], HASTY)
    seen = scraped(host)
    assert seen['fetches_total{outcome="gone"}'] == 1
    assert seen['fetches_total{outcome="served"}'] == 0
    [line] = [line for line in log.messages if line.startswith("gossip peer: ")]
    assert line.startswith("gossip peer: gone training=t key=")
    assert line.endswith("segment=s round=1 slot=0 node=0 requester=1: the disk is full")


def test_the_number_of_labels_is_bounded(host: PeerHost) -> None:
    for number in range(MAX_TRAININGS + 5):
        host.open(f"training-{number:02}", b"k" * 32)
    rounds = [name for name in scraped(host) if name.startswith("round{")]
    assert len(rounds) == MAX_TRAININGS
    assert f'round{{training="training-{MAX_TRAININGS + 4}"}}' in rounds


def test_without_the_option_nothing_runs() -> None:
    pytest.importorskip("prometheus_client")
    threads = []
    for options in ({}, {"metrics": "0"}):
        with PeerHost(**options) as host:  # type: ignore[arg-type]
            threads.append(threading.active_count())
            assert bool(host.metrics_address) == bool(options)
    assert threads[1] == threads[0] + 1


def test_it_ends_with_the_peer(host: PeerHost) -> None:
    name, port = host.metrics_address.split(":")
    assert name == "127.0.0.1"
    host.stop()
    with pytest.raises(OSError):
        socket.create_connection((name, int(port)), timeout=1)


def test_an_address_that_is_taken(host: PeerHost) -> None:
    with pytest.raises(PeerError, match=r"metrics is .* Address already in use"):
        PeerHost(metrics=host.metrics_address).start()
    with pytest.raises(ValueError, match="metrics is 'x', must be HOST:PORT"):
        PeerHost(metrics="x")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(PeerError, match=r"pip install 'flwr-gossip\[metrics\]'"):
        PeerHost(metrics="0")
