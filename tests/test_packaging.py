"""What a user gets from ``pip install``: every module, typed, and an import that costs nothing."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import flwr_gossip
from rooms import ROOT, module_name, package_dirs, rooms, tracked_files

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
INITS = sorted(f"{folder}/__init__.py" for folder in package_dirs().values())

needs_git = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None,
    reason="compares with git ls-files, and this is no git checkout",
)


def shipped(path: str) -> bool:
    """Return whether the file in ``path`` belongs into the wheel."""
    return Path(path).parts[0] in rooms() and path.endswith((".py", ".pyi", "py.typed"))


def place(path: str) -> str:
    """Return where in the wheel the file in ``path`` belongs."""
    package = module_name(str(Path(path).parent / "__init__.py"))
    return f"{package.replace('.', '/')}/{Path(path).name}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of what git tracks, so that nothing is left from older builds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked_files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=source, check=True, timeout=100)
    return zipfile.ZipFile(next(target.glob("*.whl")))


@needs_git
def test_the_wheel_has_every_module_that_git_tracks(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == {place(path) for path in tracked_files() if shipped(path)}


@needs_git
def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    info = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(info["METADATA"]).decode()
    assert "\nName: flwr-gossip\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert (
        "flwr-gossip = flwr_gossip.clients.cli:app" in wheel.read(info["entry_points.txt"]).decode()
    )
    assert "LICENSE" in info


@needs_git
def test_the_wheel_runs_the_quickstart_where_there_is_no_repository(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """In an environment that has the wheel and, of this one, only the installed packages."""
    python, app = installed(Path(str(wheel.filename)), tmp_path / "venv"), tmp_path / "my-app"
    shutil.copytree(ROOT / "examples" / "quickstart", app)
    config = "num-nodes=4 num-active=2 local-updates=8 evaluations=1"
    run = subprocess.run(
        [python.with_name("flwr-gossip"), "simulate", app, "--nodes", "4", "--run-config", config],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        env={"PATH": str(python.parent), "HOME": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr
    assert "4 nodes in this process" in run.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "model.safetensors").is_file()
    code = "from flwr_gossip import strategies; print(strategies.__file__)"
    found = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(tmp_path), found.stderr


def installed(wheel: Path, folder: Path) -> Path:
    """Return the Python of a fresh environment with the wheel, which sees the packages of this.

    A path in a .pth file brings no .pth files with it: the repository itself is not seen.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", "--no-deps"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True, timeout=60)
    (site,) = folder.glob("lib/python*/site-packages")
    roots = {str(Path(path)) for path in sys.path if path.endswith("site-packages")}
    (site / "packages.pth").write_text("\n".join(sorted(roots)) + "\n")
    return python


def test_packages_and_their_folders_are_both_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(package_dirs())


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"flwr", "grpc", "networkx", "numpy", "ray", "scipy", "torch"}
    code = f"import sys, flwr_gossip; print(*sorted({heavy!r} & sys.modules.keys()))"
    assert run_python(code) == ""


HEAVY = {"matplotlib", "networkx", "pandas", "ray", "scipy", "tensorboardX", "torch"}


@pytest.mark.parametrize(
    "ours",
    [
        "from flwr_gossip.strategies import Gossip, Teleportation, TeleportationSearch",
        "from flwr_gossip.clients import gossip_mod",
        "from flwr_gossip.server_free import topologies",
        "from flwr_gossip.server_free.simulation import InProcessGrid",
        "import flwr_gossip.clients.cli",
    ],
)
def test_importing_what_users_import_imports_nothing_heavy_beyond_flower(ours: str) -> None:
    code = (
        "import sys, flwr.app, flwr.clientapp, flwr.serverapp; flower = set(sys.modules);"
        f"{ours}; print(*sorted({HEAVY!r} & (sys.modules.keys() - flower)))"
    )
    assert run_python(code) == ""


def test_flower_itself_imports_nothing_heavy() -> None:
    """Else the test above could not fail."""
    code = "import sys, flwr.app, flwr.clientapp, flwr.serverapp; print(*sys.modules)"
    assert not HEAVY & set(run_python(code).split())


def run_python(code: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return process.stdout.strip()


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert flwr_gossip.__all__ == sorted(flwr_gossip.__all__)
    assert {name: hasattr(flwr_gossip, name) for name in flwr_gossip.__all__} == dict.fromkeys(
        flwr_gossip.__all__, True
    )
    assert set(flwr_gossip.__all__) <= set(dir(flwr_gossip))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Gosip'"):
        flwr_gossip.Gosip  # noqa: B018


def test_the_version_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert flwr_gossip.__version__ == project["version"]


@pytest.mark.parametrize("path", INITS)
def test_all_names_what_a_package_binds(path: str) -> None:
    package = importlib.import_module(module_name(path))
    public = bound_names(ast.parse((ROOT / path).read_text()))
    assert sorted(public - set(getattr(package, "__all__", ()))) == []
    assert [name for name in getattr(package, "__all__", ()) if not hasattr(package, name)] == []


def bound_names(tree: ast.Module) -> set[str]:
    """Return the public names that a package's ``__init__`` defines or takes from its modules."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            names |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}
