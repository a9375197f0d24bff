"""Runs whose ServerApp dies and that go on in a new run: the numbers of an unbroken one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord

from apps import Calls, initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import CheckpointError, PlanError
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.store import Store
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation, TeleportationSearch
from flwr_gossip.strategies.decentralized import Decentralized
from reference import dense

NODES, ROUNDS = 5, 12
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
Make = Callable[..., Decentralized]


class Death(Exception):
    """The ServerApp dies."""


COMMON: dict[str, Any] = {"seed": 3, "evaluate_every": 3, "rounds_per_message": 3}


def gossip(**options: Any) -> Gossip:
    return Gossip("ring", **COMMON, **options)


def coded(**options: Any) -> Gossip:
    return Gossip("ring", codec="choco:block-int8", **COMMON, **options)


def teleportation(**options: Any) -> Teleportation:
    return Teleportation(2, "ring", **COMMON, **options)


def single(**options: Any) -> Teleportation:
    return Teleportation(1, "alone", **COMMON, **options)


MAKERS = [gossip, coded, teleportation, single]


def dying(at: int | None) -> Callable[[int, ArrayRecord], MetricRecord]:
    """Return an evaluate_fn that dies when it is called after round ``at``."""

    def evaluate_fn(round: int, arrays: ArrayRecord) -> MetricRecord:
        if round == at:
            raise Death
        return MetricRecord({"first": float(to_vector(arrays)[0])})

    return evaluate_fn


def run(
    strategy: Decentralized,
    *,
    dies: int | None = None,
    app: Any = None,
    arrays: ArrayRecord | None = None,
    nodes: int = NODES,
    rounds: int = ROUNDS,
    **grid: Any,
) -> GossipResult:
    """Run, with one thread a node unless the grid is told otherwise."""
    grid = {"max_workers": nodes, **grid}
    app = quadratic_app() if app is None else app
    arrays = initial("float64") if arrays is None else arrays
    return play(strategy, app, nodes, rounds, arrays, grid=grid, evaluate_fn=dying(dies))


@contextmanager
def peers(*stores: Path) -> Iterator[dict[str, Any]]:
    """Run a gRPC peer a node, and give what tells a grid's nodes of them."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(PeerHost(store=Store(folder))) for folder in stores]
        yield {"node_config": lambda node: {"gossip-peer": hosts[node].local_address}}


def check_same(result: GossipResult, unbroken: GossipResult) -> None:
    np.testing.assert_allclose(to_vector(result.arrays), to_vector(unbroken.arrays), **CLOSE)
    for name in (
        "train_metrics_clientapp",
        "evaluate_metrics_clientapp",
        "evaluate_metrics_serverapp",
    ):
        got, expected = getattr(result, name), getattr(unbroken, name)
        assert list(got) == list(expected), name
        for round, metrics in expected.items():
            assert dict(got[round]) == pytest.approx(dict(metrics), rel=1e-12), (name, round)
    assert result.consensus_distance == pytest.approx(unbroken.consensus_distance)
    assert not result.losses
    assert not result.failures
    assert (result.served_slots, result.served_round) == (unbroken.served_slots, ROUNDS)
    assert result.plan is not None and unbroken.plan is not None
    assert result.plan.to_json() == unbroken.plan.to_json()


@pytest.mark.parametrize("workers", [1, NODES], ids=["one by one", "concurrent"])
@pytest.mark.parametrize("make", MAKERS)
def test_in_this_process(make: Make, workers: int, tmp_path: Path) -> None:
    with pytest.raises(Death):
        run(make(checkpoint=tmp_path), dies=6, max_workers=workers)
    calls = Calls()
    result = run(make(resume=tmp_path), app=quadratic_app(calls), max_workers=workers)
    check_same(result, run(make()))
    done = 5 if workers == 1 else 3  # one by one, a message carries a round
    assert min(round for _, round in calls.trained) == done + 1


def test_a_large_graph_is_written_once(tmp_path: Path) -> None:
    graph = topologies.from_matrix(np.full((20, 20), 1 / 20))
    with pytest.raises(Death):
        run(Gossip(graph, checkpoint=tmp_path), nodes=20, rounds=6, dies=6, max_workers=1)
    assert (tmp_path / "run.jsonl").read_text().count("phases") == 1
    result = run(Gossip(graph, resume=tmp_path), nodes=20, rounds=6, max_workers=1)
    assert result.plan is not None
    assert result.plan.topology.payload == graph.payload


def test_one_death_after_another(tmp_path: Path) -> None:
    strategy, resumed = gossip(checkpoint=tmp_path), gossip(resume=tmp_path)
    for number, dies in enumerate((3, 9, 9, 12)):
        with pytest.raises(Death):
            run(resumed if number else strategy, dies=dies)
    check_same(run(resumed), run(gossip()))


