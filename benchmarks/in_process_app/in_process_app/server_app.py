"""The ServerApp: FedAvg on each case, what its rounds cost written down."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .task import fedavg, play

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train each case and write its costs."""
    config = context.run_config
    num_nodes = len(list(grid.get_node_ids()))
    sampled, rounds = int(config["sampled"]), int(config["rounds"])
    measured = {
        case: asdict(play(fedavg(num_nodes, sampled), grid, case, rounds))
        for case in str(config["cases"]).split(",")
    }
    Path(str(config["result-file"])).write_text(json.dumps(measured))
