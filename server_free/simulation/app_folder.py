"""A Flower app folder, run in this process: its ServerApp over an :class:`InProcessGrid`."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict
from flwr.app.user_config import UserConfig
from flwr.clientapp import ClientApp
from flwr.common.config import flatten_dict, fuse_dicts, parse_config_args
from flwr.serverapp import ServerApp

from ..errors import PlanError
from .in_process import InProcessGrid

__all__ = ["FlowerApp", "load_flower_app", "run_flower_app"]


@dataclass(frozen=True, slots=True)
class FlowerApp:
    """Both sides of a Flower app and its run config, the user's overrides included."""

    server_app: ServerApp
    client_app: ClientApp
    run_config: UserConfig


def load_flower_app(folder: Path, overrides: Sequence[str] = ()) -> FlowerApp:
    """Import the app that ``folder/pyproject.toml`` names, as ``flwr run`` would.

    Parameters
    ----------
    folder : Path
        A Flower app: its ``pyproject.toml`` has ``[tool.flwr.app.components]``.
    overrides : sequence of str
        Run config in Flower's form: ``'key=1 name="text"'``, or the path of one TOML file.

    Raises
    ------
    PlanError
        Names the file or key that is missing or wrong, or the override that the app's config
        does not have.
    """
    table = _app_table(folder)
    components = table.get("components", {})
    config = _fused(table.get("config", {}), overrides)
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)  # for good: an app's functions may import when they run
    server_app = _loaded(components, "serverapp", ServerApp, folder)
    return FlowerApp(server_app, _loaded(components, "clientapp", ClientApp, folder), config)


def run_flower_app(
    app: FlowerApp, num_nodes: int, max_workers: int = 1, progress: bool | None = None
) -> Context:
    """Run the ServerApp over ``num_nodes`` virtual nodes in this process; return its context.

    ``max_workers`` and ``progress`` are those of :class:`InProcessGrid`.
    """
    context = Context(
        run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=dict(app.run_config)
    )
    with InProcessGrid(
        app.client_app,
        num_nodes,
        run_config=app.run_config,
        max_workers=max_workers,
        progress=progress,
    ) as grid:
        app.server_app(grid=grid, context=context)
    return context


def _app_table(folder: Path) -> Mapping[str, Any]:
    file = folder / "pyproject.toml"
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise PlanError(f"{file}: {error.strerror}; give the folder of a Flower app.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{file} is not TOML: {error}") from error
    table: Mapping[str, Any] = content.get("tool", {}).get("flwr", {}).get("app", {})
    if not table:
        raise PlanError(f"{file} has no [tool.flwr.app]; give the folder of a Flower app.")
    return table


def _loaded(components: Mapping[str, Any], name: str, kind: type[Any], folder: Path) -> Any:
    """Return the object that ``components`` names as ``module:attribute``."""
    reference = components.get(name)
    where = f"{name} in [tool.flwr.app.components] of {folder / 'pyproject.toml'}"
    if not isinstance(reference, str) or reference.count(":") != 1:
        raise PlanError(f"{where} is {reference!r}, allowed is 'module:attribute'.")
    module, attribute = reference.split(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PlanError(f"{where} is {reference!r}, which cannot be imported: {error}") from error
    if not isinstance(found, kind):
        raise PlanError(f"{where} is {type(found).__name__}, allowed is a {kind.__name__}.")
    return found


def _fused(config: dict[str, Any], overrides: Sequence[str]) -> UserConfig:
    given = flatten_dict(config)
    try:
        changed = parse_config_args(list(overrides))
    except Exception as error:  # click's own exception class, and OSError for a TOML file
        raise PlanError(f"--run-config {' '.join(overrides)!r}: {error}") from error
    if not changed and any(text.strip() for text in overrides):  # Flower skips what is no pair
        raise PlanError(f"--run-config {' '.join(overrides)!r} has no pair: write 'key=1'.")
    unknown = sorted(set(changed) - set(given))
    if unknown:
        raise PlanError(
            f"--run-config has {unknown[0]!r}, which is not in [tool.flwr.app.config]; allowed are "
            f"{', '.join(sorted(given)) or 'none'}."
        )
    return fuse_dicts(given, changed)
