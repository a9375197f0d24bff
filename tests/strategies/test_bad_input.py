"""What a user gets wrong at the ServerApp: one clear error, and never a hang."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from apps import Calls, initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.errors import (
    GossipError,
    ModelError,
    NoNodesLeft,
    PlanError,
)
from flwr_gossip.server_free.orders import RECORD
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.server_free.topologies import ring
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized
from reference import dense

# --- topology and number of active nodes ------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "match"),
    [
        (Gossip("torus:3x3"), r"torus:3x3.* 9 nodes.*4"),
        (Gossip("torus:0x4"), r"torus:0x4"),
        (Gossip(ring(5)), r"'ring' has 5 nodes, but 4 are needed"),
        (Teleportation(5), r"num_active is 5, allowed is 1\.\.4"),
        (Teleportation(2, ring(3)), r"'ring' has 3 nodes, but 2 are needed"),
    ],
)
def test_a_plan_that_does_not_fit(strategy: Decentralized, match: str) -> None:
    calls = Calls()
    with pytest.raises(PlanError, match=match):
        play(strategy, quadratic_app(calls), 4, 3)
    assert not calls.trained


@pytest.mark.parametrize("num_active", [0, -1, 2.0, True, None])
def test_num_active_out_of_range(num_active: Any) -> None:
    with pytest.raises(PlanError, match=r"num_active is .*allowed is 1"):
        Teleportation(num_active)


@pytest.mark.parametrize("kind", [Gossip, lambda spec: Teleportation(2, spec)])
@pytest.mark.parametrize(
    ("topology", "match"),
    [
        ("rign", r"'rign' is unknown \(did you mean 'ring'\?\); allowed are .*ring.*torus:RxC"),
        ("ring:4", r"topology 'ring:4' is unknown"),
        ("torus:3", r"topology 'torus:3': write torus:RxC, for instance torus:4x8"),
        ("torus", r"topology 'torus': write torus:RxC"),
        ("", r"topology '' is unknown"),
        (None, r"topology is None, allowed is a spec"),
        (7, r"topology is 7, allowed is a spec"),
        (["ring"], r"topology is \['ring'\], allowed is a spec"),
    ],
)
def test_a_topology_that_is_none_is_told_where_it_is_written(
    kind: Callable[[Any], Decentralized], topology: Any, match: str
) -> None:
    with pytest.raises(PlanError, match=match):
        kind(topology)


# --- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Gossip, Teleportation])
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("fraction_train", r"'fraction_train' \(leave it out: Gossip trains all nodes"),
        ("min_train_nodes", r"'min_train_nodes' \(write min_available_nodes\)"),
        ("min_fit_clients", r"'min_fit_clients' \(write min_available_nodes\)"),
        ("num_rounds", r"'num_rounds' \(it goes into start\(num_rounds=...\)\)"),
        ("initial_parameters", r"start\(initial_arrays=ArrayRecord"),
        ("evaluate_evry", r"'evaluate_evry' \(did you mean 'evaluate_every'\?\)"),
        ("colour", r"'colour'"),
    ],
)
def test_an_unknown_option_is_named_with_what_to_write(kind: Any, option: str, says: str) -> None:
    with pytest.raises(TypeError, match=says + r".*; allowed are .*fraction_evaluate"):
        kind(**{option: 0.5})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("seed", None),
        ("fraction_evaluate", 1.5),
        ("fraction_evaluate", -0.1),
        ("fraction_evaluate", math.nan),
        ("fraction_evaluate", "all"),
        ("evaluate_every", 0),
        ("evaluate_every", 2.5),
        ("evaluate_every", "2"),
        ("min_available_nodes", 0),
        ("min_available_nodes", "2"),
        ("rounds_per_message", 0),
        ("rounds_per_message", 2.5),
        ("fetch_models", 0),
        ("fetch_models", 1.5),
        ("peer_timeout", 0),
        ("peer_timeout", -1.0),
        ("peer_timeout", math.nan),
        ("peer_timeout", "10"),
        ("join_timeout", 0),
        ("join_timeout", None),
        ("travelling", ["a,b"]),
        ("travelling", [""]),
        ("travelling", ["arrays"]),
        ("travelling", ["config"]),
        ("travelling", "optimizer"),
        ("travelling", ["optimizer", "optimizer"]),
        ("travelling", [3]),
        ("configrecord_key", "arrays"),
        ("arrayrecord_key", ""),
        ("configrecord_key", RECORD),
        ("weighted_by_key", None),
    ],
)
def test_a_bad_option_is_named(name: str, value: Any) -> None:
    with pytest.raises((PlanError, TypeError), match=rf"{name}.*(allowed|differ)"):
        Gossip("ring", **{name: value})


# --- arguments of start -----------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [-1.0, 0.0, math.nan])
def test_a_timeout_that_is_not_positive(timeout: float) -> None:
    with pytest.raises(PlanError, match=r"timeout is .*allowed is a number of seconds above 0"):
        play(Gossip("ring"), quadratic_app(), 2, 1, timeout=timeout)


@pytest.mark.parametrize("num_rounds", [-1, 2.5, "3", None])
def test_a_number_of_rounds_that_is_none(num_rounds: Any) -> None:
    with pytest.raises((PlanError, TypeError), match=r"num_rounds is .*allowed"):
        play(Gossip("ring"), quadratic_app(), 2, num_rounds)


def test_empty_initial_arrays() -> None:
    with pytest.raises(ModelError, match="initial_arrays is empty"):
        play(Gossip("ring"), quadratic_app(), 2, 1, ArrayRecord())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_initial_arrays_that_are_not_finite(value: float) -> None:
    arrays = ArrayRecord({"w": Array(np.zeros(2)), "b": Array(np.array([0.0, value]))})
    with pytest.raises(ModelError, match="initial_arrays has NaN or infinite values in 'b'"):
        play(Gossip("ring"), quadratic_app(), 2, 1, arrays)


def test_initial_arrays_of_a_dtype_that_cannot_travel() -> None:
    arrays = ArrayRecord({"w": Array(np.zeros(2, np.complex128))})
    with pytest.raises(ModelError, match="'w' of dtype complex128, allowed are"):
        play(Gossip("ring"), quadratic_app(), 2, 1, arrays)


def test_a_grid_that_is_wrapped_in_something_else_is_one() -> None:
    class Wrapper:
        def __init__(self, grid: InProcessGrid) -> None:
            self._grid = grid

        def __getattr__(self, name: str) -> Any:
            return getattr(self._grid, name)

    with InProcessGrid(quadratic_app(), 2) as grid:
        result = Gossip("ring").start(Wrapper(grid), initial(), 1)  # type: ignore[arg-type]
    assert result.served_round == 1


# --- the roster -------------------------------------------------------------------------------


def identities(*configs: dict[str, Any]) -> Callable[[int], dict[str, Any]]:
    return lambda index: configs[index]


def refused(configs: list[dict[str, Any]], match: str, **options: Any) -> None:
    calls = Calls()
    with pytest.raises(GossipError, match=match):
        play(
            Gossip("ring", **{"join_timeout": 0.3, **options}),
            quadratic_app(calls),
            len(configs),
            2,
            grid={"node_config": identities(*configs)},
        )
    assert not calls.trained


def test_a_grid_with_too_few_nodes_is_refused_without_waiting_for_more() -> None:
    refused(
        [{}, {}],
        r"2 of the grid's 2 node\(s\) are ready and no more can come, 5 are needed",
        min_available_nodes=5,
        join_timeout=1e6,
    )


def test_fewer_nodes_than_partitions() -> None:
    refused([{"num-partitions": 3}] * 2, r"2 of the grid's 2 node\(s\) .* 3 are needed")


def test_duplicate_partition_ids_name_the_nodes() -> None:
    configs = [{}, {"partition-id": 0}, {"partition-id": 2}]
    refused(configs, r"partition-id 0 is claimed by 2 nodes \(Flower nodes \[1000, 1001\]\)")


def test_a_gap_in_the_partition_ids() -> None:
    refused([{}, {"partition-id": 2}, {"partition-id": 3}], r"partition-id 1 is missing .*0\.\.2")


def test_a_missing_identity_says_what_to_put_into_the_node_config() -> None:
    refused([{}, {"partition-id": -1}], r"1001.*no identity.*--node-config.*partition-id=I")


@pytest.mark.parametrize("value", ["1", 1.0, True])
def test_a_partition_id_that_is_no_number_from_0(value: Any) -> None:
    refused([{}, {"partition-id": value}], r"1001.*partition-id in node-config is")


def test_peer_names_on_some_nodes_only() -> None:
    refused([{"peer-name": "a"}, {}], r"peer-name.*\[1001\] have none")


@pytest.mark.parametrize("name", ["clinic", "clinic -1"])
def test_duplicate_peer_names(name: str) -> None:
    configs = [{"peer-name": name}, {"peer-name": name}]
    refused(configs, rf"peer-name '{name}' is claimed by 2 nodes \(Flower nodes \[1000, 1001\]\)")


def test_peer_names_order_the_nodes() -> None:
    names = ["c", "a", "b"]
    calls = Calls()
    play(
        Gossip("alone"),
        quadratic_app(calls, update=lambda z, node, t: z * 0 + node),
        3,
        1,
        grid={"node_config": lambda i: {"peer-name": names[i]}},
    )
    # Node 0 is "a", which has partition 1: its model is the one it evaluates.
    assert {node: z[0] for (node, _), z in calls.evaluated.items()} == {0: 0.0, 1: 1.0, 2: 2.0}


# --- two versions of the plugin ---------------------------------------------------------------


class Tampering(InProcessGrid):
    """Changes fields of the plugin's record in the messages to node 1 of the given kinds."""

    changes: dict[str, Any]
    kinds: tuple[str, ...]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        for message in messages:
            record = message.content.config_records[RECORD]
            if record["kind"] in self.kinds and message.metadata.dst_node_id == 1001:
                for name, value in self.changes.items():
                    record[name] = value
        return super().push_messages(messages)


