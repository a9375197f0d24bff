"""Runs with a codec against the dense reference: in this process and over gRPC, with losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from apps import SHAPES, Calls, Vector, initial, local_update, play, quadratic_app, to_vector
from coded import reference
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.models import Model
from flwr_gossip.server_free.peers import memory
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import Missing, ModelId, Patience
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation, TeleportationSearch
from flwr_gossip.strategies.decentralized import Decentralized

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
PLAIN = ("fp16", "bf16", "block-int8:lossy")
CHOCO = ("choco:fp16", "choco:bf16", "choco:block-int8")
ROUNDS = 7


def tensors(vector: Vector) -> Mapping[str, Vector]:
    sizes = [int(np.prod(shape)) for shape in SHAPES.values()]
    pieces = np.split(vector, np.cumsum(sizes)[:-1])
    return {name: p.reshape(SHAPES[name]) for name, p in zip(SHAPES, pieces, strict=True)}


def expected(strategy: Decentralized, result: GossipResult, rounds: int) -> Vector:
    assert result.plan is not None
    missing = {(loss.reader_slot, loss.round, loss.slot) for loss in result.losses}
    x0, given = to_vector(initial("float64")), strategy.settings
    return reference(
        *(result.plan, x0, local_update, rounds, missing),
        codec=given.codec,
        seed=given.seed,
        tensors=tensors,
    )


def check(strategy: Decentralized, result: GossipResult, calls: Calls, rounds: int) -> None:
    """Compare the final models, all that was given and all that was evaluated."""
    final = expected(strategy, result, rounds)[list(result.served_slots)]
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), **CLOSE)
    assert result.plan is not None
    known = [expected(strategy, result, t) for t in range(rounds + 1)]
    for (node, t), z in calls.given.items():
        np.testing.assert_allclose(z, known[t - 1][result.plan.active(t).index(node)], **CLOSE)
    for (node, t), z in calls.evaluated.items():
        np.testing.assert_allclose(z, known[t][node % result.plan.num_slots], **CLOSE)


def run(strategy: Decentralized, num_nodes: int, **options: Any) -> tuple[GossipResult, Calls]:
    calls = Calls()
    app = quadratic_app(calls, **options.pop("app", {}))
    rounds = options.pop("rounds", ROUNDS)
    return play(strategy, app, num_nodes, rounds, initial("float64"), **options), calls


@pytest.mark.parametrize("codec", [*PLAIN, *CHOCO])
def test_gossip_one_client_after_another(codec: str) -> None:
    strategy = Gossip("ring", codec=codec, evaluate_every=3, seed=4)
    result, calls = run(strategy, 5)
    assert not result.losses
    check(strategy, result, calls, ROUNDS)


@pytest.mark.parametrize("codec", PLAIN)
def test_teleportation_one_client_after_another(codec: str) -> None:
    strategy = Teleportation(3, "ring", codec=codec, evaluate_every=3, seed=4)
    result, calls = run(strategy, 6)
    assert not result.losses
    check(strategy, result, calls, ROUNDS)


@pytest.mark.parametrize("topology", ["exponential", "star"])
@pytest.mark.parametrize("rounds_per_message", [2, 3, ROUNDS])
def test_where_segments_end_does_not_change_the_copies(
    rounds_per_message: int, topology: str
) -> None:
    strategy = Gossip(
        topology,
        codec="choco:block-int8",
        rounds_per_message=rounds_per_message,
        evaluate_every=ROUNDS,
    )
    result, calls = run(strategy, 5, grid={"max_workers": 5})
    assert not result.losses
    check(strategy, result, calls, ROUNDS)


def test_a_long_segment_sends_whole_copies_now_and_then() -> None:
    strategy = Gossip("ring", codec="choco:bf16", rounds_per_message=70, fraction_evaluate=0.0)
    result, _ = run(strategy, 3, rounds=70, grid={"max_workers": 3})
    final = expected(strategy, result, 70)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), **CLOSE)


@contextmanager
def peers(number: int) -> Iterator[list[PeerHost]]:
    with ExitStack() as stack:
        yield [stack.enter_context(PeerHost()) for _ in range(number)]


def over_grpc(hosts: list[PeerHost]) -> dict[str, Any]:
    return {
        "max_workers": len(hosts),
        "node_config": lambda node: {"gossip-peer": hosts[node].local_address},
    }


@pytest.mark.parametrize(
    "strategy",
    [
        Gossip("ring", codec="bf16", rounds_per_message=4),
        Gossip("ring", codec="choco:block-int8", rounds_per_message=4),
        Teleportation(3, "ring", codec="block-int8:lossy", seed=3, rounds_per_message=4),
    ],
    ids=lambda strategy: f"{type(strategy).__name__}-{strategy.settings.codec}",
)
def test_over_grpc_the_numbers_are_the_same(strategy: Decentralized) -> None:
    with peers(5) as hosts:
        result, calls = run(strategy, 5, grid=over_grpc(hosts))
    assert not result.losses
    check(strategy, result, calls, ROUNDS)


@pytest.mark.parametrize("rounds_per_message", [1, 3])
def test_who_fails_comes_back_and_begins_with_a_whole_copy(rounds_per_message: int) -> None:
    """The client of node 1 raises once; its neighbours read it again when it is back."""

    def before_train(node: int, round: int) -> None:
        if (node, round) == (1, 2):
            raise RuntimeError("the disk is full")

    strategy = Gossip(
        "ring",
        codec="choco:block-int8",
        rounds_per_message=rounds_per_message,
        fraction_evaluate=0.0,
        peer_timeout=1.0,
    )
    app = {"before_train": before_train}
    result, calls = run(strategy, 4, rounds=9, grid={"max_workers": 4}, app=app)
    assert list(result.failures) == [1]
    assert max(t for node, t in calls.trained if node == 1) == 9
    check(strategy, result, calls, 9)


class _Losing(memory.MemoryLink):
    """Node 0 does not get node 1's model of round 2."""

    def fetch(self, wants: Sequence[ModelId], patience: Patience) -> list[Model | Missing]:
        answers = super().fetch(wants, patience)
        lost = ModelId(round=2, slot=1, node=1)
        if self.membership.node == 0 and lost in wants:
            answers[wants.index(lost)] = Missing(lost, "damaged", "lost on the way")
        return answers


