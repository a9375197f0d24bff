"""Tokens bind what is asked to who asks; nonces are good once."""

from __future__ import annotations

import hmac
import struct
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.server_free.peers.links import ModelId
from flwr_gossip.server_free.peers.tokens import (
    Nonces,
    fingerprint,
    make_nonce,
    make_token,
    token_is_good,
)

ids = st.builds(ModelId, st.integers(0, 2**40), st.integers(0, 2**20), st.integers(-1, 2**40))
requests = st.tuples(
    st.binary(min_size=32, max_size=32), st.text(max_size=9), ids, st.integers(0, 2**40),
    st.binary(max_size=20),
)  # fmt: skip


@given(first=requests, second=requests)
def test_a_token_is_good_for_its_own_request_only(first: tuple, second: tuple) -> None:
    assert token_is_good(make_token(*first), *first)
    assert token_is_good(make_token(*first), *second) == (first == second)


def test_training_and_nonce_cannot_be_shifted_into_each_other() -> None:
    id = ModelId(1, 0, 0)
    assert make_token(b"k" * 32, "ab", id, 0, b"c") != make_token(b"k" * 32, "a", id, 0, b"bc")


def test_the_token_is_the_documented_hmac() -> None:
    message = struct.pack(">qqqqII", 3, 2, 1, 7, 1, 16) + b"t" + b"n" * 16
    expected = hmac.new(b"k" * 32, message, "sha256").digest()
    assert make_token(b"k" * 32, "t", ModelId(3, 2, 1), 7, b"n" * 16) == expected


def test_nonces_are_good_once_for_each_key() -> None:
    nonces, nonce = Nonces(), make_nonce()
    assert nonces.use(b"k", nonce)
    assert not nonces.use(b"k", nonce)
    assert nonces.use(b"other", nonce)
    assert not nonces.use(b"k", b"short")


def test_the_memory_of_nonces_is_bounded_for_all_runs_together() -> None:
    nonces, first = Nonces(remembered=10), make_nonce()
    assert nonces.use(b"first", first)
    for run in range(20):
        latest = [make_nonce() for _ in range(5)]
        assert all(nonces.use(bytes([run]), nonce) for nonce in latest)
        assert not any(nonces.use(bytes([run]), nonce) for nonce in latest)
        assert len(nonces._seen) == len(nonces._order) <= 10
    assert nonces.use(b"first", first)  # forgotten


def test_the_nonces_of_a_peer_take_a_few_megabytes() -> None:
    tracemalloc.start()
    try:
        nonces = Nonces()
        for number in range(50_000):
            assert nonces.use(b"k", number.to_bytes(16, "big"))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 8 << 20


def test_a_fingerprint_tells_keys_apart() -> None:
    assert fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
    assert b"a" * 4 not in fingerprint(b"a" * 32)
