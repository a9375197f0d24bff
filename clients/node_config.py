"""Add a field to the ``--node-config`` in a list of flower-supernode options."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

__all__ = ["add_to_node_config"]

OPTION = "--node-config"
# As Flower reads it: key=value pairs, values with spaces in quotes.
PAIR = re.compile(r"(\S+?)=(\'[^\']*\'|\"[^\"]*\"|\S+)")


def add_to_node_config(options: Sequence[str], field: str, value: str, folder: str) -> list[str]:
    """Return ``options`` with ``field="value"`` in the node-config, which may be a TOML file.

    Parameters
    ----------
    options : Sequence[str]
        Options of flower-supernode.
    field, value : str
        What to add.
    folder : str
        Where a merged TOML file may be written.

    Raises
    ------
    ValueError
        If the user gave the field too, or the value cannot be written.
    OSError
        If the TOML file cannot be read.
    """
    if re.search(r'["\\\x00-\x1f]', value):
        raise ValueError(f"{field} is {value!r}: quotes and backslashes are not possible there")
    addition = f'{field}="{value}"'
    kept, config = _take(options)
    if config is None:
        return [*kept, OPTION, addition]
    if config.endswith(".toml"):
        return [*kept, OPTION, _merge_file(config, field, addition, folder)]
    if any(key == field for key, _ in PAIR.findall(config)):
        raise _given_twice(field)
    return [*kept, OPTION, f"{config} {addition}".strip()]


def _take(options: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the options without the node-config, and the last node-config given."""
    kept: list[str] = []
    config = None
    rest = iter(options)
    for option in rest:
        name, equals, value = option.partition("=")
        if name == OPTION and equals:
            config = value
        elif name == OPTION:
            config = next(rest, "")
        else:
            kept.append(option)
    return kept, config


def _merge_file(path: str, field: str, addition: str, folder: str) -> str:
    """Write a copy of the TOML file with ``addition`` on top and return its path."""
    text = Path(path).expanduser().read_text()
    if field in tomllib.loads(text):
        raise _given_twice(field)
    merged = os.path.join(folder, "node-config.toml")
    Path(merged).write_text(f"{addition}\n{text}")
    return merged


def _given_twice(field: str) -> ValueError:
    return ValueError(
        f"the node-config has {field} already; flwr-gossip supernode starts a peer of its own. "
        f"Remove {field}, or start flower-supernode itself beside a flwr-gossip peer"
    )
