"""Every code block of the docs and of the examples' READMEs runs, or says why it does not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from apps import initial
from code_blocks import Block, blocks_of
from flwr_gossip.clients import gossip_mod
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies import Gossip, Teleportation
from rooms import ROOT
from simulated_apps import run_app_in_process, run_command

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *sorted((ROOT / "examples").glob("*/README.md")), ROOT / "CONTRIBUTING.md"]

ELSEWHERE = {
    "docs/security.md": "tests/test_security_docs.py",
    "docs/report.md": "tests/server_free/report/test_files.py",
}
"""Pages whose blocks have tests of their own."""

SHOWN = {"text", "diff", "toml"}
"""What a program prints, changes of files, and settings."""

SCRIPTS = {
    "python examples/edge_simulation/edge.py": "tests/examples/test_edge_simulation.py",
    "python examples/topologies/six.py": "tests/examples/test_six_topologies.py",
}
"""Scripts that their own tests run at a small size."""

SMALL = {
    "fedavg": "num-server-rounds=2",
    "decentralized": "num-server-rounds=2",
    "with_sklearn": "num-server-rounds=2",
    "with_numpy": "num-server-rounds=2",
}
"""Run config with which the apps of the commands are run here."""

BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def unmarked(language: str) -> list[Block]:
    """Return the blocks of a language that are to be run here."""
    return [
        block
        for block in BLOCKS
        if block.language == language and not block.why_not and name_of(block.path) not in ELSEWHERE
    ]


def test_every_block_is_of_a_kind_that_is_run_or_shown() -> None:
    kinds = {"python", "sh", *SHOWN}
    others = [
        (name_of(block.path), block.line, block.language)
        for block in BLOCKS
        if block.language not in kinds and name_of(block.path) not in ELSEWHERE
    ]
    assert others == []


@pytest.mark.parametrize("page, test", ELSEWHERE.items())
def test_pages_tested_elsewhere_are_named_there(page: str, test: str) -> None:
    parts = Path(page).parts
    words = (parts[-2], parts[-1]) if parts[-1] == "README.md" else parts[-1:]
    text = (ROOT / test).read_text()
    assert any(word in text for word in words)


def idle_app() -> ClientApp:
    """Return an app whose nodes send their model back."""
    app = ClientApp(mods=[gossip_mod])
    metrics = MetricRecord({"loss": 1.0, "num-examples": 1})

    @app.train()
    def train(msg: Message, _: Context) -> Message:
        content = RecordDict({"arrays": msg.content["arrays"], "metrics": metrics})
        return Message(content, reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, _: Context) -> Message:
        return Message(RecordDict({"metrics": metrics}), reply_to=msg)

    return app


@pytest.fixture
def given() -> Iterator[dict[str, Any]]:
    """What the blocks of the docs take as given."""
    with InProcessGrid(idle_app(), num_nodes=4) as grid:
        yield {
            "grid": grid,
            "initial_arrays": initial(),
            "Gossip": Gossip,
            "Teleportation": Teleportation,
        }


@pytest.mark.parametrize("page", sorted({name_of(block.path) for block in unmarked("python")}))
def test_the_python_of_a_page_runs(
    page: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in unmarked("python"):
        if name_of(block.path) == page:
            code = "\n" * block.line + block.code
            exec(compile(code, str(block.path), "exec"), given)
    assert not getattr(given.get("result"), "failures", None)


COMMANDS = sorted({command for block in unmarked("sh") for command in block.commands})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command in SCRIPTS:
        assert Path(command.split()[1]).parent.name in (ROOT / SCRIPTS[command]).read_text()
        return
    program, *arguments = shlex.split(command)
    monkeypatch.chdir(tmp_path)
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    assert program == "flwr-gossip", f"{command}: run it here, or say why not"
    if arguments[0] == "simulate":
        folder = ROOT / arguments[1]
        run_app_in_process(folder, int(arguments[3]), SMALL[folder.name])
    else:
        run_command(arguments)


def test_every_page_is_in_the_navigation() -> None:
    shown = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(shown) == [page.name for page in DOCS]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:examples|benchmarks|tests|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def public_names() -> list[str]:
    """Return the names that users import, with the module from which they do."""
    modules = ["strategies", "clients", "server_free.topologies", "server_free.schedules"]
    modules += ["server_free.theory", "server_free.simulation", "server_free.errors"]
    full = [import_module(f"flwr_gossip.{module}") for module in modules]
    return [f"{module.__name__}.{name}" for module in full for name in module.__all__]


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    build = pytest.importorskip("mkdocs.commands.build")
    config = pytest.importorskip("mkdocs.config")
    pytest.importorskip("mkdocstrings_handlers.python")
    package = tmp_path / "sources" / "flwr_gossip"
    package.mkdir(parents=True)
    for source in ("clients", "server_free", "strategies", "src/flwr_gossip/__init__.py"):
        (package / Path(source).name).symlink_to(ROOT / source)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    handler = settings["plugins"][1]["mkdocstrings"]["handlers"]["python"]
    handler["paths"] = [str(package.parent)]
    site = tmp_path / "site"
    build.build(
        config.load_config(
            str(ROOT / "mkdocs.yml"), plugins=settings["plugins"], site_dir=str(site)
        )
    )
    reference = (site / "reference.html").read_text()
    assert "fraction_evaluate" in reference
    assert ":class:" not in reference
    missing = [name for name in public_names() if f'id="{name}"' not in reference]
    assert missing == []
    for page in DOCS:
        html = (site / f"{page.stem}.html").read_text()
        assert "fonts.googleapis" not in html
