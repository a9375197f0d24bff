"""The ServerApp: one training after another, what their rounds cost written down."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .task import Play, measure

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train as the config says and write what it cost."""
    config = context.run_config
    plays = [Play.read(text) for text in str(config["plays"]).split(",")]
    measured = {str(play): asdict(measure(play, grid, int(config["sampled"]))) for play in plays}
    Path(str(config["result-file"])).write_text(json.dumps(measured))
