"""Decentralized simulation without Ray, sockets or a server."""

from __future__ import annotations

from .in_process import InProcessGrid

__all__ = ["InProcessGrid"]