@pytest.mark.parametrize("make", [gossip, coded, single])
@pytest.mark.parametrize("restarted", [False, True], ids=["peers stay", "peers restart"])
def test_with_a_peer_a_node(make: Make, restarted: bool, tmp_path: Path) -> None:
    unbroken = run(make())
    folder, stores = tmp_path / "run", [tmp_path / str(node) for node in range(NODES)]
    with ExitStack() as stack:
        nodes = stack.enter_context(peers(*stores))
        with pytest.raises(Death):
            run(make(checkpoint=folder), dies=6, **nodes)
        if restarted:
            stack.close()
            nodes = stack.enter_context(peers(*stores))
        result = run(make(resume=str(folder)), **nodes)
    check_same(result, unbroken)


def test_what_the_dead_run_did_later_does_not_count(tmp_path: Path) -> None:
    """Its last segment went wrong at a node; the rounds of the new run are done afresh."""
    folder, stores = tmp_path / "run", [tmp_path / str(node) for node in range(NODES)]
    options = {"fraction_evaluate": 0.0, "evaluate_every": 3}

    def before_train(node: int, round: int) -> None:
        if (node, round) == (2, 5):
            raise RuntimeError("no room")

    with peers(*stores) as nodes:
        with pytest.raises(Death):
            app = quadratic_app(before_train=before_train)
            run(Gossip("ring", checkpoint=folder, **options), dies=6, app=app, **nodes)
        result = run(Gossip("ring", resume=folder, **options), **nodes)
    check_same(result, run(Gossip("ring", **options)))


def test_losses_that_were_told_are_not_told_again(tmp_path: Path) -> None:
    """Those of a row travel with the model that was made of it, and that is read once more."""

    def before_train(node: int, round: int) -> None:
        if (node, round) == (2, 2):
            raise RuntimeError("no room")

    folder, stores = tmp_path / "run", [tmp_path / str(node) for node in range(NODES)]
    app = quadratic_app(before_train=before_train)
    with peers(*stores) as nodes:
        with pytest.raises(Death):
            run(gossip(checkpoint=folder), dies=6, app=app, **nodes)
        losses = run(gossip(resume=folder), app=app, **nodes).losses
    assert sorted(loss.reader for loss in losses if loss.round == 2) == [1, 3]


@pytest.mark.parametrize("make", [gossip, teleportation])
def test_a_peer_that_lost_its_models_is_a_loss_like_any_other(make: Make, tmp_path: Path) -> None:
    folder, stores = tmp_path / "run", [tmp_path / str(node) for node in range(NODES)]
    with peers(*stores) as nodes, pytest.raises(Death):
        run(make(checkpoint=folder), dies=6, **nodes)
    plan = make().plan(NODES, ROUNDS)
    holder = plan.active(3)[0]
    stores[holder] = tmp_path / "empty"
    with peers(*stores) as nodes:
        result = run(make(resume=folder), **nodes)
    assert not result.failures
    assert {(loss.round, loss.slot, loss.holder, loss.kind) for loss in result.losses} == {
        (3, 0, holder, "dropped")
    }
    assert all("resumed after round 3 without it" in loss.reason for loss in result.losses)
    missing = {(loss.reader_slot, loss.round, loss.slot) for loss in result.losses}
    expected = dense(plan, to_vector(initial("float64")), local_update, ROUNDS, missing)
    np.testing.assert_allclose(to_vector(result.arrays), expected.mean(axis=0), **CLOSE)


def test_without_any_model_left_it_does_not_begin_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with peers(*(tmp_path / str(node) for node in range(NODES))) as nodes, pytest.raises(Death):
        run(gossip(checkpoint=folder), dies=6, **nodes)
    with peers(*(tmp_path / f"new-{node}" for node in range(NODES))) as nodes:
        for _ in range(2):
            with pytest.raises(CheckpointError, match=r"no peer has a model of round 3 any more"):
                run(gossip(resume=folder), **nodes)
    with peers(*(tmp_path / str(node) for node in range(NODES))) as nodes:
        check_same(run(gossip(resume=folder), **nodes), run(gossip()))


def test_nodes_that_do_not_come_back_are_absent(tmp_path: Path) -> None:
    """The nodes have names; two are still there, and their peers are all that is."""
    folder, stores = tmp_path / "run", [tmp_path / str(node) for node in range(3)]

    def named(hosts: dict[str, Any], *names: str) -> dict[str, Any]:
        config = hosts["node_config"]
        numbers = {"ada": 0, "bob": 1, "cy": 2}
        return {
            "node_config": lambda node: {
                **config(numbers[names[node]]),
                "peer-name": names[node],
                "num-partitions": -1,
            }
        }

    options = {"evaluate_every": 2, "fraction_evaluate": 0.0, "peer_timeout": 2.0}
    with peers(*stores) as hosts:
        with pytest.raises(Death):
            three = named(hosts, "bob", "ada", "cy")
            app = partitioned({0: 1, 1: 0, 2: 2})
            run(Gossip("ring", checkpoint=folder, **options), dies=4, app=app, nodes=3, **three)
        two = named(hosts, "cy", "ada")
        strategy = Gossip("ring", resume=folder, join_timeout=1.0, **options)
        result = run(strategy, nodes=2, rounds=6, app=partitioned({0: 2, 1: 0}), **two)
    assert result.plan is not None
    assert result.plan.live == ((1, (0, 1, 2)), (3, (0, 2)))
    assert list(result.failures) == [1]
    assert result.failures[1][0] == "it was not there when the run went on after round 2"
    expected = dense(result.plan, to_vector(initial("float64")), local_update, 6, missing(result))
    served = expected[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), served, **CLOSE)


