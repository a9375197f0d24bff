"""Who may read: tokens made with the key of a run, each good once.

There is no clock in it: a token is bound to one model, one requester and one nonce, and a nonce
is refused when it comes again. The latest ``REMEMBERED_NONCES`` are remembered. Who has listened
and waits till a nonce is forgotten can use its token again, but only for the model it was made
for, which is of an old round by then and as a rule no longer held.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections import deque

from .links import ModelId

__all__ = ["NONCE_BYTES", "Nonces", "fingerprint", "make_nonce", "make_token", "token_is_good"]

NONCE_BYTES = 16
FINGERPRINT_BYTES = 8
REMEMBERED_NONCES = 1 << 15
"""About 5 MB for all runs together."""


def fingerprint(key: bytes) -> bytes:
    """Return 8 bytes that tell keys apart and do not tell the key."""
    return hashlib.sha256(b"flwr-gossip key" + key).digest()[:FINGERPRINT_BYTES]


def make_nonce() -> bytes:
    """Return 16 random bytes of the operating system."""
    return os.urandom(NONCE_BYTES)


def make_token(key: bytes, training: str, id: ModelId, requester: int, nonce: bytes) -> bytes:
    """Return HMAC-SHA256 over what is asked, by whom, and ``nonce``; 32 bytes.

    Every field has a fixed size or its length before it, so no two requests sign the same bytes.
    """
    name = training.encode()
    numbers = struct.pack(">qqqqII", id.round, id.slot, id.node, requester, len(name), len(nonce))
    return hmac.digest(key, numbers + name + nonce, "sha256")


def token_is_good(
    token: bytes, key: bytes, training: str, id: ModelId, requester: int, nonce: bytes
) -> bool:
    """Return whether ``token`` is the one for this request, in constant time."""
    return hmac.compare_digest(token, make_token(key, training, id, requester, nonce))


class Nonces:
    """Remembers the latest nonces of all runs together; the oldest are forgotten first."""

    def __init__(self, remembered: int = REMEMBERED_NONCES) -> None:
        self._order: deque[bytes] = deque()
        self._seen: set[bytes] = set()
        self._remembered = remembered

    def use(self, key: bytes, nonce: bytes) -> bool:
        """Return whether ``nonce`` has the right size and is new for this key; it is now used."""
        used = fingerprint(key) + nonce
        if len(nonce) != NONCE_BYTES or used in self._seen:
            return False
        self._seen.add(used)
        self._order.append(used)
        if len(self._order) > self._remembered:
            self._seen.remove(self._order.popleft())
        return True
