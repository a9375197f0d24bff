"""Small run folders, as runs leave them behind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from flwr_gossip.server_free.orders import Loss
from flwr_gossip.server_free.plans import Plan
from flwr_gossip.server_free.run_rows import (
    EndRow,
    EvaluationRow,
    LossRow,
    RoundRow,
    Row,
    SegmentRow,
    ServerEvaluationRow,
    SimulatedRow,
    line_of,
)
from flwr_gossip.server_free.runs import CONFIG, METRICS, MODEL, RunConfig
from flwr_gossip.server_free.schedules import AllActive, Teleport
from flwr_gossip.server_free.topologies import from_spec

GONE_FROM = 7
"""From this round on the last node of a sample is gone."""


def sample_config(nodes: int = 8, rounds: int = 12, active: int | None = 4) -> RunConfig:
    """Return what a finished run says of itself: Gossip on a ring where ``active`` is None."""
    live = ((1, tuple(range(nodes))), (GONE_FROM, tuple(range(nodes - 1))))
    live = live if rounds >= GONE_FROM else ()
    if active is None:
        plan = Plan(from_spec("ring", num_nodes=nodes), AllActive(nodes), rounds, live)
    else:
        topology = from_spec("one-peer-exponential", num_nodes=active)
        plan = Plan(topology, Teleport(nodes, active, seed=0), rounds, live)
    name = "Gossip" if active is None else "Teleportation"
    return RunConfig(
        version="0.1.0",
        training="0123456789abcdef0123456789abcdef",
        flower_run=None,
        runtime="in-process",
        strategy={"name": name, "description": f"{name}, a sample", "settings": {"seed": 0}},
        num_nodes=nodes,
        num_slots=plan.num_slots,
        num_rounds=rounds,
        plan_json=plan.to_json(),
        nodes=tuple(f"partition-id {node}" for node in range(nodes)),
        parameters=1000,
        model_bytes=4000,
        started="2026-01-31T12:00:00+00:00",
        ended="2026-01-31T12:01:00+00:00",
        status="finished",
    )


def sample_rows(config: RunConfig) -> Iterable[Row]:
    """Yield the rows of a run with an evaluation after every third round and a node that dies."""
    plan, last = config.plan, config.num_rounds
    for first in range(1, last + 1, 3):
        end = min(first + 2, last)
        for round in range(first, end + 1):
            loss = 2.3 * math.exp(-round / 6)
            metrics = {"loss": loss, "loss-weighted": loss * 1.02, "accuracy": 1 - loss / 2.5}
            yield RoundRow(round, 0.5 * round, metrics)
        active = sorted({node for t in range(first, end + 1) for node in plan.active(t)} - {-1})
        gone = first <= GONE_FROM <= end
        yield SegmentRow(
            first,
            end,
            0.5 * end,
            live=config.num_nodes - (end >= GONE_FROM),
            missing={config.num_nodes - 1: "nobody answers at 127.0.0.1:9"} if gone else {},
            bytes_between_clients=4000 * config.num_slots * end,
            bytes_through_server=1500 * config.num_nodes * end,
            consensus_distance=3.0 * math.exp(-end / 4),
            node_bytes={node: (4000, 4000 + 10 * node) for node in active},
            node_seconds={node: 1.0 + node / 10 for node in active},
        )
        if gone:
            node = config.num_nodes - 1
            reason, used = "nobody answers at 127.0.0.1:9", "rest of the row"
            yield LossRow(Loss(GONE_FROM - 1, 1, node, 0, 0, "unreachable", reason, used))
        live = plan.live_in(end) or range(config.num_nodes)
        own = {
            node: {
                "accuracy": 0.9 - 0.3 * math.exp(-end / 5) - node / 50,
                "num-examples": 40 + node,
            }
            for node in live
        }
        values = [metrics["accuracy"] for metrics in own.values()]
        mean = sum(values) / len(values)
        over = {"accuracy": mean, "accuracy-min": min(values), "accuracy-max": max(values)}
        yield EvaluationRow(end, 0.5 * end + 0.1, over, own)
        yield ServerEvaluationRow(end, 0.5 * end + 0.2, {"accuracy": mean + 0.01})
    yield EndRow(last, 0.5 * last + 1, "finished")


def simulated_rows(config: RunConfig) -> Iterable[Row]:
    """Yield the rows of a vectorized run over a simulated network."""
    for round in range(1, config.num_rounds + 1):
        loss = 2.3 * math.exp(-round / 6)
        record = {"round": round, "epoch": round / 4, "learning_rate": 0.1, "train_loss": loss}
        record |= {
            "active": config.num_slots,
            "transfers": 8,
            "bytes": 32000,
            "seconds": 0.3 * round,
        }
        record |= {"median_seconds": 0.3 * round, "missing": 0, "offline": 0}
        if round % 3 == 0:
            record |= {"consensus_distance": math.exp(-round / 4), "test_accuracy": 1 - loss / 2.5}
            record |= {"test_accuracy_min": 0.9 - loss / 2.5, "test_accuracy_max": 1.0}
            record |= {"served_accuracy": 1 - loss / 2.6}
        yield SimulatedRow(record)
    yield EndRow(config.num_rounds, 2.0, "finished")


def write_sample(
    folder: Path, config: RunConfig | None = None, rows: Iterable[Row] | None = None
) -> Path:
    """Write a run's folder: by default a finished Teleportation on 8 nodes with one that died."""
    config = sample_config() if config is None else config
    chosen = sample_rows(config) if rows is None else rows
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(config.to_json())
    (folder / METRICS).write_text("".join(map(line_of, chosen)))
    from safetensors.numpy import save_file

    weights = {"w": np.zeros((10, 100), np.float32)}
    save_file(weights, folder / MODEL, {"round": str(config.num_rounds), "slots": "0,1,2,3"})
    return folder


def write_simulated(folder: Path) -> Path:
    """Write the folder of a vectorized run."""
    config = replace(sample_config(), runtime="vectorized", nodes=())
    return write_sample(folder, config, simulated_rows(config))
