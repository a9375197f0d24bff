"""The advice: golden numbers of the papers, its order, its budgets, its words and its errors."""

from __future__ import annotations

from math import ceil, log

import pytest

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.schedules import AllActive
from flwr_gossip.server_free.theory.advice import TIE, WIDE_TIE, Recommendation, recommend
from flwr_gossip.server_free.theory.neighbors import effective_neighbors
from flwr_gossip.server_free.theory.predictions import Candidate
from flwr_gossip.strategies import Gossip, Teleportation

SMALL = ("ring", "one-peer-exponential", "star", "complete", "alone")


def of(found: Recommendation, strategy: str, spec: str) -> list[Candidate]:
    return [c for c in found.candidates if (c.strategy, c.spec) == (strategy, spec)]


def fewest(found: Recommendation, strategy: str, spec: str) -> int:
    return min(c.rounds for c in of(found, strategy, spec) if c.rounds is not None)


@pytest.mark.parametrize(
    ("num_nodes", "ring", "teleported_ring", "one_peer", "teleported_one_peer"),
    [(25, 490, 74, 79, 63), (100, 2458, 78, 85, 62)],
)
def test_the_rounds_are_those_of_the_reference_table(
    num_nodes: int, ring: int, teleported_ring: int, one_peer: int, teleported_one_peer: int
) -> None:
    # The table's learning rates were tuned on a grid; ours is continuous, so never slower.
    found = recommend(num_nodes, candidates=["ring", "one-peer-exponential"])
    for strategy, spec, rounds in [
        ("Gossip", "ring", ring),
        ("Teleportation", "ring", teleported_ring),
        ("Gossip", "one-peer-exponential", one_peer),
        ("Teleportation", "one-peer-exponential", teleported_one_peer),
    ]:
        assert rounds * 0.97 - 1 <= fewest(found, strategy, spec) <= rounds


def test_effective_neighbors_are_those_of_the_reference_table() -> None:
    specs = ["star", "ring", "one-peer-exponential", "two-cliques", "hypercube", "complete"]
    found = recommend(32, gamma=0.951, candidates=specs, num_active=[])
    assert {c.spec: round(c.effective_neighbors, 3) for c in found.candidates} == {
        "star": 2.313,
        "ring": 8.856,
        "one-peer-exponential": 14.309,
        "two-cliques": 17.907,
        "hypercube": 24.286,
        "complete": 32.0,
    }


def test_data_that_are_alike_follow_the_rate_of_the_quadratics() -> None:
    found = recommend(32, gamma=0.95, heterogeneity=0.0, candidates=SMALL, num_active=[8])
    noise = 1 / (1 - 0.95)
    for spec, neighbors in (("alone", 1), ("complete", 32)):
        (one,) = of(found, "Gossip", spec)
        rate = 1 / (1 + (noise - 1) / neighbors)  # of these graphs both best lr and best rate
        assert one.rounds == ceil(log(1e-2 / 10) / log(1 - rate))
        assert one.learning_rate == pytest.approx(rate, rel=1e-6)
        assert one.learning_rate_multiplier == pytest.approx(rate * noise, rel=1e-6)
    (slots,) = of(found, "Teleportation", "complete")
    assert slots.learning_rate == pytest.approx(1 / (1 + (noise - 1) / 8), rel=1e-6)


def test_a_lower_target_takes_more_rounds() -> None:
    for heterogeneity in (0.0, 1.0):
        few, many = (
            recommend(
                16, target=t, heterogeneity=heterogeneity, candidates=["ring"], num_active=[8]
            )
            for t in (1e-1, 1e-3)
        )
        for spec in ("Gossip", "Teleportation"):
            assert fewest(few, spec, "ring") < fewest(many, spec, "ring")


def test_traffic_is_counted_in_models_and_bytes() -> None:
    found = recommend(25, candidates=SMALL, num_active=[4], model_bytes=1000)
    counted = {
        (c.strategy, c.spec): (c.degree, c.models_received, c.models_per_round)
        for c in found.candidates
    }
    assert counted["Gossip", "ring"] == (2, 2, 50)
    assert counted["Gossip", "star"] == (24, 24, 48)  # the sum of degrees, not n times the largest
    assert counted["Gossip", "complete"] == (24, 24, 600)
    assert counted["Gossip", "alone"] == (0, 0, 0)
    assert counted["Teleportation", "ring"] == (2, 3, 12)  # k(1 + degree)
    assert counted["Teleportation", "one-peer-exponential"] == (1, 2, 8)
    for one in found.candidates:
        assert one.bytes_received == 1000 * one.models_received
        assert one.bytes_per_round == 1000 * one.models_per_round
        assert one.total_models == (one.rounds and one.rounds * one.models_per_round)


