"""The ServerApp side: serverless strategies for Flower."""

from __future__ import annotations

from .gossip import Gossip
from .results import GossipResult, SearchResult, Trial
from .search import TeleportationSearch
from .settings import Settings
from .teleportation import Teleportation

__all__ = [
    "Gossip",
    "GossipResult",
    "SearchResult",
    "Settings",
    "Teleportation",
    "TeleportationSearch",
    "Trial",
]
