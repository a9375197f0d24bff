"""Who may read: tokens made with the key of a run, each good once.

There is no clock in it: a token is bound to one model, one requester and one nonce, and a nonce
is refused when it comes again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections import OrderedDict

from .links import ModelId

__all__ = ["NONCE_BYTES", "Nonces", "fingerprint", "make_nonce", "make_token", "token_is_good"]

NONCE_BYTES = 16
FINGERPRINT_BYTES = 8
REMEMBERED_NONCES = 1 << 17
REMEMBERED_RUNS = 64


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
    """Remembers the nonces of the latest runs, bounded in number."""

    def __init__(self, per_run: int = REMEMBERED_NONCES, runs: int = REMEMBERED_RUNS) -> None:
        self._per_run, self._runs = per_run, runs
        self._seen: OrderedDict[bytes, OrderedDict[bytes, None]] = OrderedDict()

    def use(self, key: bytes, nonce: bytes) -> bool:
        """Return whether ``nonce`` has the right size and is new for this key; it is now used."""
        if len(nonce) != NONCE_BYTES:
            return False
        seen = self._seen.setdefault(key, OrderedDict())
        self._seen.move_to_end(key)
        if len(self._seen) > self._runs:
            self._seen.popitem(last=False)
        if nonce in seen:
            return False
        seen[nonce] = None
        if len(seen) > self._per_run:
            seen.popitem(last=False)
        return True