def tampered(changes: dict[str, Any], *kinds: str) -> GossipResult:
    grid_type = type("Grid", (Tampering,), {"changes": changes, "kinds": kinds})
    strategy = Gossip("ring", fraction_evaluate=0.0)
    return play(strategy, quadratic_app(), 3, 1, grid_type=grid_type)


def test_a_plan_that_the_client_computes_otherwise() -> None:
    result = tampered({"digest": "0" * 64, "version": "9.9"}, "segment")
    assert list(result.failures) == [1]
    (reason,) = set(result.failures[1])
    assert "node 1 (flwr-gossip " in reason
    assert "'9.9'" in reason
    assert "install the same version on both" in reason


def test_a_client_that_answers_in_another_protocol() -> None:
    class Old(InProcessGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            replies = list(super().pull_messages(message_ids))
            for reply in replies:
                if reply.metadata.src_node_id == 1001:
                    reply.content[RECORD]["protocol"] = 0
                    reply.content[RECORD]["version"] = "0.0.1"
            return replies

    with pytest.raises(GossipError, match=r"1001 runs flwr-gossip 0\.0\.1 \(protocol 0\)"):
        play(Gossip("ring"), quadratic_app(), 3, 1, grid_type=Old)


def test_a_field_that_is_missing_in_a_report_is_that_nodes_failure() -> None:
    class Short(InProcessGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            replies = list(super().pull_messages(message_ids))
            for reply in replies:
                record = reply.content[RECORD]
                if reply.metadata.src_node_id == 1001 and record["kind"] == "report":
                    del record["seconds"]
            return replies

    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, quadratic_app(), 3, 1, grid_type=Short)
    assert list(result.failures) == [1]
    assert "'seconds'" in result.failures[1][0]


# --- a failing node ---------------------------------------------------------------------------


def test_a_node_whose_supernode_has_left_is_not_said_to_be_late() -> None:
    class Leaving(InProcessGrid):
        """Takes no message for node 1 once the first round is over."""

        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            taken = [
                message
                for message in messages
                if message.metadata.dst_node_id != 1001
                or message.content[RECORD]["kind"] != "segment"
                or message.content[RECORD]["first"] == 1
            ]
            return super().push_messages(taken)

    strategy = Gossip("ring", fraction_evaluate=0.0, rounds_per_message=1)
    result = play(strategy, quadratic_app(), 3, 3, grid_type=Leaving)
    assert set(result.failures) == {1}
    assert "Flower takes no message for it: its SuperNode has left" in result.failures[1][0]


def failing(node: int, *rounds: int) -> Callable[[int, int], None]:
    def before_train(n: int, t: int) -> None:
        if n == node and t in rounds:
            raise RuntimeError("the disk is full")

    return before_train


def expected_with_losses(result: GossipResult, x0: np.ndarray, rounds: int) -> np.ndarray:
    assert result.plan is not None
    missing = {(loss.reader_slot, loss.round, loss.slot) for loss in result.losses}
    return dense(result.plan, x0, local_update, rounds, missing)


@pytest.mark.parametrize("evaluate_every", [1, 4, 7])
@pytest.mark.parametrize("workers", [1, 8])
def test_one_failing_node_of_a_ring_is_the_only_one_missing(
    workers: int, evaluate_every: int
) -> None:
    calls = Calls()
    app = quadratic_app(calls, before_train=failing(5, 3))
    strategy = Gossip("ring", evaluate_every=evaluate_every, peer_timeout=2.0, rounds_per_message=1)
    grid = {"max_workers": workers}
    result = play(strategy, app, 8, 7, initial("float64"), grid=grid)
    assert list(result.failures) == [5]
    assert result.failures[5] == ["round 3: RuntimeError: the disk is full"]
    assert {(loss.holder, loss.round) for loss in result.losses} == {(5, 3)}
    assert {loss.reader for loss in result.losses} <= {4, 6}
    assert {loss.used for loss in result.losses} == {"rest of the row"}
    assert all("the disk is full" in loss.reason for loss in result.losses)
    x0 = to_vector(initial("float64"))
    # Nobody has node 5's h of round 3, not even slot 5 when the node is back.
    assert result.plan is not None
    missing = {(reader, 3, 5) for reader in (4, 5, 6)}
    final = dense(result.plan, x0, local_update, 7, missing)
    close = {"rtol": 1e-12, "atol": 1e-12}
    served = final[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), served, **close)
    for (node, t), z in calls.evaluated.items():
        at_stop = dense(result.plan, x0, local_update, t, missing)
        np.testing.assert_allclose(z, at_stop[node], err_msg=f"{node=} {t=}", **close)