def missing(result: GossipResult) -> set[tuple[int, int, int]]:
    return {(loss.reader_slot, loss.round, loss.slot) for loss in result.losses}


def partitioned(node_of: dict[int, int]) -> Any:
    """Return an app whose data partition i is that of node ``node_of[i]``."""
    return quadratic_app(update=lambda z, i, t: local_update(z, node_of[i], t))


def test_a_finished_run_gives_its_result_without_any_node(tmp_path: Path) -> None:
    unbroken = run(gossip(checkpoint=tmp_path))
    calls = Calls()
    result = run(gossip(resume=tmp_path), app=quadratic_app(calls))
    check_same(result, unbroken)
    assert not calls.trained
    assert result.traffic == unbroken.traffic


def test_a_finished_run_may_go_on_for_more_rounds(tmp_path: Path) -> None:
    run(gossip(checkpoint=tmp_path), rounds=6)
    check_same(run(gossip(resume=tmp_path)), run(gossip()))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"strategy": Gossip("complete", seed=3)}, r"topology is 'complete', .* run with 'ring'"),
        ({"strategy": Gossip("ring", seed=4)}, r"seed is 4, .* run with 3\. Give that"),
        ({"strategy": Gossip("ring", seed=3, codec="fp16")}, "codec is 'fp16', .*'none'"),
        ({"strategy": Gossip("ring", seed=3, travelling=["m"])}, r"travelling is \['m'\], .*\[\]"),
        ({"strategy": Teleportation(2, "ring", seed=3)}, "strategy is 'Teleportation', .*'Gossip'"),
        ({"nodes": 4}, r"num-partitions of partition-id 0 is 4, .* run with 5, of 5 nodes"),
        ({"rounds": 5}, "num_rounds is 5, .* a run that has done 6"),
        ({"arrays": initial("float32")}, "expected is shape .* and dtype float64.*Give that"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused_and_named(
    changed: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(Death):
        run(gossip(checkpoint=tmp_path), dies=9)
    before = (tmp_path / "run.jsonl").read_bytes()
    options = {"strategy": gossip(), **changed}
    options["strategy"].settings = Gossip(
        resume=tmp_path,
        seed=options["strategy"].settings.seed,
        codec=options["strategy"].settings.codec,
        travelling=options["strategy"].settings.travelling,
    ).settings
    with pytest.raises(CheckpointError, match=says):
        run(**options)
    assert (tmp_path / "run.jsonl").read_bytes() == before


def test_a_new_run_does_not_write_over_an_earlier_one(tmp_path: Path) -> None:
    run(gossip(checkpoint=tmp_path))
    with pytest.raises(CheckpointError, match=r"has a run up to round 12\. Go on .*resume="):
        run(gossip(checkpoint=tmp_path))


def test_folders_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"resume is '.*/none', where no checkpoint is"):
        run(gossip(resume=tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"checkpoint is '.*/file', which cannot be used"):
        run(gossip(checkpoint=tmp_path / "file"))
    with pytest.raises(PlanError, match="leave checkpoint out"):
        gossip(resume=tmp_path, checkpoint=tmp_path / "other")
    with pytest.raises(PlanError, match="a search writes no checkpoints"):
        TeleportationSearch(checkpoint=tmp_path)
    assert gossip(resume="").settings.resume == ""


def test_a_record_that_was_cut_off_costs_its_segment(tmp_path: Path) -> None:
    """Died while the second record was written: the peer has the models of round 3 still."""
    with pytest.raises(Death):
        run(gossip(checkpoint=tmp_path), dies=6)
    journal = tmp_path / "run.jsonl"
    content = journal.read_bytes()
    head, third = content.splitlines(keepends=True)
    journal.write_bytes(content + third.replace(b'"last":3', b'"last":6')[:-30])
    check_same(run(gossip(resume=tmp_path)), run(gossip()))
    journal.write_bytes(head.replace(b'"ring', b'"king') + third)
    with pytest.raises(CheckpointError, match="damaged at line 1: its CRC-32 differs"):
        run(gossip(resume=tmp_path))


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from apps import initial, play, quadratic_app
from flwr_gossip.strategies import Gossip

def evaluate_fn(round, arrays):
    if round == 6:
        os.kill(os.getpid(), signal.SIGKILL)

strategy = Gossip("ring", seed=3, evaluate_every=3, rounds_per_message=3, checkpoint=sys.argv[2])
play(strategy, quadratic_app(), 5, 12, initial("float64"), grid={"max_workers": 5},
     evaluate_fn=evaluate_fn)
"""


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", KILLED, str(tests), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr
    result, unbroken = run(gossip(resume=tmp_path)), run(gossip())
    for round in (0, 3):  # the killed run's evaluate_fn gave no metrics
        del unbroken.evaluate_metrics_serverapp[round]
    check_same(result, unbroken)
