"""The result: history as dicts, table and file; models as state dicts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.strategies import Teleportation

torch = pytest.importorskip("torch")
from flwr_gossip.server_free.simulation import Network, read_jsonl, simulate  # noqa: E402


@pytest.fixture
def result(make_problem: Callable[[list[int]], Any]) -> Any:
    problem = make_problem([4, 7, 7, 5])
    return simulate(
        problem.model,
        problem.loss,
        problem.data,
        Teleportation(2),
        num_rounds=4,
        learning_rate=lambda round: 0.1 * round,
        evaluate_every=2,
    )


def test_a_record_a_round(result: Any) -> None:
    assert [record["round"] for record in result.history] == [1, 2, 3, 4]
    assert [record["learning_rate"] for record in result.history] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4]
    )
    for record in result.history:
        assert record["bytes"] == record["transfers"] * (5 * 4 + 4 + 4 * 3 + 3) * 8


def test_epochs_are_passes_over_the_samples_of_all_nodes(
    make_problem: Callable[[list[int]], Any],
) -> None:
    problem, sizes = make_problem([4, 7, 7, 5]), np.array([4, 7, 7, 5])
    result = simulate(
        problem.model,
        problem.loss,
        problem.data,
        Teleportation(2),
        num_rounds=5,
        learning_rate=0.1,
        batch_size=5,
        local_steps=3,
    )
    used = [3 * np.minimum(5, sizes[list(result.plan.active(t))]).sum() for t in range(1, 6)]
    epochs = [record["epoch"] for record in result.history]
    assert epochs == pytest.approx(np.cumsum(used) / sizes.sum())


def test_the_file_has_a_line_a_round_and_null_for_what_is_not_finite(
    result: Any, tmp_path: Path
) -> None:
    result.history[1]["train_loss"] = math.nan
    result.to_jsonl(tmp_path / "run.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert lines[1]["train_loss"] is None
    assert lines[0] == result.history[0]
    assert lines[3] == result.history[3]
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_file_that_cannot_be_written_whole_does_not_replace_the_old_one(
    result: Any, tmp_path: Path
) -> None:
    (tmp_path / "run.jsonl").write_text("old")
    result.history[3]["odd"] = object()
    with pytest.raises(TypeError):
        result.to_jsonl(tmp_path / "run.jsonl")
    assert (tmp_path / "run.jsonl").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_file_gives_the_history_back(result: Any, tmp_path: Path) -> None:
    result.to_jsonl(tmp_path / "run.jsonl")
    assert read_jsonl(tmp_path / "run.jsonl") == result.history


def test_the_table_has_a_row_a_round(result: Any) -> None:
    pytest.importorskip("pandas")
    table = result.to_pandas()
    assert table["round"].tolist() == [1, 2, 3, 4]
    assert table["consensus_distance"].isna().tolist() == [True, False, True, False]


def test_the_table_of_nodes_has_a_row_a_node(
    result: Any, make_problem: Callable[[list[int]], Any]
) -> None:
    pytest.importorskip("pandas")
    problem = make_problem([4] * 9)
    timed = simulate(
        problem.model,
        problem.loss,
        problem.data,
        Teleportation(2, "ring"),
        num_rounds=3,
        learning_rate=0.1,
        network=Network.lan(compute_s=2.0),
    )
    table = timed.nodes_to_pandas()
    active = [node for t in range(1, 4) for node in timed.plan.active(t)]
    assert table.index.tolist() == list(range(9))
    assert table["rounds"].tolist() == [active.count(node) for node in range(9)]
    assert table["busy_s"].tolist() == pytest.approx([2.0 * active.count(n) for n in range(9)])
    assert table["sent"].sum() == sum(record["bytes"] for record in timed.history) > 0
    with pytest.raises(PlanError, match=r"nodes is empty: .* call simulate\(\.\.\., network="):
        result.nodes_to_pandas()


def test_models_as_state_dicts(result: Any, make_problem: Callable[[list[int]], Any]) -> None:
    problem = make_problem([4])
    for slot in range(2):
        problem.model.load_state_dict(result.state_dict(slot))
        assert (problem.x0 == result.models[slot].numpy()).all()
    problem.model.load_state_dict(result.mean_state_dict())
    assert problem.x0 == pytest.approx(result.models.mean(0).numpy())
    with pytest.raises(PlanError, match=r"slot is 2, allowed is 0..1"):
        result.state_dict(2)


def test_a_state_dict_is_a_copy(result: Any) -> None:
    before = result.models.clone()
    for value in result.state_dict(0).values():
        value.zero_()
    assert result.models.equal(before)


def test_its_line_tells_how_far_it_came(result: Any) -> None:
    assert "models=(2, 39)" in repr(result) and "'round': '4'" in repr(result)
