"""A thousand nonsensical inputs to a real peer; ``benchmarks/fuzz_peer.py`` throws more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "fuzz_peer.py"


@pytest.fixture(scope="module")
def fuzz_peer() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_peer", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_peer"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_nonsense_is_refused_and_costs_nothing(fuzz_peer: Any) -> None:
    report = fuzz_peer.fuzz(1_000, seed=1)
    assert report.wrong == []
    assert report.inputs == 1_000
    assert report.outcomes["network", "bad token", "PERMISSION_DENIED"] > 0
    assert report.outcomes["network", "overstated length", "INVALID_ARGUMENT"] > 0
    assert {side for side, _, _ in report.outcomes} == {"network", "local", "decoder"}


def test_the_fuzzer_notices_a_model_that_is_served(fuzz_peer: Any) -> None:
    with fuzz_peer.running_peer() as peer:
        fuzz_peer.publish_good(peer)
        good = fuzz_peer.good_request(peer.address, fuzz_peer.challenge_of(peer))
        with fuzz_peer.grpc.insecure_channel(peer.address) as channel:
            path = "/flwr_gossip.peers.Peer/Fetch"
            outcome = fuzz_peer.throw(channel, path, False, [good.SerializeToString()])
    assert outcome == "SERVED"


NETWORK = [f"/flwr_gossip.peers.{name}" for name in ("Peer/Fetch", "Peer/Ask", "Peer/Probe")]


def test_any_bytes_are_refused(fuzz_peer: Any) -> None:
    """What hypothesis finds is made as small as can be: bytes, and a good request with some."""
    with fuzz_peer.running_peer() as peer:
        fuzz_peer.publish_good(peer)
        good = fuzz_peer.good_request(peer.address).SerializeToString()
        with fuzz_peer.grpc.insecure_channel(peer.address) as channel:

            @settings(max_examples=300)
            @given(
                path=st.sampled_from(NETWORK),
                cut=st.integers(0, len(good)),
                junk=st.binary(max_size=300),
                rest=st.integers(0, len(good)),
            )
            def throw(path: str, cut: int, junk: bytes, rest: int) -> None:
                outcome = fuzz_peer.throw(channel, path, False, [good[:cut] + junk + good[rest:]])
                assert outcome in fuzz_peer.REFUSALS | fuzz_peer.HARMLESS

            throw()
        assert fuzz_peer.serves(peer)
