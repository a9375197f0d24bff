"""The ClientApp side: ``gossip_mod`` and the launcher of peers and SuperNodes."""

from __future__ import annotations

from .mod import gossip_mod

__all__ = ["gossip_mod"]
