"""The ServerApp: plays the cases that a test wrote down and writes down how they went."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_gossip.server_free.errors import GossipError
from flwr_gossip.strategies import (
    Gossip,
    GossipResult,
    SearchResult,
    Teleportation,
    TeleportationSearch,
)
from gossip_cases.task import PROBE, initial, to_vector

app = ServerApp()

STRATEGIES: dict[str, type[Strategy]] = {
    "fedavg": FedAvg,
    "gossip": Gossip,
    "search": TeleportationSearch,
    "teleportation": Teleportation,
}

Seen = list[dict[str, Any]]


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Play all cases; an error of one is written down, and ends the run where the case says so."""
    print(f"ServerApp process {os.getpid()}", flush=True)
    folder = Path(str(context.run_config["folder"]))
    for case in json.loads((folder / "cases.json").read_text()):
        print(f"case {case['name']} begins", flush=True)
        file = folder / f"{case['name']}.json"
        try:
            file.write_text(json.dumps(play(case, SomeNodes(grid, case["hidden"]), folder)))
        except GossipError as error:
            file.write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}))
            if case["last"]:
                raise


class SomeNodes:
    """A Flower ``Grid`` that hides some of the nodes, so that cases can share a deployment."""

    def __init__(self, grid: Grid, hidden: list[int]) -> None:
        self._grid, self._hidden = grid, set(hidden)

    def get_node_ids(self) -> list[int]:
        """Return the ids of the connected nodes that are shown."""
        return [node for node in self._grid.get_node_ids() if node not in self._hidden]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)


def play(case: dict[str, Any], grid: Any, folder: Path) -> dict[str, Any]:
    """Play one case; its models go into an npz file, all else is returned."""
    trained: Seen = []
    evaluated: Seen = []
    models: dict[str, np.ndarray] = {}

    def look(round: int, arrays: ArrayRecord) -> MetricRecord:
        models[f"server-{round}"] = to_vector(arrays)
        return MetricRecord({"first": float(models[f"server-{round}"][0])})

    searching = case["strategy"] == "search"  # in which nodes do a round more than once
    kept = {} if case["strategy"] == "fedavg" else {"folder": str(folder / f"{case['name']}-run")}
    strategy = STRATEGIES[case["strategy"]](
        **kept,
        **case["options"],
        train_metrics_aggr_fn=lambda records, key: remember([] if searching else trained, records),
        evaluate_metrics_aggr_fn=lambda records, key: remember(
            [] if searching else evaluated, records
        ),
    )
    began = time.monotonic()
    result = strategy.start(
        grid,
        initial(case["size"]),
        case["rounds"],
        timeout=case["timeout"],
        train_config=ConfigRecord(case["config"]),
        evaluate_fn=look if case["serve"] else None,
    )
    models["arrays"] = to_vector(result.arrays)
    np.savez(folder / f"{case['name']}.npz", **models)
    outcome = {"trained": trained, "evaluated": evaluated, "seconds": time.monotonic() - began}
    if isinstance(result, GossipResult):
        outcome |= {
            "losses": [asdict(loss) for loss in result.losses],
            "failures": result.failures,
            "served": result.served_slots,
            "distances": result.consensus_distance,
            "traffic": asdict(result.traffic),
            "plan": result.plan.to_json() if result.plan else "",
        }
    if isinstance(result, SearchResult):
        outcome["values"] = {trial.num_active: trial.value for trial in result.trials}
        outcome["num_active"] = result.num_active
    return outcome


def remember(seen: Seen, records: list[RecordDict]) -> MetricRecord:
    """Note which node was given what in which round; return the mean of the first number."""
    first = []
    for record in records:
        (metrics,) = record.metric_records.values()
        z = [metrics[f"z{place:02}"] for place in range(PROBE)]
        seen.append({"node": metrics["node"], "round": metrics["round"], "z": z})
        first.append(z[0])
    return MetricRecord({"nodes": len(records), "first": float(np.mean(first))})
