"""What the tests know of the rooms: which file is which module, and what it imports."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@cache
def package_dirs() -> dict[str, str]:
    """Return package name -> folder, as pyproject.toml maps them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return dict(project["tool"]["setuptools"]["package-dir"])


def rooms() -> set[str]:
    """Return the folders at the top that hold package code."""
    return {Path(folder).parts[0] for folder in package_dirs().values()}


def tracked_files() -> list[str]:
    """Return the paths that git tracks and that are there, relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [path for path in listing.stdout.split("\0") if path and (ROOT / path).is_file()]


def module_name(path: str) -> str:
    """Return the dotted name of the module in ``path``, relative to the root."""
    folders = {folder: package for package, folder in package_dirs().items()}
    here = Path(path)
    # A folder that nobody mapped still has a name: its parent's and its own.
    for base in here.parents:
        if str(base) in folders:
            inner = here.relative_to(base).with_suffix("")
            parts = [folders[str(base)], *inner.parts]
            return ".".join(parts).removesuffix(".__init__")
    raise ValueError(f"{path} lies in none of {sorted(folders)}")


def source_files() -> list[str]:
    """Return the package's hand-written modules in the working tree, relative to the root."""
    found = {
        str(path.relative_to(ROOT))
        for room in rooms()
        for path in (ROOT / room).rglob("*.py")
        if not path.stem.endswith(("_pb2", "_pb2_grpc"))
    }
    return sorted(found)


def imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Yield the absolute dotted name of everything that ``module`` imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])