def test_degrees_that_change_are_averaged_over_the_period() -> None:
    found = recommend(25, candidates=["base-graph:1"], num_active=[])
    topology = topologies.from_spec("base-graph:1", 25)
    degrees = [topology.degree(node, t) for t in range(1, 10) for node in range(25)]
    assert topology.period == 9
    assert found.best.models_per_round == pytest.approx(sum(degrees) / 9)
    assert 0 < found.best.models_per_round < 25


def assert_in_order(candidates: list[Candidate], tie: float) -> None:
    """Compare with the order by rounds, and among those as fast by traffic; never comes last."""
    rest = [c for c in candidates if c.rounds is not None]
    assert candidates[: len(rest)] == rest
    while rest:
        limit = tie * min(c.rounds for c in rest if c.rounds is not None)
        equal = [c for c in rest if c.rounds is not None and c.rounds <= limit]
        assert rest[: len(equal)] == equal
        traffic = [c.total_models for c in equal]
        assert traffic == sorted(traffic)  # type: ignore[type-var]
        rest = rest[len(equal) :]


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 7, 16, 31, 36])
@pytest.mark.parametrize("heterogeneity", [0.0, 1.0])
def test_within_a_limit_the_order_is_by_rounds_and_among_equals_by_traffic(
    num_nodes: int, heterogeneity: float
) -> None:
    found = recommend(num_nodes, heterogeneity=heterogeneity, max_degree=num_nodes)
    assert_in_order(list(found.candidates), TIE)


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 7, 31, 100])
@pytest.mark.parametrize("heterogeneity", [0.0, 1.0])
def test_without_a_limit_few_rounds_are_not_bought_with_many_neighbours(
    num_nodes: int, heterogeneity: float
) -> None:
    found = recommend(num_nodes, heterogeneity=heterogeneity)
    usual = ceil(log(num_nodes, 2) - 1e-9)
    reached = [c for c in found.candidates if c.rounds is not None]
    few = [c for c in reached if c.degree <= usual]
    assert [*few, *(c for c in reached if c.degree > usual)] == reached
    assert_in_order(few, WIDE_TIE)
    assert_in_order(reached[len(few) :], WIDE_TIE)
    fewest = min(c.rounds for c in few if c.rounds is not None)
    assert found.best.rounds is not None and found.best.rounds <= 1.5 * fewest
    (note,) = (note for note in found.notes if "No limit was given" in note)
    assert (f"More than {usual} neighbours" in note) == (len(few) < len(reached))


def test_what_more_neighbours_would_bring_is_said() -> None:
    found = recommend(100)
    assert found.best.models_received <= 7 + 1
    (note,) = (note for note in found.notes if "No limit was given" in note)
    assert 'Gossip(topology="complete"), needs about 1 round and 99 models a node' in note
    assert "% above the fewest, with the least traffic near it" in found.why
    assert recommend(100, max_degree=99).best.code == 'Gossip(topology="complete")'


def test_named_topologies_may_have_any_number_of_neighbours() -> None:
    specs = ["star", "complete", "directed-ring"]
    found = recommend(32, num_active=[], candidates=specs)
    assert found.best.spec == "complete"
    assert not any("neighbours (log2" in note for note in found.notes)


def test_many_neighbours_come_first_where_few_do_not_get_there() -> None:
    found = recommend(8, heterogeneity=1e9)
    assert found.best.spec == "complete"
    assert {c.rounds for c in found.candidates if c.degree < 7} == {None}
    assert not any("come last" in note for note in found.notes)


def test_no_candidate_is_there_twice() -> None:
    # On two nodes every graph with an edge is the same W; on 32 several one-peer graphs are.
    two = [c.code for c in recommend(2).candidates if c.strategy == "Gossip"]
    assert two == ['Gossip(topology="ring")', 'Gossip(topology="alone")']
    many = recommend(32, num_active=[]).candidates
    matrices = set()
    for c in many:
        topology = topologies.from_spec(c.spec, 32)
        rounds = range(1, (topology.period or 1) + 1)
        matrices.add(b"".join(topology.matrix(t).round(9).tobytes() for t in rounds))
    assert len(matrices) == len(many)


