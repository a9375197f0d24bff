"""The reproduction of Teleportation, as small as it still says something."""

from __future__ import annotations

import sys
from importlib import import_module
from math import inf
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_simulated_quadratics_agree_with_the_exact_expectation():
    quadratics = import_module("quadratics")
    for row in quadratics.rows((8,), quadratics.Setting(1.0, 1.0)):
        errors = [quadratics.measure(row, seed).error for seed in range(20)]
        middle, half = quadratics.interval(errors)
        assert row.reached
        assert abs(middle - quadratics.TARGET) < 2 * half, row


def test_networks_learn_and_have_a_curve_over_equal_updates():
    networks = import_module("networks")
    problem = networks.Problem("digits", 10.0, 8, "ring", updates=800)
    for k in (0, 2):
        outcome = networks.train(networks.Training(problem, k, 0.3, seed=0, on_test=True))
        assert outcome.curve[-1][0] == 800
        assert outcome.worst <= outcome.mean
        assert outcome.served > 0.8


def test_slow_nodes_hold_up_decentralized_sgd_at_every_round_and_teleportation_at_some():
    clocks = import_module("clocks")
    scenario = clocks.Scenario("slow", skewed=True, slow="nodes", budget_s=60.0)
    task = clocks.Task("digits", 10)
    curves = {
        k: clocks.train(clocks.Run(task, scenario, "ring", k, 0.3, seed=0, on_test=True))
        for k in (0, 2)
    }
    rounds = {k: curve[-1].rounds for k, curve in curves.items()}
    assert rounds[0] == 6  # the slow node takes 10 s a round, and the others wait for it
    assert 3 * rounds[0] < rounds[2] < 60
    for curve in curves.values():
        assert curve[-1].seconds <= 60.0
        assert [point.bytes for point in curve] == sorted(point.bytes for point in curve)


def test_clocks_tunes_both_methods_and_draws_them(monkeypatch, tmp_path):
    clocks, tables = import_module("clocks"), import_module("teleportation_tables")
    figures = import_module("teleportation_figures")
    monkeypatch.setattr(clocks, "LEARNING_RATES", (0.001, 0.3))
    monkeypatch.setattr(clocks, "TOPOLOGIES", ("ring",))
    task = clocks.Task("digits", 6, active=(2,))
    scenario = clocks.Scenario("skewed", skewed=True, slow="links", budget_s=100.0)
    results = clocks.tuned(task, [scenario], num_seeds=2, workers=1)
    assert [(run.num_active, run.learning_rate) for run, _ in results] == [(0, 0.3), (2, 0.3)]
    console = Console(record=True, width=140)
    console.print(tables.clocks_table(results, task), tables.targets_table(results, 0.2))
    assert "Teleportation" in console.export_text()
    figures.draw_clocks(results, tmp_path / "clocks.png")
    assert {file.name for file in tmp_path.iterdir()} == {"clocks.png", "clocks-bytes.png"}


def test_a_method_that_never_arrives_gives_a_bound():
    clocks, tables = import_module("clocks"), import_module("teleportation_tables")
    points = [clocks.Point(s, 1e6 * s, int(s), a, a, a) for s, a in ((1.0, 0.2), (2.0, 0.5))]
    assert clocks.seconds_to(0.4, points) == 2.0
    assert clocks.bytes_to(0.4, points) == 2e6
    assert clocks.seconds_to(0.6, points) == inf
    scenario = clocks.Scenario("skewed", skewed=True, slow="nothing", budget_s=10.0)
    task = clocks.Task("digits", 6)
    runs = [clocks.Run(task, scenario, "ring", k, 0.1, 0, True) for k in (0, 2)]
    console = Console(record=True, width=140)
    found = list(zip(runs, ([points[:1]], [points]), strict=True))
    console.print(tables.targets_table(found, 0.4))
    assert "> 5.0" in console.export_text()


def test_validation_data_are_with_no_node():
    data = import_module("learning_data").load("digits")
    x, y, (x_held, y_held) = data.without_validation(0.15, 3)
    assert len(y) + len(y_held) == len(data.train[1])
    both = np.concatenate([x, x_held])
    assert np.array_equal(np.sort(both.sum(axis=1)), np.sort(data.train[0].sum(axis=1)))
