"""Decentralized simulation without Ray, sockets or a server.

``simulate`` needs torch (the extra ``[torch]``), which is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .history import SimulationResult
    from .in_process import InProcessGrid
    from .node_data import NodeData
    from .searching import SearchOutcome, simulate_search
    from .vectorized import simulate

__all__ = [
    "InProcessGrid",
    "NodeData",
    "SearchOutcome",
    "SimulationResult",
    "simulate",
    "simulate_search",
]

_MODULES = {
    "InProcessGrid": "in_process",
    "NodeData": "node_data",
    "SearchOutcome": "searching",
    "SimulationResult": "history",
    "simulate": "vectorized",
    "simulate_search": "searching",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"{name} needs torch: pip install 'flwr-gossip[torch]'") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
