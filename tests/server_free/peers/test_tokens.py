"""Tokens bind what is asked to who asks; nonces are good once."""

from __future__ import annotations

import hmac
import struct
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.server_free.peers.links import ModelId
from flwr_gossip.server_free.peers.tokens import (
    Challenge,
    fingerprint,
    make_nonce,
    make_token,
    token_is_good,
)

ids = st.builds(ModelId, st.integers(0, 2**40), st.integers(0, 2**20), st.integers(-1, 2**40))
requests = st.tuples(
    st.binary(min_size=32, max_size=32), st.text(max_size=9), ids, st.integers(0, 2**40),
    st.binary(max_size=20), st.binary(max_size=20),
)  # fmt: skip


@given(first=requests, second=requests)
def test_a_token_is_good_for_its_own_request_only(first: tuple, second: tuple) -> None:
    assert token_is_good(make_token(*first), *first)
    assert token_is_good(make_token(*first), *second) == (first == second)


def test_training_nonce_and_challenge_cannot_be_shifted_into_each_other() -> None:
    id, key = ModelId(1, 0, 0), b"k" * 32
    texts = [("ab", b"c", b"d"), ("a", b"bc", b"d"), ("ab", b"", b"cd"), ("ab", b"cd", b"")]
    made = {make_token(key, name, id, 0, nonce, challenge) for name, nonce, challenge in texts}
    assert len(made) == len(texts)


def test_the_token_is_the_documented_hmac() -> None:
    message = struct.pack(">qqqqIII", 3, 2, 1, 7, 1, 16, 16) + b"t" + b"n" * 16 + b"c" * 16
    expected = hmac.new(b"k" * 32, message, "sha256").digest()
    assert make_token(b"k" * 32, "t", ModelId(3, 2, 1), 7, b"n" * 16, b"c" * 16) == expected


def test_nonces_are_good_once_for_each_key() -> None:
    challenge, nonce = Challenge(), make_nonce()
    assert challenge.use(b"k", nonce)
    assert not challenge.use(b"k", nonce)
    assert challenge.use(b"other", nonce)
    assert not challenge.use(b"k", b"short")


def test_a_nonce_is_forgotten_only_with_its_challenge() -> None:
    challenge = Challenge(remembered=10)
    used: dict[bytes, set[tuple[bytes, bytes]]] = {}
    for number in range(100):
        pair = bytes([number % 7]), make_nonce()
        used.setdefault(challenge.value, set()).add(pair)
        assert challenge.use(*pair)
        assert not any(challenge.use(*pair) for pair in used.get(challenge.value, ()))
    assert [len(pairs) for pairs in used.values()] == [10] * 10


def test_two_peers_want_different_tokens() -> None:
    assert Challenge().value != Challenge().value


def test_the_nonces_of_a_peer_take_a_few_megabytes() -> None:
    tracemalloc.start()
    try:
        challenge = Challenge()
        for number in range(50_000):
            assert challenge.use(b"k", number.to_bytes(16, "big"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20


def test_a_fingerprint_tells_keys_apart() -> None:
    assert fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
    assert b"a" * 4 not in fingerprint(b"a" * 32)
