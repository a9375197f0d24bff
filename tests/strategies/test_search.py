"""The search for the number of active nodes, in this process, against the dense reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from apps import Vector, initial, local_update, play, to_record, to_vector
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.searches import Search
from flwr_gossip.strategies import SearchResult, Teleportation, TeleportationSearch
from flwr_gossip.strategies.decentralized import Decentralized
from reference import dense

N, ROUNDS = 9, 6
X0 = to_vector(initial("float64"))


def distance(z: Vector, node: int) -> float:
    """Return the validation loss of a model at a node."""
    return float(0.5 * np.sum((z - np.cos(node + np.arange(z.size))) ** 2))


def searched_app(
    lr: list[float] | None = None,
    names: tuple[str, str] = ("loss", "gain"),
    judge: Callable[[Vector, int], float] = distance,
) -> ClientApp:
    """Return an app that trains with ``local_update`` and evaluates ``judge``."""
    app = ClientApp(mods=[gossip_mod])

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        node, config = int(ctxt.node_config["partition-id"]), msg.content["config"]
        z, round = to_vector(msg.content["arrays"]), int(config["server-round"])
        if lr is not None:
            lr.append(float(config["lr"]))
        step = float(config.get("lr", 1.0))
        h = z + step * (local_update(z, node, round) - z)
        metrics = MetricRecord({"loss": float(node), "num-examples": 1})
        content = {"arrays": to_record(h, "float64"), "metrics": metrics}
        return Message(RecordDict(content), reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        node = int(ctxt.node_config["partition-id"])
        value = judge(to_vector(msg.content["arrays"]), node)
        metrics = MetricRecord({names[0]: value, names[1]: -value, "num-examples": 1})
        return Message(RecordDict({"metrics": metrics}), reply_to=msg)

    return app


def expected(n: int = N, topology: str = "one-peer-exponential", seed: int = 0, **options: bool):
    """Return k -> (mean loss over the nodes, mean model) of the reference, run by run."""
    found: dict[int, tuple[float, Vector]] = {}
    for one in Search(n, topology, seed, **options).passes(ROUNDS):
        z = dense(one.plan, X0, local_update, ROUNDS)
        for candidate in one.candidates:
            losses = [distance(z[candidate.slot_of(node)], node) for node in range(n)]
            mean = z[candidate.slots.start : candidate.slots.stop].mean(axis=0)
            found[candidate.num_active] = (float(np.mean(losses)), mean)
    return found


def run(strategy: Decentralized, app: ClientApp | None = None, n: int = N, **start: object):
    result = play(strategy, app or searched_app(), n, ROUNDS, initial("float64"), **start)
    assert isinstance(result, SearchResult)
    return result


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("topology", ["one-peer-exponential", "ring"])
@pytest.mark.parametrize("try_all", [False, True])
def test_every_candidate_trains_as_the_reference_and_the_best_wins(
    n: int, topology: str, try_all: bool
) -> None:
    result = run(TeleportationSearch(topology, seed=4, try_all=try_all), n=n)
    known = expected(n, topology, seed=4, try_all=try_all)
    values = {trial.num_active: trial.value for trial in result.trials}
    assert values == pytest.approx({k: loss for k, (loss, _) in known.items()}, rel=1e-9)
    best = min(known, key=lambda k: known[k][0])
    assert result.num_active == best
    assert result.metric == "loss"
    np.testing.assert_allclose(to_vector(result.arrays), known[best][1], rtol=1e-10)
    assert result.served_round == ROUNDS
    assert result.served_slots == tuple(result.slots)
    assert result.evaluate_metrics_clientapp[ROUNDS]["loss"] == pytest.approx(known[best][0])
    assert f"Active nodes: {best}, by loss: k=1: " in repr(result)


def test_auto_is_the_search() -> None:
    auto = run(Teleportation("auto", "ring", seed=2))
    search = run(TeleportationSearch("ring", seed=2))
    assert auto.trials == search.trials
    np.testing.assert_array_equal(to_vector(auto.arrays), to_vector(search.arrays))


def test_train_metrics_are_those_of_the_candidate_alone() -> None:
    result = run(TeleportationSearch(seed=1))
    (one, second) = Search(N, seed=1).passes(ROUNDS)
    known = {c.num_active: (p, c) for p in (one, second) for c in p.candidates}
    for trial in result.trials:
        plan, candidate = known[trial.num_active][0].plan, known[trial.num_active][1]
        for round in range(1, ROUNDS + 1):
            nodes = [plan.active(round)[slot] for slot in candidate.slots]
            assert trial.train_metrics[round]["loss"] == pytest.approx(np.mean(nodes))
    winner = next(t for t in result.trials if t.num_active == result.num_active)
    assert result.train_metrics_clientapp == winner.train_metrics


def test_larger_is_better_when_asked() -> None:
    strategy = TeleportationSearch(metric="gain", maximize=True)
    result = run(strategy)
    assert result.num_active == run(TeleportationSearch()).num_active
    assert result.metric == "gain"
    worst = run(TeleportationSearch(metric="loss", maximize=True))
    assert worst.num_active == max(worst.trials, key=lambda trial: trial.value).num_active


def test_learning_rates_are_searched_with_it() -> None:
    seen: list[float] = []
    rates = [0.1, 1.0]
    strategy = TeleportationSearch(learning_rates=rates, evaluate_every=3)
    result = run(strategy, searched_app(seen))
    tried = [(trial.learning_rate, trial.num_active) for trial in result.trials]
    assert tried == [(rate, k) for rate in rates for k in (1, 2, 4, 8)]
    assert set(seen) == set(rates)
    best = min(result.trials, key=lambda trial: trial.value)
    assert (result.learning_rate, result.num_active) == (best.learning_rate, best.num_active)
    assert all(sorted(trial.evaluate_metrics) == [3, 6] for trial in result.trials)
    assert all(trial.value == trial.evaluate_metrics[6]["loss"] for trial in result.trials)


def test_the_server_can_judge_the_mean_models() -> None:
    rounds: list[int] = []

    def judge(round: int, arrays: ArrayRecord) -> MetricRecord:
        rounds.append(round)
        return MetricRecord({"loss": distance(to_vector(arrays), 0)})

    result = run(TeleportationSearch(fraction_evaluate=0.0), evaluate_fn=judge)
    known = {k: distance(mean, 0) for k, (_, mean) in expected().items()}
    assert {t.num_active: t.value for t in result.trials} == pytest.approx(known, rel=1e-9)
    assert result.num_active == min(known, key=known.__getitem__)
    assert result.evaluate_metrics_serverapp[ROUNDS]["loss"] == pytest.approx(min(known.values()))
    assert rounds == [ROUNDS] * len(known)


def test_a_candidate_that_nobody_can_evaluate_is_not_chosen() -> None:
    seen: list[int] = []

    def picky(z: Vector, node: int) -> float:
        seen.append(node)
        return float("nan") if len(seen) <= N else 1.0  # the first candidate is k = 1

    result = run(TeleportationSearch(), searched_app(judge=picky))
    assert np.isnan(result.trials[0].value)
    assert result.num_active == 2


def test_traffic_is_that_of_all_passes() -> None:
    result = run(TeleportationSearch())
    assert result.traffic.bytes_between_clients > 0
    short = TeleportationSearch(topology="alone")
    assert run(short).traffic.bytes_between_clients < result.traffic.bytes_between_clients


@pytest.mark.parametrize(
    ("make", "start", "says"),
    [
        (lambda: TeleportationSearch(metric="accuracy"), {}, r"'accuracy'.*\['gain', .*'loss'"),
        (lambda: TeleportationSearch(learning_rates=[0.1, -1]), {}, "learning_rates has -1"),
        (lambda: TeleportationSearch(learning_rates=[float("nan")]), {}, "learning_rates has nan"),
        (lambda: TeleportationSearch(maximize=True), {}, "metric is None.*metric='accuracy'"),
        (lambda: TeleportationSearch(fraction_evaluate=0.0), {}, "nothing to choose by"),
        (lambda: Teleportation("most"), {}, "num_active is 'most', allowed is 1..n.*or 'auto'"),
        (lambda: TeleportationSearch("hypercubes"), {}, "'hypercubes' is unknown"),
        (lambda: TeleportationSearch("torus:2x2"), {}, "has 4 nodes, but num_nodes is 1"),
    ],
)
def test_bad_input(make: Callable[[], Decentralized], start: dict, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        run(make(), **start)


def test_a_search_needs_rounds_and_a_spec() -> None:
    with pytest.raises(PlanError, match="num_rounds is 0; a search needs 1 or more"):
        play(TeleportationSearch(), searched_app(), N, 0, initial("float64"))
    from flwr_gossip.server_free.topologies import ring

    with pytest.raises(PlanError, match="give a spec that does for any number"):
        Teleportation("auto", ring(4))
    with pytest.raises(PlanError, match="there is no one plan"):
        Teleportation("auto").plan(4, 10)


def test_usual_names_of_a_loss_are_found() -> None:
    assert run(TeleportationSearch(), searched_app(names=("eval_loss", "x"))).metric == "eval_loss"
    with pytest.raises(PlanError, match="TeleportationSearch"):
        run(TeleportationSearch(), searched_app(names=("mse", "x")))
