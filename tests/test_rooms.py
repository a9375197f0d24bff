"""The arrows between the rooms, read from the source: who may import whom, and what nobody may."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from rooms import ROOT, imported_names, module_name, package_dirs, source_files

STRATEGIES = "flwr_gossip.strategies"
CLIENTS = "flwr_gossip.clients"
PEERS = "flwr_gossip.server_free.peers"
SIMULATION = "flwr_gossip.server_free.simulation"
CORE = "flwr_gossip.server_free"

# The first room that a module lies in decides what it must not import.
FORBIDDEN = {
    STRATEGIES: (CLIENTS, "torch"),
    CLIENTS: (STRATEGIES,),
    PEERS: (STRATEGIES, CLIENTS, SIMULATION, "flwr", "torch"),
    SIMULATION: (STRATEGIES, CLIENTS),
    CORE: (STRATEGIES, CLIENTS, PEERS, SIMULATION, "flwr", "grpc", "torch"),
    "flwr_gossip": ("flwr", "grpc", "torch"),
}
UNPICKLERS = ("pickle", "cloudpickle", "dill", "shelve", "marshal")
SEEDED = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "Philox", "PCG64"}
SEEDED |= {"Random"}
FILES = source_files()


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def crossings(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return the imports of ``module`` that its room forbids."""
    room = next(room for room in FORBIDDEN if within(module, room))
    names = imported_names(ast.parse(source), module, is_package)
    return [name for name in names if any(within(name, bad) for bad in FORBIDDEN[room])]


def absolute_imports(source: str) -> list[str]:
    """Return the imports of this package that are not relative."""
    tree = ast.parse(source)
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return [
        ast.unparse(node)
        for node in imports
        if not getattr(node, "level", 0)
        and any(within(name, "flwr_gossip") for name in imported_names(node, "", False))
    ]


def unsafe(source: str) -> list[str]:
    """Return the asserts, the imports of unpicklers and the draws from shared random state."""
    tree = ast.parse(source)
    found = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    found += [
        name
        for name in imported_names(tree, "", False)
        if any(within(name, unpickler) for unpickler in UNPICKLERS)
    ]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_random(node)]
    at_import = set(map(id, run_at_import(tree)))
    return found + [
        ast.unparse(call) for call in calls if id(call) in at_import or not is_seeded(call)
    ]


def is_random(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    libraries = ("random.", "np.random.", "numpy.random.", "torch.manual_seed", "torch.rand")
    # A call of a call's result, as in default_rng(0).normal(), draws from an own generator.
    return "(" not in name and (name.startswith(libraries) or name in SEEDED)


def is_seeded(call: ast.Call) -> bool:
    maker = ast.unparse(call.func).split(".")[-1]
    return maker in SEEDED and bool(call.args or call.keywords)


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that are evaluated when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [d for d in child.args.kw_defaults if d is not None]
            outside = [*child.decorator_list, *child.args.defaults, *defaults]
            yield from (inner for part in outside for inner in ast.walk(part))
        elif not isinstance(child, ast.Lambda):
            yield child
            yield from run_at_import(child)


@pytest.mark.parametrize("path", FILES)
def test_a_module_imports_only_what_its_room_may(path: str) -> None:
    source = (ROOT / path).read_text()
    assert crossings(source, module_name(path), path.endswith("__init__.py")) == []


@pytest.mark.parametrize("path", FILES)
def test_imports_inside_the_package_are_relative(path: str) -> None:
    assert absolute_imports((ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", FILES)
def test_no_assert_no_unpickling_no_shared_random_state(path: str) -> None:
    assert unsafe((ROOT / path).read_text()) == []


def test_the_scan_sees_every_package() -> None:
    packages = {module_name(path) for path in FILES if path.endswith("__init__.py")}
    assert packages == set(package_dirs())


@pytest.mark.parametrize(
    ("module", "line", "named"),
    [
        (
            f"{STRATEGIES}.gossip",
            "from ..clients.mod import gossip_mod",
            f"{CLIENTS}.mod.gossip_mod",
        ),
        (f"{STRATEGIES}.gossip", "from .. import clients", CLIENTS),
        (f"{CLIENTS}.mod", "from ..strategies import Gossip", f"{STRATEGIES}.Gossip"),
        (f"{CORE}.plans", "import flwr.common", "flwr.common"),
        (f"{CORE}.plans", "def f():\n    from grpc import aio", "grpc.aio"),
        (f"{CORE}.topologies.base", "from ..peers import links", f"{PEERS}.links"),
        (f"{PEERS}.links", "import torch.nn as nn", "torch.nn"),
        (f"{SIMULATION}.grid", "from ...clients import mod", f"{CLIENTS}.mod"),
        ("flwr_gossip", "import torch", "torch"),
    ],
)
def test_the_scan_finds_a_crossing(module: str, line: str, named: str) -> None:
    assert crossings(line, module) == [named]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (f"{CLIENTS}.mod", "from ..server_free.peers.links import connect"),
        (f"{CLIENTS}.helpers", "import torch"),
        (f"{PEERS}.links", "from ..plans import Plan"),
        (f"{CORE}.plans", "from .errors import PlanError"),
        (f"{STRATEGIES}.gossip", "from flwr.serverapp.strategy import Strategy"),
    ],
)
def test_the_scan_lets_the_arrows_pass(module: str, line: str) -> None:
    assert crossings(line, module) == []


@pytest.mark.parametrize(
    "line",
    [
        "assert x > 0",
        "import pickle",
        "from pickle import loads",
        "def f():\n    import cloudpickle",
        "np.random.seed(0)",
        "rng = np.random.default_rng(0)",
        "class A:\n    rng = random.Random(0)",
        "def f(rng=np.random.default_rng(0)):\n    return rng",
        "def f():\n    return random.random()",
        "def f():\n    return np.random.default_rng()",
    ],
)
def test_the_scan_finds_what_is_unsafe(line: str) -> None:
    assert len(unsafe(line)) == 1


def test_the_scan_lets_a_seeded_generator_in_a_function_pass() -> None:
    assert unsafe("def f(seed):\n    return np.random.default_rng(seed).normal()") == []


@pytest.mark.parametrize(
    "line", ["import flwr_gossip", "from flwr_gossip.server_free import plans"]
)
def test_the_scan_finds_an_absolute_import(line: str) -> None:
    assert absolute_imports(line) == [line]
