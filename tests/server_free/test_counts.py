"""Whole numbers: numpy's are taken wherever a count or a seed is, and nothing else that is odd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free import theory, topologies
from flwr_gossip.server_free.counts import check_count
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.searches import Search
from flwr_gossip.strategies import Gossip, Teleportation


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_a_whole_number_becomes_an_int(value: Any) -> None:
    assert type(check_count("rounds", value)) is int
    assert check_count("rounds", value) == 3


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), 3.0, np.float64(3.0), "3", None, np.array([3, 4]), 0, 6]
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(PlanError, match=r"^rounds is .*, allowed is 1\.\.5; take fewer\.$"):
        check_count("rounds", value, most=5, advice="; take fewer")
    with pytest.raises(PlanError, match="rounds is -1, allowed is a whole number from 0"):
        check_count("rounds", -1, least=0)


@pytest.mark.parametrize("spec", sorted(topologies.SPECS))
def test_topologies_take_numpy_integers(spec: str) -> None:
    name, colon, _ = spec.partition(":")
    if name in {"edges", "davis-southern-women", "side-by-side"}:
        pytest.skip("has its own number of nodes")
    given = {"torus": "2x4", "grid": "2x4", "erdos-renyi": "0.9", "small-world": "2,0.1"}
    spec = f"{name}:{given.get(name, '1')}" if colon else name
    made = topologies.from_spec(spec, num_nodes=np.int64(8))  # type: ignore[arg-type]
    assert made == topologies.from_spec(spec, num_nodes=8)
    assert repr(made) == repr(topologies.from_spec(spec, num_nodes=8))


def test_builders_take_numpy_integers_as_arguments() -> None:
    two, four = np.int64(2), np.int64(4)
    for make, arguments in {
        topologies.torus: (two, four),
        topologies.grid: (two, four),
        topologies.base_graph: (8, two),
        topologies.random_regular: (8, two, four),
        topologies.small_world: (8, two, 0.5, four),
    }.items():
        plain = [value.item() if isinstance(value, np.generic) else value for value in arguments]
        assert repr(make(*arguments)) == repr(make(*plain))


def test_schedules_and_plans_take_numpy_integers() -> None:
    nodes, active, seed = np.int64(9), np.int32(4), np.uint64(7)
    teleport = Teleport(nodes, active, seed)  # type: ignore[arg-type]
    assert repr(teleport) == repr(Teleport(9, 4, 7))
    ring = topologies.ring(4)
    plan = Plan(ring, teleport, np.int64(5))  # type: ignore[arg-type]
    assert repr(plan) == repr(Plan(ring, Teleport(9, 4, 7), 5))
    assert repr(AllActive(nodes)) == "AllActive(num_nodes=9)"  # type: ignore[arg-type]
    assert Search(nodes).groups == Search(9).groups  # type: ignore[arg-type]


def test_strategies_take_numpy_integers() -> None:
    three = np.int64(3)
    given = Teleportation(three, seed=three, evaluate_every=three)  # type: ignore[arg-type]
    plain = Teleportation(3, seed=3, evaluate_every=3)
    assert given.describe() == plain.describe()
    assert repr(given.settings) == repr(plain.settings)
    assert repr(given.plan(8, 4)) == repr(plain.plan(8, 4))
    with pytest.raises(PlanError, match=r"fetch_models is True, allowed is .* from 1, or None"):
        Gossip(fetch_models=True)


def test_theory_takes_numpy_integers() -> None:
    eight = np.int64(8)
    assert theory.gossip_moments(topologies.ring(8), 0.1, eight)  # type: ignore[arg-type]
    given = theory.recommend(eight, max_degree=np.int64(2))  # type: ignore[arg-type]
    assert given.best.spec == theory.recommend(8, max_degree=2).best.spec