@pytest.mark.parametrize("num_nodes", [1, 12, 31])
def test_every_candidate_is_a_strategy_that_can_be_pasted(num_nodes: int) -> None:
    found = recommend(num_nodes)
    for one in found.candidates:
        strategy = eval(one.code, {"Gossip": Gossip, "Teleportation": Teleportation})
        plan = strategy.plan(num_nodes, 10)
        assert plan.num_slots == one.num_active
        assert plan.topology.max_degree == one.degree
        assert isinstance(plan.schedule, AllActive) == (one.strategy == "Gossip")


@pytest.mark.parametrize("max_degree", [0, 1, 2, 4])
def test_a_limit_on_the_degree(max_degree: int) -> None:
    free, found = recommend(16), recommend(16, max_degree=max_degree)
    assert {c.code for c in found.candidates} == {
        c.code for c in free.candidates if c.degree <= max_degree
    }
    over = [one for one in found.excluded if "degree" in one.reason]
    assert len(over) + len(found.candidates) == len(free.candidates)


def test_a_limit_on_bytes_is_of_what_an_active_node_receives() -> None:
    limits = {"model_bytes": 10, "max_bytes": 29}
    found = recommend(16, candidates=["ring", "one-peer-exponential"], num_active=[4], **limits)
    kept = {(c.strategy, c.spec) for c in found.candidates}
    # A ring's slot needs three models in Teleportation, a ring's node two in Gossip.
    assert kept == {
        ("Gossip", "ring"),
        ("Gossip", "one-peer-exponential"),
        ("Teleportation", "one-peer-exponential"),
    }
    (over,) = found.excluded
    assert (over.spec, over.num_active) == ("ring", 4)
    assert over.reason == "a node receives 30 bytes a round, above 29"


def test_only_the_given_numbers_of_active_nodes() -> None:
    found = recommend(12, num_active=[5, 3, 5])
    assert {c.num_active for c in found.candidates if c.strategy == "Teleportation"} == {3, 5}
    default = recommend(12, candidates=["ring"])
    assert {c.num_active for c in of(default, "Teleportation", "ring")} == {1, 2, 4, 8, 12}


def test_a_given_topology_that_fits_some_sizes_says_where_it_does_not() -> None:
    found = recommend(32, candidates=["torus:4x8", "ring"], num_active=[16, 32])
    assert {c.num_active for c in found.candidates if c.spec == "torus:4x8"} == {32}
    (refused,) = (one for one in found.excluded if one.spec == "torus:4x8")
    assert refused.num_active == 16
    assert "has 32 nodes" in refused.reason


def test_gamma_is_fitted_to_measured_losses() -> None:
    def loss(neighbors: float) -> float:
        return 1 / (1 + log(neighbors))

    complete = {n: loss(n) for n in (1, 2, 4, 8, 16, 32)}
    measured = {
        spec: loss(effective_neighbors(topologies.from_spec(spec, 32), 0.951))
        for spec in ("star", "ring", "torus:4x8")
    }
    found = recommend(32, complete_losses=complete, losses=measured, candidates=SMALL)
    assert found.gamma == pytest.approx(0.951, abs=0.005)
    assert "is fitted" in found.notes[0]
    assert not any("assumed" in note for note in found.notes)


def test_doubts_about_the_fit_are_in_the_notes() -> None:
    complete = {1: 1.0, 2: 0.6, 4: 0.65, 8: 0.3}
    with_warnings = recommend(8, complete_losses=complete, losses={"ring": 0.45}, num_active=[])
    assert any("rise and fall" in note for note in with_warnings.notes)


def test_what_is_assumed_is_said() -> None:
    assert "gamma = 0.95 is assumed" in recommend(4).notes[0]
    assert not any("assumed" in note for note in recommend(4, gamma=0.9).notes)
    assert any("No limit was given" in note for note in recommend(4).notes)
    assert not any("No limit" in note for note in recommend(4, max_degree=1).notes)


