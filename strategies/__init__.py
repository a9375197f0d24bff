"""The ServerApp side: serverless strategies for Flower."""

from __future__ import annotations

from .gossip import Gossip
from .results import GossipResult
from .settings import Settings
from .teleportation import Teleportation

__all__ = ["Gossip", "GossipResult", "Settings", "Teleportation"]
