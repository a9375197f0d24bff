"""Decentralized simulation without Ray, sockets or a server.

``simulate`` needs torch (the extra ``[torch]``), which is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .availability import OnlineTrace, OnOff
    from .distributions import Choice, Exponential, LogNormal, Uniform
    from .history import SimulationResult
    from .in_process import InProcessGrid
    from .networks import Network, Stragglers
    from .node_data import NodeData
    from .plots import plot_histories, plot_overview
    from .records import read_jsonl
    from .searching import SearchOutcome, simulate_search
    from .steps import Step
    from .timeline import Timeline
    from .traces import read_availability, read_network
    from .usage import NodeUsage
    from .vectorized import simulate

__all__ = [
    "Choice",
    "Exponential",
    "InProcessGrid",
    "LogNormal",
    "Network",
    "NodeData",
    "NodeUsage",
    "OnOff",
    "OnlineTrace",
    "SearchOutcome",
    "SimulationResult",
    "Step",
    "Stragglers",
    "Timeline",
    "Uniform",
    "plot_histories",
    "plot_overview",
    "read_availability",
    "read_jsonl",
    "read_network",
    "simulate",
    "simulate_search",
]

_MODULES = {
    "Choice": "distributions",
    "Exponential": "distributions",
    "InProcessGrid": "in_process",
    "LogNormal": "distributions",
    "Network": "networks",
    "NodeData": "node_data",
    "NodeUsage": "usage",
    "OnOff": "availability",
    "OnlineTrace": "availability",
    "SearchOutcome": "searching",
    "SimulationResult": "history",
    "Step": "steps",
    "Stragglers": "networks",
    "Timeline": "timeline",
    "Uniform": "distributions",
    "plot_histories": "plots",
    "plot_overview": "plots",
    "read_availability": "traces",
    "read_jsonl": "records",
    "read_network": "traces",
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