def test_a_node_that_fails_inside_a_segment_is_missed_to_its_end_and_comes_back() -> None:
    calls = Calls()
    app = quadratic_app(calls, before_train=failing(5, 3))
    strategy = Gossip("ring", rounds_per_message=5, fraction_evaluate=0.0)
    arrays = initial("float64")
    result = play(strategy, app, 8, 20, arrays, grid={"max_workers": 8})
    assert list(result.failures) == [5]
    assert {(loss.holder, loss.round) for loss in result.losses} == {(5, 3), (5, 4), (5, 5)}
    assert {loss.reader for loss in result.losses} == {4, 6}
    assert result.plan is not None
    assert 5 not in (result.plan.live_in(6) or ())
    assert (5, 20) in calls.trained
    x0, missing = to_vector(arrays), {(s, t, 5) for s in (4, 5, 6) for t in (3, 4, 5)}
    final = dense(result.plan, x0, local_update, 20, missing)
    served = final[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), served, rtol=1e-12, atol=1e-12)


def test_metrics_of_the_others_and_of_earlier_rounds_stay() -> None:
    app = quadratic_app(before_train=failing(1, 3))
    result = play(Gossip("ring", fraction_evaluate=0.0), app, 4, 5)
    losses = {t: m["loss"] for t, m in result.train_metrics_clientapp.items()}
    everybody, others = np.mean([0, 1, 2, 3]), np.mean([0, 2, 3])
    assert list(losses) == [1, 2, 3, 4, 5]
    assert losses[1] == pytest.approx(everybody + 1)
    assert losses[2] == pytest.approx(everybody + 2)
    assert losses[3] == pytest.approx(others + 3)


