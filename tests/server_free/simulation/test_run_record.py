"""Vectorized runs leave the same folder as those of other runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from flwr_gossip.server_free.errors import RunError
from flwr_gossip.server_free.runs import read_run
from flwr_gossip.strategies import Gossip, Teleportation

pytest.importorskip("torch")


def run_of(problem: Any, strategy: Any, **options: Any) -> Any:
    from flwr_gossip.server_free.simulation import simulate

    return simulate(
        problem.model,
        problem.loss,
        problem.data,
        strategy,
        num_rounds=6,
        learning_rate=options.pop("learning_rate", 0.1),
        test_data=problem.data[0],
        evaluate_every=3,
        **options,
    )


def test_a_run_is_written_while_it_goes_on_and_can_be_saved_afterwards(
    tmp_path: Path, make_problem: Callable[[list[int]], Any]
) -> None:
    result = run_of(make_problem([8] * 4), Teleportation(2, "ring"), folder=tmp_path / "run")
    saved = result.save(tmp_path / "run")
    assert saved == tmp_path / "run-2"
    for folder in (tmp_path / "run", saved):
        run = read_run(folder)
        assert run.config.runtime == "vectorized" and run.config.status == "finished"
        assert (run.config.num_nodes, run.config.num_slots, run.last_round) == (4, 2, 6)
        assert run.config.plan == result.plan
        assert run.config.parameters == result.models.shape[1]
        assert [dict(record) for record in run.simulated] == result.history
        for name, array in load_file(str(run.model)).items():
            np.testing.assert_array_equal(array, result.mean_state_dict()[name].numpy())


def test_a_run_that_breaks_off_says_so(
    tmp_path: Path, make_problem: Callable[[list[int]], Any]
) -> None:
    problem = make_problem([8] * 4)

    def rate(round: int) -> float:
        if round == 3:
            raise KeyError("no rate")
        return 0.1

    with pytest.raises(KeyError):
        run_of(problem, Gossip("ring"), folder=tmp_path / "run", learning_rate=rate)
    run = read_run(tmp_path / "run")
    assert run.config.status == "failed" and "no rate" in str(run.config.error)
    assert run.last_round == 2


def test_a_folder_that_cannot_be_is_one_error(
    tmp_path: Path, make_problem: Callable[[list[int]], Any]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="folder is"):
        run_of(make_problem([8] * 4), Gossip("ring"), folder=tmp_path / "file" / "run")