def test_who_missed_a_difference_misses_the_model_till_a_whole_one_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "MemoryLink", _Losing)
    strategy = Gossip(
        "ring", codec="choco:bf16", rounds_per_message=5, fraction_evaluate=0.0, evaluate_every=10
    )
    result, calls = run(strategy, 4, rounds=10, grid={"max_workers": 4})
    assert [(loss.round, loss.reader, loss.holder, loss.kind) for loss in result.losses] == [
        (2, 0, 1, "damaged"),
        (3, 0, 1, "no-base"),
        (4, 0, 1, "no-base"),
    ]
    assert "its model of round 2 is not here" in result.losses[1].reason
    check(strategy, result, calls, 10)


def test_fewer_bytes_travel() -> None:
    def fetched(codec: str) -> int:
        strategy = Gossip("ring", codec=codec, rounds_per_message=20, fraction_evaluate=0.0)
        big = {"w": np.zeros((64, 64), np.float32)}
        return bytes_between(strategy, big)

    exact = fetched("none")
    assert fetched("bf16") == pytest.approx(exact / 2, rel=0.02)
    assert fetched("block-int8:lossy") == pytest.approx(exact / 3.94, rel=0.02)
    # 19 differences and one whole copy
    assert fetched("choco:block-int8") == pytest.approx(exact * (19 / 3.94 + 1) / 20, rel=0.02)


def bytes_between(strategy: Decentralized, model: Mapping[str, Any]) -> int:
    from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    from flwr_gossip.clients import gossip_mod

    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        content = {"arrays": msg.content["arrays"], "metrics": MetricRecord()}
        return Message(RecordDict(content), reply_to=msg)

    arrays = ArrayRecord({name: Array(array) for name, array in model.items()})
    result = play(strategy, app, 4, 20, arrays, grid={"max_workers": 4})
    return result.traffic.bytes_between_clients


def test_integers_stay_exact() -> None:
    from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    from flwr_gossip.clients import gossip_mod

    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        (record,) = msg.content.array_records.values()
        steps = record["steps"].numpy() + 1
        arrays = ArrayRecord({"w": record["w"], "steps": Array(np.asarray(steps))})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord()}), reply_to=msg)

    model = {"w": Array(np.ones(300, np.float32)), "steps": Array(np.array(2**40))}
    for codec in (*PLAIN, *CHOCO):
        strategy = Gossip("ring", codec=codec, fraction_evaluate=0.0)
        result = play(strategy, app, 3, 4, ArrayRecord(model))
        assert result.arrays["steps"].numpy() == 2**40 + 4


def test_numbers_too_large_for_the_codec_are_named() -> None:
    def update(z: Vector, node: int, round: int) -> Vector:
        return z * 1e30

    app = {"update": update}
    strategy = Gossip("ring", codec="fp16", fraction_evaluate=0.0, peer_timeout=1.0)
    with pytest.raises(Exception, match=r"'w' has numbers above 65504.*fp16"):
        run(strategy, 3, app=app)


@pytest.mark.parametrize(
    ("codec", "says"),
    [
        ("int4", "codec is 'int4', allowed are none, fp16, bf16, block-int8:lossy, choco:fp16"),
        ("choco:none", "codec is 'choco:none', allowed are"),
        (None, "codec is None, allowed are"),
        ("block-int8", r"error floor.*codec='choco:block-int8'.*codec='block-int8:lossy'"),
    ],
)
def test_a_codec_that_cannot_be_is_refused(codec: Any, says: str) -> None:
    for make in (Gossip, Teleportation, TeleportationSearch):
        with pytest.raises(PlanError, match=says):
            make(codec=codec)


def test_error_feedback_needs_readers_that_stay() -> None:
    with pytest.raises(PlanError, match=r"holders of Teleportation.*codec='block-int8:lossy'"):
        Teleportation(4, codec="choco:block-int8")
    with pytest.raises(PlanError, match=r"holders.*codec='bf16'"):
        TeleportationSearch(codec="choco:bf16")
    for topology in ("one-peer-exponential", "random-regular:2"):
        with pytest.raises(PlanError, match=rf"{topology}.* has other neighbours each round"):
            Gossip(topology, codec="choco:bf16").plan(8, 3)
    assert Gossip("ring", codec="choco:bf16").plan(8, 3).num_slots == 8
