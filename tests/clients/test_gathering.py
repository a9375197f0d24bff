"""What a gatherer accepts: models of the training's signature, finite, however often they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flwr_gossip.clients.gate import Gate
from flwr_gossip.clients.gathering import Gatherer
from flwr_gossip.server_free import models, topologies
from flwr_gossip.server_free.codecs import decode, encode
from flwr_gossip.server_free.coding import coded, numbers
from flwr_gossip.server_free.errors import GossipError, ModelError
from flwr_gossip.server_free.peers.links import (
    INITIAL,
    Membership,
    Missing,
    ModelId,
    Patience,
    connect,
)
from flwr_gossip.server_free.peers.memory import MemoryHost
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive

SMALL = {"w": np.ones(3, np.float32)}
LARGE = {"w": np.ones(4, np.float32)}


class Link:
    """A link that gives the same models to all, as within one process."""

    def __init__(self, model: models.Model) -> None:
        self.model = decode(encode(model))
        self.known_missing: dict[int, str] = {}

    def fetch(self, wants: Any, patience: Patience) -> list[Any]:
        return [LARGE if id == INITIAL else self.model for id in wants]

    def fetch_each(self, wants: Any, patience: Patience) -> Any:
        return iter(self.fetch(wants, patience))

    def report_missing(self, missing: Any) -> None:
        raise NotImplementedError


def gatherer(link: Link, expected: models.Model, node: int = 0) -> Gatherer:
    plan = Plan(topologies.complete(2), AllActive(2), 3)
    signature = models.digest(models.signature(expected))
    gate = Gate(link, Patience(), signature)  # type: ignore[arg-type]
    return Gatherer(plan, node, link, Patience(), gate)  # type: ignore[arg-type]


def fetched(link: Link, expected: models.Model) -> Any:
    id = ModelId(round=1, slot=1, node=1)
    return gatherer(link, expected)._fetch([id], Patience())[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_is_not_finite_is_refused_by_every_reader(value: float) -> None:
    link = Link({"w": np.array([1, value, 1], np.float32)})
    for _ in range(3):
        answer = fetched(link, SMALL)
        assert isinstance(answer, Missing)
        assert answer.kind == "refused"


def test_a_model_that_was_good_for_another_training_is_refused() -> None:
    link = Link(SMALL)
    assert fetched(link, SMALL) is link.model
    with pytest.raises(ModelError, match=r"this model has 'w' of shape \(3,\)"):
        gatherer(link, LARGE).gate.check(link.model, "this model")
    assert fetched(link, SMALL) is link.model


def test_a_peer_that_lost_the_initial_arrays_is_told_what_would_have_kept_them() -> None:
    hasty = Patience(silence_s=0.1, start_s=0.1, ceiling_s=0.1)
    with MemoryHost() as host:
        membership = Membership("t", b"k" * 32, 0, "s", (host.address,))
        with connect(host.local_address, membership) as link:
            plan = Plan(topologies.complete(2), AllActive(2), 3)
            lost = Gatherer(plan, 0, link, hasty, Gate(link, hasty, ""))
            says = r"node 0: its peer does not hold the initial arrays .*started with --store DIR"
            with pytest.raises(GossipError, match=says):
                lost.initial()


def test_a_coded_model_of_another_signature_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = Link(coded({"w": np.ones(1000, np.float32)}, numbers("bf16")))
    assert np.array_equal(fetched(link, {"w": np.ones(1000, np.float32)})["w"], np.ones(1000))

    def decode_nothing(*args: Any) -> Any:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("flwr_gossip.server_free.coding.half.BFloat16.decode", decode_nothing)
    answer = fetched(Link(link.model), SMALL)
    assert isinstance(answer, Missing)
    assert (answer.kind, "other names, shapes or dtypes" in answer.reason) == ("refused", True)


def test_a_coded_model_that_lies_is_damaged() -> None:
    message = dict(coded({"w": np.ones(1000, np.float32)}, numbers("bf16")))
    answer = fetched(Link({**message, "w": message["w"][:-1]}), SMALL)
    assert isinstance(answer, Missing)
    assert answer.kind == "damaged"


def test_good_models_are_mixed_for_every_reader() -> None:
    link = Link(SMALL)
    for node in (0, 1):
        np.testing.assert_array_equal(gatherer(link, SMALL, node).mixed(node, 1)["w"], SMALL["w"])
