"""Whole runs in this process against the dense reference."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from apps import SHAPES, Calls, initial, local_update, play, quadratic_app, to_vector
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.sketches import consensus_distance
from flwr_gossip.server_free.topologies import from_matrix, from_spec
from flwr_gossip.strategies import Gossip, GossipResult, Teleportation
from flwr_gossip.strategies.decentralized import Decentralized
from reference import dense

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
ROUNDS = 7

GOSSIPS = [
    ("ring", 1),
    ("ring", 2),
    ("ring", 5),
    ("torus:2x3", 6),
    ("torus:3x3", 9),
    ("one-peer-exponential", 1),
    ("one-peer-exponential", 6),
    ("one-peer-exponential", 8),
    ("exponential", 5),
    ("star", 4),
    ("chain", 3),
    ("complete", 7),
    ("alone", 3),
]
TELEPORTATIONS = [
    ("one-peer-exponential", 1, 1),
    ("one-peer-exponential", 5, 1),
    ("one-peer-exponential", 5, 2),
    ("one-peer-exponential", 7, 3),
    ("one-peer-exponential", 6, 6),
    ("ring", 3, 2),  # two of three: somebody is active two rounds running
    ("ring", 9, 5),
    ("torus:2x2", 6, 4),
    ("star", 6, 4),
    ("exponential", 8, 5),
    ("complete", 4, 4),
    ("alone", 5, 2),
]


def check(result: GossipResult, plan: Plan, calls: Calls, dtype: str, rounds: int = ROUNDS) -> None:
    """Compare the served mean, every evaluated and every given model with the reference."""
    x0, tolerance = to_vector(initial(dtype)), TOLERANCE[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    final = dense(plan, x0, local_update, rounds)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), **close)
    for (node, round), z in calls.evaluated.items():
        expected = dense(plan, x0, local_update, round)[node % plan.num_slots]
        np.testing.assert_allclose(z, expected, err_msg=f"{node=} {round=}", **close)
    for (node, round), z in calls.given.items():
        slot = plan.schedule.active(round).index(node)
        expected = dense(plan, x0, local_update, round - 1)[slot]
        np.testing.assert_allclose(z, expected, err_msg=f"{node=} {round=}", **close)
    pairs = {(n, t) for t in range(1, rounds + 1) for n in plan.schedule.active(t)}
    assert sorted(calls.trained) == sorted(pairs)
    assert not result.losses
    assert not result.failures


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("spec", "n"), GOSSIPS)
def test_gossip_gives_the_numbers_of_the_reference(spec: str, n: int, dtype: str) -> None:
    calls = Calls()
    result = play(Gossip(spec, seed=3), quadratic_app(calls), n, ROUNDS, initial(dtype))
    plan = Plan(from_spec(spec, num_nodes=n), AllActive(n), ROUNDS)
    check(result, plan, calls, dtype)
    assert result.served_slots == tuple(range(n))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("spec", "n", "k"), TELEPORTATIONS)
def test_teleportation_gives_the_numbers_of_the_reference(
    spec: str, n: int, k: int, dtype: str
) -> None:
    calls = Calls()
    strategy = Teleportation(k, spec, seed=11)
    result = play(strategy, quadratic_app(calls), n, ROUNDS, initial(dtype))
    plan = Plan(from_spec(spec, num_nodes=k), Teleport(n, k, seed=11), ROUNDS)
    check(result, plan, calls, dtype)
    assert result.served_slots == tuple(range(k))


def test_the_case_with_two_of_three_has_a_node_active_twice_running() -> None:
    schedule = Teleport(3, 2, seed=11)
    assert all(set(schedule.active(t)) & set(schedule.active(t + 1)) for t in range(1, ROUNDS))


def test_a_topology_given_as_a_matrix_travels_to_the_clients() -> None:
    topology = from_matrix([[0.5, 0.5, 0.0], [0.1, 0.5, 0.4], [0.4, 0.0, 0.6]])
    calls = Calls()
    result = play(Gossip(topology), quadratic_app(calls), 3, ROUNDS)
    check(result, Plan(topology, AllActive(3), ROUNDS), calls, "float32")


@pytest.mark.parametrize("evaluate_every", [1, 2, 3, ROUNDS, 100])
@pytest.mark.parametrize("rounds_per_message", [None, 1, 2, 5, 100])
def test_where_segments_end_does_not_change_the_numbers(
    evaluate_every: int, rounds_per_message: int | None
) -> None:
    calls = Calls()
    strategy = Teleportation(
        3,
        "ring",
        seed=2,
        evaluate_every=evaluate_every,
        rounds_per_message=rounds_per_message,
    )
    result = play(strategy, quadratic_app(calls), 5, ROUNDS)
    check(
        result,
        Plan(from_spec("ring", num_nodes=3), Teleport(5, 3, seed=2), ROUNDS),
        calls,
        "float32",
    )
    stops = sorted({*range(evaluate_every, ROUNDS, evaluate_every), ROUNDS})
    assert list(result.evaluate_metrics_clientapp) == stops
    assert list(result.consensus_distance) == stops
    assert list(result.train_metrics_clientapp) == list(range(1, ROUNDS + 1))
    assert {node for node, round in calls.evaluated if round == ROUNDS} == set(range(5))


@pytest.mark.parametrize("strategy", [Gossip("ring"), Teleportation(4, "ring", seed=1)])
def test_evaluation_reports_mean_weighted_mean_and_spread(strategy: Decentralized) -> None:
    calls = Calls()
    result = play(strategy, quadratic_app(calls), 6, 4, initial("float64"))
    firsts = np.array([calls.evaluated[node, 4][0] for node in range(6)])
    metrics = result.evaluate_metrics_clientapp[4]
    assert metrics["first"] == pytest.approx(firsts.mean())
    assert metrics["first-weighted"] == pytest.approx(np.average(firsts, weights=range(1, 7)))
    assert metrics["first-min"] == firsts.min()
    assert metrics["first-max"] == firsts.max()


def test_train_metrics_are_one_value_a_round_with_both_means() -> None:
    result = play(Teleportation(3, "ring", seed=4), quadratic_app(), 6, 5)
    schedule = Teleport(6, 3, seed=4)
    assert list(result.train_metrics_clientapp) == [1, 2, 3, 4, 5]
    for t, metrics in result.train_metrics_clientapp.items():
        nodes = np.array(schedule.active(t))
        assert metrics["loss"] == pytest.approx((nodes + t).mean())
        assert metrics["loss-weighted"] == pytest.approx(np.average(nodes + t, weights=nodes + 1))
        assert "num-examples" not in metrics


def test_a_fraction_of_the_nodes_evaluates() -> None:
    calls = Calls()
    play(Gossip("ring", fraction_evaluate=0.5, evaluate_every=2), quadratic_app(calls), 8, 4)
    evaluators = {t: {n for n, round in calls.evaluated if round == t} for t in (2, 4)}
    assert [len(nodes) for nodes in evaluators.values()] == [4, 4]


def test_fraction_zero_means_no_evaluation_at_clients() -> None:
    calls = Calls()
    result = play(Gossip("ring", fraction_evaluate=0.0), quadratic_app(calls), 3, 4)
    assert not calls.evaluated
    assert not result.evaluate_metrics_clientapp
    assert list(result.consensus_distance) == [4]


def test_the_served_mean_is_over_the_fetched_slots_only() -> None:
    result = play(Gossip("ring", fetch_models=2), quadratic_app(), 6, 4, initial("float64"))
    plan = Plan(from_spec("ring", num_nodes=6), AllActive(6), 4)
    final = dense(plan, to_vector(initial("float64")), local_update, 4)
    assert len(result.served_slots) == 2
    expected = final[list(result.served_slots)].mean(axis=0)
    np.testing.assert_allclose(to_vector(result.arrays), expected, rtol=1e-12, atol=1e-12)


def test_sixteen_models_are_fetched_by_default() -> None:
    result = play(Gossip("ring", fraction_evaluate=0.0), quadratic_app(), 20, 1)
    assert len(result.served_slots) == 16


def test_consensus_distance_is_that_of_the_mixed_models_within_the_sketch_error() -> None:
    result = play(Gossip("ring", evaluate_every=2), quadratic_app(), 8, 6, initial("float64"))
    plan = Plan(from_spec("ring", num_nodes=8), AllActive(8), 6)
    for t in (2, 4, 6):
        mixed = dense(plan, to_vector(initial("float64")), local_update, t)
        exact = consensus_distance([{"z": z} for z in mixed])
        # SIZE coordinates in 1024 buckets hardly collide, so the estimate is nearly exact.
        assert result.consensus_distance[t] == pytest.approx(exact, rel=4 * np.sqrt(2 / 1024))


def test_complete_mixing_ends_in_consensus() -> None:
    result = play(Gossip("complete"), quadratic_app(), 4, 3, initial("float64"))
    assert result.consensus_distance[3] == pytest.approx(0.0, abs=1e-12)


def test_evaluate_fn_gets_the_initial_arrays_and_then_the_mean_at_each_stop() -> None:
    seen: dict[int, np.ndarray] = {}

    def evaluate_fn(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        seen[round] = to_vector(arrays)
        return MetricRecord({"first": float(seen[round][0])}) if round else None

    strategy = Gossip("ring", evaluate_every=2, fraction_evaluate=0.0)
    x0 = to_vector(initial("float64"))
    result = play(strategy, quadratic_app(), 5, 5, initial("float64"), evaluate_fn=evaluate_fn)
    plan = Plan(from_spec("ring", num_nodes=5), AllActive(5), 5)
    assert list(seen) == [0, 2, 4, 5]
    for t, vector in seen.items():
        expected = dense(plan, x0, local_update, t).mean(axis=0)
        np.testing.assert_allclose(vector, expected, rtol=1e-12, atol=1e-12)
    assert list(result.evaluate_metrics_serverapp) == [2, 4, 5]


def test_no_rounds_give_back_the_initial_arrays() -> None:
    calls, seen = Calls(), []
    result = play(
        Gossip("ring"),
        quadratic_app(calls),
        3,
        0,
        evaluate_fn=lambda round, arrays: seen.append(round),
    )
    assert (to_vector(result.arrays) == to_vector(initial())).all()
    assert not calls.trained
    assert seen == [0]


def _spoil(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
    """Do to the message what careless train functions do (a mod behind gossip_mod)."""
    (config,) = msg.content.config_records.values()
    arrays = list(msg.content.array_records.values())
    reply = call_next(msg, ctxt)
    for value in config.values():
        if isinstance(value, list):
            value.append(3)
    config["lr"] = -1.0
    config["server-round"] = 99
    config["extra"] = "left over"
    for record in arrays:
        record.clear()
    msg.content.clear()
    return reply


@pytest.mark.parametrize("workers", [1, 3])
def test_each_round_finds_the_config_whole_and_its_own_server_round(workers: int) -> None:
    calls = Calls()
    config = ConfigRecord({"lr": 0.1, "layers": [1, 2], "name": "x"})
    app = quadratic_app(calls, mods=[gossip_mod, _spoil])
    play(Gossip("ring"), app, 3, 4, train_config=config, grid={"max_workers": workers})
    assert sorted(calls.trained) == [(node, t) for node in range(3) for t in (1, 2, 3, 4)]
    for seen, (_, round) in zip(calls.configs, calls.trained, strict=True):
        assert seen == {"lr": 0.1, "layers": [1, 2], "name": "x", "server-round": round}
    assert dict(config) == {"lr": 0.1, "layers": [1, 2], "name": "x"}


def test_the_evaluate_config_comes_with_the_round() -> None:
    seen = []

    def look(msg: Message, ctxt: Context, call_next: ClientAppCallable) -> Message:
        if msg.metadata.message_type == "evaluate":
            seen.append(dict(msg.content["config"]))
        return call_next(msg, ctxt)

    app = quadratic_app(mods=[gossip_mod, look])
    config = ConfigRecord({"batch": 8})
    play(Gossip("ring", evaluate_every=2), app, 2, 4, evaluate_config=config)
    assert seen == [{"batch": 8, "server-round": t} for t in (2, 2, 4, 4)]


def test_the_initial_arrays_object_stays_as_it_was() -> None:
    arrays = initial()
    before = {name: (array.data, array.dtype) for name, array in arrays.items()}
    result = play(Gossip("ring"), quadratic_app(mods=[gossip_mod, _spoil]), 3, 3, arrays)
    assert {name: (array.data, array.dtype) for name, array in arrays.items()} == before
    assert result.arrays is not arrays


def test_shapes_and_dtypes_come_back() -> None:
    result = play(Gossip("ring"), quadratic_app(), 3, 2, initial("float64"))
    assert {name: array.numpy().shape for name, array in result.arrays.items()} == SHAPES
    assert {array.dtype for array in result.arrays.values()} == {"float64"}


def _bytes(result: GossipResult) -> list[bytes]:
    return [array.data for array in result.arrays.values()]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    def run(seed: int) -> GossipResult:
        return play(Teleportation(3, "ring", seed=seed), quadratic_app(), 7, 5)

    first, second, other = run(5), run(5), run(6)
    assert _bytes(first) == _bytes(second)
    assert first.consensus_distance == second.consensus_distance
    assert first.train_metrics_clientapp == second.train_metrics_clientapp
    assert first.evaluate_metrics_clientapp == second.evaluate_metrics_clientapp
    assert _bytes(first) != _bytes(other)


def test_a_strategy_can_be_started_twice() -> None:
    strategy = Teleportation(2, "ring", seed=5)
    first = play(strategy, quadratic_app(), 4, 3)
    second = play(strategy, quadratic_app(), 4, 3)
    assert _bytes(first) == _bytes(second)
    assert list(second.train_metrics_clientapp) == [1, 2, 3]


def test_the_result_holds_the_plan_to_recompute_the_run() -> None:
    result = play(Teleportation(3, "ring", seed=5), quadratic_app(), 6, 4, initial("float64"))
    assert result.plan is not None
    again = Plan.from_json(result.plan.to_json())
    final = dense(again, to_vector(initial("float64")), local_update, 4)
    np.testing.assert_allclose(to_vector(result.arrays), final.mean(axis=0), rtol=1e-12, atol=1e-12)


def test_no_weights_go_through_the_server_before_the_last_round() -> None:
    def through_server(num_rounds: int, size: int) -> int:
        app = quadratic_app()
        train = app._registered_funcs.pop("train.default")
        assert train is not None

        @app.train()
        def grow(msg: Message, ctxt: Context) -> Message:
            metrics = MetricRecord({"loss": 0.0, "num-examples": 1})
            content = RecordDict({"arrays": msg.content["arrays"], "metrics": metrics})
            return Message(content, reply_to=msg)

        arrays = ArrayRecord([np.zeros(size, np.float32)])
        strategy = Gossip("ring", fraction_evaluate=0.0, fetch_models=1)
        result = play(strategy, app, 2, num_rounds, arrays)
        assert result.traffic.bytes_between_clients >= 4 * size * (num_rounds - 1) * 2
        return result.traffic.bytes_through_server

    small = through_server(5, 1000) - through_server(2, 1000)
    large = through_server(5, 100_000) - through_server(2, 100_000)
    assert large == pytest.approx(small, rel=0.05)
