"""What strangers can cost a peer: the limits of its server on the network.

Who has no key of a run, and under mutual TLS no certificate, can open connections and ask. Each
connection costs a file descriptor and about 20 kB; what it asks is small and is soon answered, or
waits in one of the few places for runs that are not registered (:mod:`.network_service`).
"""

from __future__ import annotations

import resource

__all__ = ["MAX_REQUESTS", "max_connections", "network_options"]

MAX_CONNECTIONS = 4096
MAX_REQUESTS = 8192
"""At the same time, over all connections; what is beyond is told so and asks again."""
MAX_STREAMS = 1024
"""Requests of one connection at the same time; what is beyond waits at the sender."""
MAX_REQUEST_BYTES = 64 << 10
HANDSHAKE_MS = 10_000
IDLE_MS = 120_000
"""A connection without a request is closed after this; the next request opens another."""
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 30_000, 20_000
"""Who does not answer a ping within the second is gone, as after a power cut."""
IDENTITY_ONLY = 1
"""gRPC's set of compressions with none in it: nobody sends a few bytes that unpack to many."""


def max_connections() -> int:
    """Return how many connections are taken: half of this process's file descriptors at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft < 0 else min(MAX_CONNECTIONS, max(1, soft // 2))


def network_options() -> tuple[tuple[str, int], ...]:
    """Return gRPC's options for a server that strangers reach."""
    return (
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_allowed_incoming_connections", max_connections()),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ONLY),
    )
