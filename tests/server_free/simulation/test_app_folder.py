"""A Flower app folder in this process: both apps, its config, and what is wrong with a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.simulation.app_folder import load_flower_app, run_flower_app

CLIENT = """
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr_gossip.clients import gossip_mod
from .task import step

app = ClientApp(mods=[gossip_mod])

@app.train()
def train(msg, context):
    node = context.node_config["partition-id"]
    w = step(msg.content["arrays"]["w"].numpy(), node, context.run_config["rate"])
    content = {"arrays": ArrayRecord({"w": Array(w)}), "metrics": MetricRecord({"loss": 1.0})}
    return Message(RecordDict(content), reply_to=msg)
"""
SERVER = """
import json
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr_gossip.strategies import Gossip

app = ServerApp()

@app.main()
def main(grid, context):
    from .task import NAME  # at run time: the folder is still importable
    arrays = ArrayRecord({"w": Array(np.zeros(3))})
    result = Gossip("complete", fraction_evaluate=0.0).start(grid, arrays, num_rounds=2)
    told = {"name": NAME, "w": result.arrays["w"].numpy().tolist(), **context.run_config}
    Path(context.run_config["file"]).write_text(json.dumps(told))
"""
TASK = """
NAME = "tiny"

def step(w, node, rate):
    return w - rate * (w - node)
"""
CONFIG = """
[tool.flwr.app.components]
serverapp = "{name}.server_app:app"
clientapp = "{name}.client_app:app"

[tool.flwr.app.config]
rate = 0.5
file = ""
deep.er = 1
"""
_numbers = count()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of an app whose package has a name that no other test uses."""
    name = f"tiny_app_{next(_numbers)}"
    package = tmp_path / name
    package.mkdir()
    files = {"__init__": "", "client_app": CLIENT, "server_app": SERVER, "task": TASK}
    for module, source in files.items():
        (package / f"{module}.py").write_text(source)
    (tmp_path / "pyproject.toml").write_text(CONFIG.format(name=name))
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before


def test_an_unchanged_app_runs_with_the_config_given(folder: Path) -> None:
    file = folder / "out.json"
    app = load_flower_app(folder, [f'rate=0.25 file="{file}"', "deep.er=2"])
    run_flower_app(app, num_nodes=5)
    w = 0.0
    for _ in range(2):
        w -= 0.25 * (w - 2.0)  # complete graph: the mean of 5 nodes pulls to their mean, 2
    told = json.loads(file.read_text())
    assert told["w"] == pytest.approx([w] * 3)
    assert (told["name"], told["rate"], told["deep.er"]) == ("tiny", 0.25, 2)


def test_overrides_can_come_from_a_file(folder: Path) -> None:
    overrides = folder / "config.toml"
    overrides.write_text("rate = 0.125\n")
    assert load_flower_app(folder, [str(overrides)]).run_config["rate"] == 0.125


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["rates=0.1"], r"has 'rates', which is not in .*allowed are deep\.er, file, rate"),
        (["rate=wide"], "--run-config 'rate=wide'"),
        (["missing.toml"], r"--run-config 'missing\.toml'"),
    ],
)
def test_config_that_does_not_fit(folder: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        load_flower_app(folder, overrides)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory; give the folder of a Flower app"),
        ("[tool", "is not TOML"),
        ("[project]\nname = 'x'", r"has no \[tool\.flwr\.app\]"),
        ("[tool.flwr.app.components]\nserverapp = 'x'", "serverapp in .* is 'x', allowed is"),
        ("[tool.flwr.app.components]\nclientapp = 'a:b'", "serverapp in .* is None"),
        (
            "[tool.flwr.app.components]\nserverapp = 'no_such_module:app'",
            "cannot be imported: No module named 'no_such_module'",
        ),
        (
            "[tool.flwr.app.components]\nserverapp = 'json:nothing'",
            "cannot be imported: module 'json' has no attribute 'nothing'",
        ),
        (
            "[tool.flwr.app.components]\nserverapp = 'json:loads'",
            "is function, allowed is a ServerApp",
        ),
    ],
)
def test_folders_that_are_no_app(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "pyproject.toml").write_text(content)
    before = list(sys.path)
    try:
        with pytest.raises(PlanError, match=says):
            load_flower_app(tmp_path)
    finally:
        sys.path[:] = before
