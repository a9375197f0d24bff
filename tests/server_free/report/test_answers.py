"""What the head of a report says of runs: consensus, who lags, what it cost, and FedAvg."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flwr_gossip.server_free.errors import RunError
from flwr_gossip.server_free.report import read_all
from flwr_gossip.server_free.run_rows import EvaluationRow, Row, SegmentRow, line_of
from flwr_gossip.server_free.runs import METRICS
from report_pages import answer, figure, page_of, rows_of, summary_of, write_changed, write_fedavg
from run_samples import sample_config, write_sample, write_simulated


def evaluated(values: list[float], distance: float, rounds: int = 12) -> list[Row]:
    """Return two segments and an evaluation at which the nodes have these accuracies."""
    own = {node: {"accuracy": value} for node, value in enumerate(values)}
    half = rounds // 2
    first = SegmentRow(1, half, 1.0, len(values), consensus_distance=2.0)
    second = SegmentRow(half + 1, rounds, 2.0, len(values), consensus_distance=distance)
    return [first, second, EvaluationRow(rounds, 2.0, {"accuracy": sum(values) / len(values)}, own)]


@pytest.mark.parametrize(
    ("values", "distance", "verdict"),
    [
        ([0.90, 0.91, 0.92, 0.91], 0.01, "Yes:"),
        ([0.50, 0.91, 0.92, 0.91], 0.01, "In part: the models came closer"),
        ([0.90, 0.91, 0.92, 0.91], 1.90, "In part: the nodes do equally well"),
        ([0.50, 0.91, 0.92, 0.91], 1.90, "No:"),
    ],
)
def test_consensus_is_about_models_and_about_what_they_can_do(
    tmp_path: Path, values: list[float], distance: float, verdict: str
) -> None:
    config = sample_config(nodes=4, active=None, rounds=6)
    run = write_sample(tmp_path / "run", config, evaluated(values, distance, 6))
    said = answer(page_of(run), "Did it reach consensus?")
    assert verdict in said
    assert f"from {min(values):g} to {max(values):g}" in said
    assert f"{100 * distance / 2:g} % of its largest value (round 3)" in said


def test_a_node_that_lags_is_named_with_its_value(tmp_path: Path) -> None:
    names = ("clinic-a", "clinic-b", "clinic-c", "clinic-d", "clinic-e", "clinic-f")
    config = replace(sample_config(nodes=6, active=None, rounds=6), nodes=names)
    rows = evaluated([0.9, 0.9, 0.91, 0.4, 0.9, 0.9], 0.1, 6)
    slow = {node: 3.0 + 6.0 * (node == 1) for node in range(6)}
    rows[0] = replace(rows[0], node_seconds=slow, missing={5: "nobody answers"})
    said = answer(page_of(write_sample(tmp_path / "run", config, rows)), "Who lags?")
    assert "Behind in accuracy: 3: clinic-d (0.4), against a median of 0.9." in said
    assert "Slower than 2 times the median: 1: clinic-b (3 times)." in said
    assert "Missing at some time: 5: clinic-f." in said


def test_a_slow_start_makes_nobody_slow(tmp_path: Path) -> None:
    config = sample_config(nodes=4, active=None, rounds=6)
    first, second, evaluation = evaluated([0.9, 0.9, 0.91, 0.9], 0.1, 6)
    rows = [replace(first, first=1, last=1, node_seconds=dict.fromkeys(range(4), 0.1))]
    rows[0].node_seconds[2] = 5.0  # the imports of the first
    for last in (2, 3, 4):
        seconds = dict.fromkeys(range(4), 0.1)
        rows.append(replace(second, first=last, last=last, node_seconds=seconds))
    run = write_sample(tmp_path / "run", config, [*rows, evaluation])
    assert "No single node:" in answer(page_of(run), "Who lags?")


def test_what_nodes_sent_adds_up_to_what_they_fetched(tmp_path: Path) -> None:
    config = sample_config(nodes=4, active=None, rounds=6)
    star = replace(config, plan_json=config.plan_json.replace('"ring"', '"star"'))
    rows = evaluated([0.9, 0.9, 0.91, 0.9], 0.1, 6)
    moved = {0: (9000, 3000), 1: (3000, 3000), 2: (3000, 3000), 3: (3000, 3000)}
    rows[0] = replace(rows[0], node_bytes=moved)
    shown = figure(page_of(write_sample(tmp_path / "run", star, rows)), "run1-bytes")
    table = {row[0]: row[1:] for row in rows_of(shown.all("table")[0])}
    # In a star all three others read the centre, and nobody else reads them but the centre.
    assert table["node 0"] == ["9 kB", "9 kB"] and table["node 3"] == ["3 kB", "3 kB"]


def test_nobody_lags_where_all_are_alike(tmp_path: Path) -> None:
    config = sample_config(nodes=4, active=None, rounds=6)
    run = write_sample(tmp_path / "run", config, evaluated([0.9, 0.9, 0.91, 0.9], 0.1, 6))
    assert "No single node: none is far from the others" in answer(page_of(run), "Who lags?")


def test_less_loss_is_better(tmp_path: Path) -> None:
    config = sample_config(nodes=4, active=None, rounds=6)
    rows = evaluated([0.1, 0.12, 0.9, 0.11], 0.1, 6)
    renamed = [json.loads(line_of(row).replace("accuracy", "eval_loss")) for row in rows]
    run = write_sample(tmp_path / "run", config, ())
    (run / METRICS).write_text("".join(json.dumps(row) + "\n" for row in renamed))
    document = page_of(run)
    assert "Behind in eval loss: node 2 (0.9)" in answer(document, "Who lags?")
    assert summary_of(document)["Eval loss, worst node"] == ["0.9"]
    assert summary_of(document)["Eval loss, best node"] == ["0.1"]


def test_the_cost_counts_only_the_nodes_that_were_live(tmp_path: Path) -> None:
    document = page_of(write_sample(tmp_path / "run", sample_config(active=None)))
    said = answer(document, "What did it cost?")
    # Eight nodes in rounds 1 to 6, seven in rounds 7 to 12; 4000 bytes for a slot and a round.
    assert "12 rounds, 90 local updates" in said
    assert "384 kB went between clients and 144 kB through the server." in said
    assert summary_of(document)["Local updates"] == ["90"]


def test_simulated_time_is_called_so(tmp_path: Path) -> None:
    said = answer(page_of(write_simulated(tmp_path / "run")), "What did it cost?")
    assert "12 rounds, 48 local updates, 3.6 s simulated. 384 kB went between clients" in said


def test_without_fedavg_it_says_what_that_would_have_sent(tmp_path: Path) -> None:
    said = answer(page_of(write_sample(tmp_path / "run")), "Was it better than FedAvg?")
    assert "Not known: no FedAvg run was given." in said
    assert "would have sent 384 kB through its server" in said  # 2 x 48 x 4000


@pytest.mark.parametrize(
    ("reached", "verdict"),
    [(0.99, "is worse than FedAvg by 0.18."), (0.5, "is better"), (0.8128, "are alike.")],
)
def test_fedavg_is_compared_under_the_same_local_updates(
    tmp_path: Path, reached: float, verdict: str
) -> None:
    run = write_sample(tmp_path / "run")
    document = page_of(run, write_fedavg(tmp_path / "fedavg.jsonl", reached))
    said = answer(document, "Was it better than FedAvg?")
    first = said.split("Within the same")[1]
    assert "48 local updates" in first and verdict in first


def test_a_longer_run_is_judged_by_what_it_had_reached_within_the_budget(tmp_path: Path) -> None:
    run = write_sample(tmp_path / "run")
    document = page_of(run, write_fedavg(tmp_path / "fedavg.jsonl", 1.0, rounds=24))
    budgets = {row[1]: row for row in rows_of(document.all("table")[1])}
    # After round 12 of 24 it had reached half; 8000 bytes an update, against 7000.
    assert budgets["local updates"][2:] == ["48 local updates", "0.8128 (best)", "0.5"]
    assert budgets["bytes"][2:] == ["336 kB sent", "0.8128 (best)", "0.375"]


def test_means_of_unlike_kinds_are_called_so(tmp_path: Path) -> None:
    fedavg = write_fedavg(tmp_path / "fedavg.jsonl", 0.9)
    fedavg.write_text(fedavg.read_text().replace('"accuracy"', '"accuracy-weighted"'))
    document = page_of(write_sample(tmp_path / "run"), fedavg)
    said = answer(document, "Was it better than FedAvg?")
    assert "mean accuracy by examples where the plain is not known." in said
    assert summary_of(document)["Accuracy, mean over the nodes"] == ["0.8128", "-"]
    assert summary_of(document)["Accuracy, mean by examples"] == ["-", "0.9"]


def test_runs_that_are_called_alike_get_the_names_of_their_folders(tmp_path: Path) -> None:
    runs = [write_sample(tmp_path / name) for name in ("one", "two")]
    labels = [reading.label for reading in read_all(runs)]
    assert labels == [
        f"Teleportation, one-peer-exponential, 4 active [{n}]" for n in ("one", "two")
    ]


def test_a_run_that_is_named_twice_is_an_error(tmp_path: Path) -> None:
    run = write_sample(tmp_path / "run")
    with pytest.raises(RunError, match="is named twice"):
        read_all([run, tmp_path / "run" / ".." / "run"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"kind": "config", "num_nodes": "ten"}\n', "line 1: num_nodes is 'ten', allowed is"),
        ("accuracy,round\n", "line 1 is 'accuracy,round'"),
    ],
)
def test_a_file_that_holds_no_metrics_is_an_error(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "fedavg.jsonl"
    path.write_text(line)
    with pytest.raises(RunError, match=said):
        read_all([path])


def test_metrics_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    def broken(row: Row) -> Row:
        if isinstance(row, EvaluationRow):
            own = {n: {"accuracy": float("nan") if n == 1 else 0.5} for n in row.nodes}
            return replace(row, metrics={"accuracy": 0.5}, nodes=own)
        return row

    document = page_of(write_changed(tmp_path / "run", sample_config(active=None), broken))
    assert summary_of(document)["Accuracy, worst node"] == ["0.5"]
    assert "nan" not in document.words().lower().split()
