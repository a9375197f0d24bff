"""What holds for all tests: runs leave their folders in a place that is thrown away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no fault
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _runs_thrown_away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the folders of runs out of the working tree, those of processes of tests too."""
    folder = tmp_path_factory.mktemp("runs")
    before = os.environ.get("FLWR_GOSSIP_RUNS")
    os.environ["FLWR_GOSSIP_RUNS"] = str(folder)
    yield folder
    if before is None:
        del os.environ["FLWR_GOSSIP_RUNS"]
    else:
        os.environ["FLWR_GOSSIP_RUNS"] = before
