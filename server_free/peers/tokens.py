"""Who may read: tokens made with the key of a run, each good once.

There is no clock in it: a token is bound to one model, one requester, one nonce and the challenge
of the peer that is asked. A nonce is refused when it comes again. No nonce is ever forgotten while
a token with it is good: a peer takes a new challenge when it starts and whenever its memory of
nonces is full, and a token made for the old one is not good any more. Who asks with an old
challenge, or with none, is told the new one and asks again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct

from .links import ModelId

__all__ = ["NONCE_BYTES", "Challenge", "fingerprint", "make_nonce", "make_token", "token_is_good"]

NONCE_BYTES = 16
FINGERPRINT_BYTES = 8
REMEMBERED_NONCES = 1 << 15
"""About 4 MB for all runs together."""


def fingerprint(key: bytes) -> bytes:
    """Return 8 bytes that tell keys apart and do not tell the key."""
    return hashlib.sha256(b"flwr-gossip key" + key).digest()[:FINGERPRINT_BYTES]


def make_nonce() -> bytes:
    """Return 16 random bytes of the operating system."""
    return os.urandom(NONCE_BYTES)


def make_token(
    key: bytes, training: str, id: ModelId, requester: int, nonce: bytes, challenge: bytes
) -> bytes:
    """Return HMAC-SHA256 over what is asked, by whom, ``nonce`` and ``challenge``; 32 bytes.

    Every field has a fixed size or its length before it, so no two requests sign the same bytes.
    """
    texts = (training.encode(), nonce, challenge)
    numbers = (id.round, id.slot, id.node, requester, *map(len, texts))
    return hmac.digest(key, struct.pack(">qqqqIII", *numbers) + b"".join(texts), "sha256")


def token_is_good(
    token: bytes,
    key: bytes,
    training: str,
    id: ModelId,
    requester: int,
    nonce: bytes,
    challenge: bytes,
) -> bool:
    """Return whether ``token`` is the one for this request, in constant time."""
    return hmac.compare_digest(token, make_token(key, training, id, requester, nonce, challenge))


class Challenge:
    """What a peer wants in the tokens now, and the nonces it has seen since it wants that.

    Parameters
    ----------
    remembered : int (default: REMEMBERED_NONCES)
        After so many nonces of all runs together the challenge changes and they are forgotten.
    """

    def __init__(self, remembered: int = REMEMBERED_NONCES) -> None:
        self._remembered = remembered
        self._renew()

    def _renew(self) -> None:
        self.value = make_nonce()
        self._seen: set[bytes] = set()

    def use(self, key: bytes, nonce: bytes) -> bool:
        """Return whether ``nonce`` has the right size and is new for this key; it is now used."""
        used = fingerprint(key) + nonce
        if len(nonce) != NONCE_BYTES or used in self._seen:
            return False
        self._seen.add(used)
        if len(self._seen) >= self._remembered:
            self._renew()
        return True
