"""The ServerApp: FedAvg on each case, what its rounds cost written down."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .task import CASES, fedavg, play

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train each case and write its rounds."""
    config = context.run_config
    num_nodes = len(list(grid.get_node_ids()))
    rounds = {
        name: play(fedavg(num_nodes, int(config["sampled"])), grid, name, int(config["rounds"]))
        for name in str(config["cases"]).split(",")
        if name in CASES
    }
    content = {name: [asdict(one) for one in found] for name, found in rounds.items()}
    Path(str(config["result-file"])).write_text(json.dumps(content))
