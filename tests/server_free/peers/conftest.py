"""Hosts of both transports; every test of the link contract runs over each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Membership, PeerLink, connect
from flwr_gossip.server_free.peers.memory import MemoryHost

KEY = b"k" * 32
HOSTS: dict[str, Callable[..., Any]] = {"grpc": PeerHost, "memory": MemoryHost}


@pytest.fixture(params=sorted(HOSTS))
def make_host(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Start hosts of one transport; all are stopped at the end."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(HOSTS[request.param](**options))


class Ring:
    """Some hosts, one for each node, and links to them."""

    def __init__(self, hosts: list[Any], stack: ExitStack) -> None:
        self.hosts = hosts
        self.addresses = tuple(host.address for host in hosts)
        self._stack = stack

    def membership(self, node: int, segment: str = "s", **changes: Any) -> Membership:
        fields = {"training": "t", "key": KEY, "addresses": self.addresses, **changes}
        return Membership(node=node, segment=segment, **fields)

    def link(self, node: int, segment: str = "s", **changes: Any) -> PeerLink:
        host = self.hosts[node % len(self.hosts)]
        link = connect(host.local_address, self.membership(node, segment, **changes))
        self._stack.callback(link.close)
        return link


@pytest.fixture
def make_ring(make_host: Callable[..., Any]) -> Iterator[Callable[..., Ring]]:
    """Start ``num`` hosts; links made through it are closed at the end."""
    with ExitStack() as stack:
        yield lambda num, **options: Ring([make_host(**options) for _ in range(num)], stack)


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], Any]], Callable[[], Any]]]:
    """Run a call in a thread; what it returns waits for the result."""
    threads: list[threading.Thread] = []

    def start(call: Callable[[], Any]) -> Callable[[], Any]:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(call()))
        threads.append(thread)
        thread.start()

        def result(timeout_s: float = 20.0) -> Any:
            thread.join(timeout_s)
            assert not thread.is_alive(), "the call still waits"
            return results[0]

        return result

    yield start
    for thread in threads:
        thread.join(20.0)
