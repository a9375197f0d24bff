"""``flwr-gossip simulate``: a Flower app folder on thousands of virtual nodes, in this process."""

from __future__ import annotations

import logging
import time
from pathlib import Path

__all__ = ["simulate_app"]


def simulate_app(
    folder: Path, num_nodes: int, run_config: list[str], max_workers: int, quiet: bool
) -> None:
    """Load the app, run it and print how long that took.

    Raises ``PlanError`` for what the user can put right; what the app raises goes through.
    """
    from ..server_free.simulation.app_folder import load_flower_app, run_flower_app

    if quiet:
        logging.getLogger("flwr").setLevel(logging.WARNING)
    began = time.monotonic()
    app = load_flower_app(folder, run_config)
    run_flower_app(app, num_nodes, max_workers, progress=False if quiet else None)
    print(f"{num_nodes} nodes in this process, {time.monotonic() - began:.1f} s")
