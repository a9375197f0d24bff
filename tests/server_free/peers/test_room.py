"""Large models take turns: a reader never holds many, gets all, and waits for none in vain."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from flwr_gossip.clients.gate import Gate
from flwr_gossip.clients.gathering import Gatherer
from flwr_gossip.server_free import codecs, models, topologies
from flwr_gossip.server_free.mixing import mix
from flwr_gossip.server_free.peers import answers
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import (
    Membership,
    Missing,
    ModelId,
    Patience,
    PeerLink,
    connect,
)
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive

KEY = b"k" * 32
NUM_NODES = 6
NUMBERS = 400_000
NBYTES = 4 * NUMBERS
PATIENT = Patience(silence_s=10, start_s=20, ceiling_s=20)
HASTY = Patience(silence_s=1, start_s=1.0, ceiling_s=2)


def model_of(node: int) -> dict[str, np.ndarray]:
    return {"w": np.random.default_rng(node).random(NUMBERS, np.float32), "n": np.array(node)}


@pytest.fixture
def links() -> Iterator[list[PeerLink]]:
    """One peer, and a link of each node."""
    with ExitStack() as stack:
        host = stack.enter_context(PeerHost())
        yield [
            stack.enter_context(
                connect(host.local_address, Membership("t", KEY, node, "s", (host.address,)))
            )
            for node in range(NUM_NODES)
        ]


@pytest.fixture
def most_held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tell how many models were received or held at the same time at most."""
    monkeypatch.setattr(answers, "ROOM_BYTES", NBYTES // 2)
    buffers: dict[int, weakref.ref[Any]] = {}
    counts = [0]
    place = codecs.Decoder._place

    def counted(self: Any, data: Any, end: int) -> None:
        place(self, data, end)
        buffers[id(self._buffer)] = weakref.ref(self._buffer)
        counts.append(sum(buffer() is not None for buffer in buffers.values()))

    monkeypatch.setattr(codecs.Decoder, "_place", counted)
    return lambda: max(counts)


def publish(links: list[PeerLink], nodes: list[int]) -> None:
    for node in nodes:
        links[node].publish(ModelId(1, node, node), model_of(node), readers=[0])


def gatherer(link: PeerLink, patience: Patience) -> Gatherer:
    plan = Plan(topologies.complete(NUM_NODES), AllActive(NUM_NODES), 3)
    gate = Gate(link, patience, models.digest(models.signature(model_of(0))))
    return Gatherer(plan, 0, link, patience, gate)


def test_of_many_sources_two_are_held_and_the_mix_is_that_of_all(
    links: list[PeerLink], most_held: Callable[[], int]
) -> None:
    publish(links, list(range(NUM_NODES)))
    mixed = gatherer(links[0], PATIENT).mixed(0, 1)
    everyone = {node: model_of(node) for node in range(NUM_NODES)}
    weights = {source.slot: source.weight for source in gatherer(links[0], PATIENT).plan.row(0, 1)}
    expected = mix(everyone, weights, own=0)
    assert all(mixed[name].tobytes() == expected[name].tobytes() for name in expected)
    assert most_held() <= 2


def test_a_source_that_never_comes_keeps_the_others_from_nothing(
    links: list[PeerLink], most_held: Callable[[], int]
) -> None:
    there = [0, 2, 3, 5]
    publish(links, there)
    gathering = gatherer(links[0], HASTY)
    mixed = gathering.mixed(0, 1)
    expected = mix({n: model_of(n) for n in there}, dict.fromkeys(there, 1 / NUM_NODES), own=0)
    assert mixed["w"].tobytes() == expected["w"].tobytes()
    assert [(loss.holder, loss.used) for loss in gathering.losses] == [
        (1, "rest of the row"),
        (4, "rest of the row"),
    ]
    assert most_held() <= 2


def test_a_source_that_comes_late_is_let_in_before_those_that_wait(
    links: list[PeerLink],
    most_held: Callable[[], int],
    in_background: Callable[[Callable[[], Any]], Callable[[], Any]],
) -> None:
    publish(links, [2, 3, 4])
    wants = [ModelId(1, node, node) for node in (1, 2, 3, 4)]
    result = in_background(lambda: [float(m["n"]) for m in links[0].fetch_each(wants, PATIENT)])
    publish(links, [1])
    assert result() == [1, 2, 3, 4]
    assert most_held() <= 3


def test_who_stops_half_way_leaves_nothing_behind(links: list[PeerLink]) -> None:
    publish(links, [1, 2])
    wants = [ModelId(1, node, node) for node in (1, 2, 3)]
    each = links[0].fetch_each(wants, PATIENT)
    assert not isinstance(next(each), Missing)
    each.close()
    [again] = links[0].fetch_each([wants[1]], PATIENT)
    assert again["n"] == 2