def test_that_gossip_can_be_faster_by_the_clock_is_said_where_it_matters() -> None:
    alike = recommend(16, heterogeneity=0.0, max_degree=2)
    assert any("Gossip can be faster by the clock" in note for note in alike.notes)
    teleported = recommend(100, max_degree=2)
    assert teleported.best.strategy == "Teleportation"
    assert any("Gossip can be faster by the clock" in note for note in teleported.notes)


def test_the_reason_names_the_best_and_its_rival() -> None:
    found = recommend(100, max_degree=2, candidates=["ring"])
    gossip = fewest(found, "Gossip", "ring")
    assert found.best.strategy == "Teleportation"
    assert found.why.startswith(f"{found.best.code} needs about {found.best.rounds} rounds")
    assert f"the best Gossip, over ring, about {gossip:,}" in found.why
    assert "The nodes' data differ" in found.why


def test_traffic_is_the_reason_where_the_rival_is_as_fast() -> None:
    found = recommend(100)
    rival = next(c for c in found.candidates if c.strategy != found.best.strategy)
    assert rival.rounds is not None and found.best.rounds is not None
    assert rival.rounds <= found.best.rounds
    totals = (
        f"{found.best.total_models:,.0f} models are received, against {rival.total_models:,.0f}"
    )
    assert totals in found.why


def test_the_least_traffic_is_named_where_it_is_another() -> None:
    found = recommend(32, max_degree=2)
    least = min((c for c in found.candidates if c.total_models), key=lambda c: c.total_models or 0)
    (note,) = (note for note in found.notes if note.startswith("Least traffic"))
    assert f"{least.code}, {least.total_models:,.0f} models" in note


def test_many_nodes_leave_out_what_takes_long_unless_it_is_named() -> None:
    found = recommend(700, num_active=[8], max_degree=4)
    skipped = {one.spec for one in found.excluded if one.is_skipped}
    assert {"binary-tree", "base-graph:1", "two-cliques"} <= skipped
    assert all(topologies.from_spec(spec, 700).modes_of is None for spec in skipped)
    assert any("Left out" in note and "binary-tree" in note for note in found.notes)
    named = recommend(700, num_active=[], candidates=["binary-tree"])
    assert named.best.spec == "binary-tree"


def test_a_topology_too_large_for_the_theory_is_left_out_with_its_reason() -> None:
    found = recommend(4100, num_active=[], candidates=["two-cliques", "one-peer-exponential"])
    assert [c.spec for c in found.candidates] == ["one-peer-exponential"]
    (refused,) = found.excluded
    assert refused.spec == "two-cliques"
    assert "4100 nodes" in refused.reason


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"num_nodes": 0}, "num_nodes is 0"),
        ({"num_nodes": 2.5}, "num_nodes is 2.5"),
        ({"gamma": 1.0}, "gamma is 1.0, allowed is 0 <= gamma < 1"),
        ({"gamma": 1 - 1e-12}, "at most 1 - 1e-9"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"heterogeneity": -1.0}, "heterogeneity is -1.0"),
        ({"heterogeneity": float("inf")}, "heterogeneity is inf"),
        ({"target": 10.0}, "target is 10.0, allowed is above 0 and below 10"),
        ({"target": 0.0}, "target is 0.0"),
        ({"max_degree": -1}, "max_degree is -1"),
        ({"max_bytes": 10}, "max_bytes needs model_bytes"),
        ({"model_bytes": 0}, "model_bytes is 0"),
        ({"num_active": [9]}, "num_active is 9, allowed is 1..8, the number of nodes"),
        ({"num_active": [0]}, "num_active is 0"),
        ({"complete_losses": {1: 1.0, 8: 0.5}}, "complete_losses and losses, both"),
        ({"candidates": ["rong"]}, "topology 'rong' is unknown"),
        ({"candidates": "ring"}, "candidates is 'ring', allowed is a list of specs"),
        ({"candidates": ["torus:3x3"]}, "has 9 nodes"),
        ({"candidates": []}, "no candidate is left"),
        ({"max_degree": 1, "candidates": ["star"], "num_active": [8]}, "star: degree 7 is above 1"),
        ({"candidates": ["alone"], "num_active": []}, r"\(alone\) reaches the target"),
        ({"heterogeneity": 1e9, "candidates": ["ring"]}, "reaches the target; allow"),
    ],
)
def test_what_cannot_be_is_one_clear_error(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        recommend(**{"num_nodes": 8, **arguments})  # type: ignore[arg-type]
