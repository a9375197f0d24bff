"""The fleet is what the README says, and a small one trains on each candidate."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edge_simulation.edge import (
    FLAKY,
    HEADINGS,
    IMAGES,
    OTHERS,
    candidates,
    main,
    make_fleet,
    row,
    train,
)
from flwr_gossip.strategies import Gossip, Teleportation
from rooms import ROOT

README = (ROOT / "examples" / "edge_simulation" / "README.md").read_text()


def test_the_fleet_has_slow_and_flaky_devices_with_two_digits_each() -> None:
    fleet = make_fleet(200)
    nodes = np.arange(200)
    assert set(np.asarray(fleet.network.compute_s)) == {2.0, 10.0}
    _, until = fleet.network.online(nodes, 0.0)
    assert 0 < np.isfinite(until).sum() < 2 * FLAKY * 200
    later = [fleet.network.online(nodes, time)[0].mean() for time in (500.0, 1000.0, 2000.0)]
    assert all(0.8 < share < 1.0 for share in later)
    for node in (0, 199):
        _, labels = fleet.data.batch(np.array([node]), np.arange(IMAGES)[None, :])
        assert len(set(labels.ravel().tolist())) == 2


def test_the_candidates_are_those_of_the_readme() -> None:
    found = candidates(1000)
    assert len(found) == 1 + len(OTHERS)
    assert all(label in README for label in found)


def test_a_small_fleet_trains_on_simulated_time() -> None:
    fleet = make_fleet(24)
    for strategy in (Teleportation(4), Gossip("ring")):
        run = train(fleet, strategy, num_rounds=6)
        assert run.history[-1]["seconds"] > 6 * 1.0
        assert len(row("x", run)) == len(HEADINGS)


def test_as_it_is_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["edge.py", "--nodes", "64", "--rounds", "3"])
    main()
    printed = capsys.readouterr().out
    assert "64 devices, 3 rounds" in printed
    assert all(label in printed for label in candidates(64))


def test_no_number_before_the_goal_is_reached() -> None:
    run = train(make_fleet(8), Teleportation(2), num_rounds=1)
    assert row("x", run)[:4] == ["x", "never", "-", "-"]