def test_a_node_that_fails_always_does_not_stop_the_others() -> None:
    calls = Calls()
    app = quadratic_app(calls, before_train=failing(2, *range(1, 20)))
    x0 = to_vector(initial("float64"))
    result = play(Gossip("ring", peer_timeout=2.0), app, 5, 6, initial("float64"))
    assert list(result.failures) == [2]
    assert {loss.holder for loss in result.losses} <= {2}
    final = expected_with_losses(result, x0, 6)
    served = final[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), served, rtol=1e-12, atol=1e-12)
    assert 2 not in result.served_slots


def test_teleportation_goes_on_without_a_failing_node() -> None:
    app = quadratic_app(before_train=failing(3, *range(1, 20)))
    strategy = Teleportation(3, "ring", seed=1, peer_timeout=2.0)
    x0 = to_vector(initial("float64"))
    result = play(strategy, app, 6, 10, initial("float64"))
    assert list(result.failures) == [3]
    assert {loss.holder for loss in result.losses} == {3}
    final = expected_with_losses(result, x0, 10)
    served = final[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), served, rtol=1e-12, atol=1e-12)


def test_a_slot_whose_whole_row_is_lost_goes_on_from_its_latest_holder() -> None:
    """k = 1: the walking model's holder fails; the next takes up the h of the round before."""
    schedule = Teleportation(1, seed=3).plan(5, 6)
    (victim,) = schedule.active(3)
    app = quadratic_app(before_train=failing(victim, 3))
    x0 = to_vector(initial("float64"))
    strategy = Teleportation(1, seed=3, peer_timeout=2.0)
    result = play(strategy, app, 5, 6, initial("float64"))
    assert list(result.failures) == [victim]
    assert {loss.used for loss in result.losses} == {
        f"slot 0 of round 2 from node {schedule.active(2)[0]}"
    }
    final = expected_with_losses(result, x0, 6)
    np.testing.assert_allclose(to_vector(result.arrays), final[0], rtol=1e-12, atol=1e-12)


