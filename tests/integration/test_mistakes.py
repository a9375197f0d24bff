"""What ``flwr run`` shows last of a run that cannot begin: the one line with what to write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from local_flower import run_app, simulation_superlink
from rooms import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def test_the_mod_forgotten(tmp_path: Path) -> None:
    """Flower wraps the client's KeyError in the traces of two processes; none is in our line."""
    app = tmp_path / "app"
    shutil.copytree(ROOT / "examples" / "convert_existing" / "with_numpy", app)
    client = app / "digits_numpy" / "client_app.py"
    client.write_text(client.read_text().replace("mods=[gossip_mod]", ""))
    with simulation_superlink(2) as link:
        run = run_app(app, link, timeout_s=150, check=False)
    print(run.text)
    assert run.status == "finished:failed"
    errors = [line for line in run.text.splitlines() if line.startswith("flwr_gossip.")]
    assert len(errors) == 1
    assert "KeyError: 'arrays'. Its ClientApp must be made with app = ClientApp(mods=[" in errors[0]
    assert errors[0].endswith("gossip_mod first.")