def test_failing_in_the_first_round_there_are_the_initial_arrays() -> None:
    (victim,) = Teleportation(1, seed=3).plan(5, 4).active(1)
    app = quadratic_app(before_train=failing(victim, 1))
    x0 = to_vector(initial("float64"))
    strategy = Teleportation(1, seed=3, peer_timeout=2.0)
    result = play(strategy, app, 5, 4, initial("float64"))
    assert {loss.used for loss in result.losses} == {"initial arrays"}
    final = expected_with_losses(result, x0, 4)
    np.testing.assert_allclose(to_vector(result.arrays), final[0], rtol=1e-12, atol=1e-12)


def test_all_nodes_failing_is_one_error_with_the_reasons() -> None:
    def before_train(node: int, t: int) -> None:
        if t == 2:
            raise RuntimeError(f"disk {node} is full")

    with pytest.raises(NoNodesLeft, match=r"(?s)node 0: round 2: .*disk 0.*node 2: .*disk 2"):
        play(Gossip("ring"), quadratic_app(before_train=before_train), 3, 4)


def test_the_only_node_failing() -> None:
    app = quadratic_app(before_train=failing(0, 2))
    with pytest.raises(NoNodesLeft, match=r"node 0: round 2: RuntimeError: the disk is full"):
        play(Gossip("ring"), app, 1, 4)


def test_a_failed_node_that_is_back_starts_from_its_neighbours() -> None:
    calls = Calls()
    app = quadratic_app(calls, before_train=failing(1, 2))
    x0 = to_vector(initial("float64"))
    result = play(Gossip("ring", fraction_evaluate=0.0), app, 4, 6, initial("float64"))
    back = min(t for node, t in calls.trained if node == 1 and t > 2)
    assert result.plan is not None
    missing = {(reader, 2, 1) for reader in (0, 1, 2)}
    z = dense(result.plan, x0, local_update, back - 1, missing)
    np.testing.assert_allclose(calls.given[1, back], z[1], rtol=1e-12, atol=1e-12)


def test_a_failed_node_may_be_back_under_another_flower_node_id() -> None:
    """A restarted SuperNode has a new id; replies under it count, those under the old do not."""
    calls = Calls()

    class Restarted(InProcessGrid):
        failed = False

        def get_node_ids(self) -> Iterable[int]:
            ids = {1001: 1501} if Restarted.failed else {}
            return [ids.get(node_id, node_id) for node_id in super().get_node_ids()]

        def _new_context(self, node_id: int) -> Context:
            return super()._new_context(1001 if node_id == 1501 else node_id)

    def before_train(node: int, t: int) -> None:
        if (node, t) == (1, 2):
            Restarted.failed = True
            raise RuntimeError("the disk is full")

    app = quadratic_app(calls, before_train=before_train)
    strategy = Gossip("ring", fraction_evaluate=0.0)
    result = play(strategy, app, 4, 6, initial("float64"), grid_type=Restarted)
    assert list(result.failures) == [1]
    assert {t for node, t in calls.trained if node == 1} == {1, 4, 5, 6}
    assert result.train_metrics_clientapp[6]["loss"] == np.mean([6, 7, 8, 9])


def test_failures_at_evaluation_do_not_stop_the_training() -> None:
    def broken(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        if msg.metadata.message_type == "evaluate" and ctxt.node_config["partition-id"] == 1:
            raise RuntimeError("no test data here")
        return call_next(msg, ctxt)

    calls = Calls()
    app = quadratic_app(calls, mods=[gossip_mod, broken])
    result = play(Gossip("ring", evaluate_every=1), app, 3, 4)
    assert list(result.failures) == [1]
    assert "no test data here" in result.failures[1][0]
    assert {t for node, t in calls.trained if node == 1} == {1, 2, 3, 4}
    assert sorted(result.evaluate_metrics_clientapp) == [1, 2, 3, 4]


def test_an_app_without_an_evaluate_function_trains() -> None:
    calls = Calls()
    app = quadratic_app(calls)
    del app._registered_funcs["evaluate.default"]
    result = play(Gossip("ring", evaluate_every=2), app, 3, 4)
    assert sorted(calls.trained) == [(node, t) for node in range(3) for t in (1, 2, 3, 4)]
    assert not result.evaluate_metrics_clientapp


def test_an_empty_content_never_counts_as_a_report() -> None:
    class Empty(InProcessGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            replies = list(super().pull_messages(message_ids))
            for reply in replies:
                if reply.metadata.src_node_id == 1001:
                    reply.content = RecordDict()
            return replies

    with pytest.raises(GossipError, match=r"1001 answered without gossip_mod.*mods=\[gossip_mod\]"):
        play(Gossip("ring"), quadratic_app(), 3, 1, grid_type=Empty)
