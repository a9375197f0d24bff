"""Decentralized training for Flower: weights go from client to client, not through a server.

Two lines of a Flower project change, one in each app::

    strategy = Teleportation(num_active=8, topology="one-peer-exponential")   # server_app.py
    app = ClientApp(mods=[gossip_mod])                                        # client_app.py

Names are imported when they are first used, so ``import flwr_gossip`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .clients import gossip_mod
    from .strategies import Gossip, Teleportation

    __version__: str

__all__ = ["Gossip", "Teleportation", "__version__", "gossip_mod"]

_ROOMS = {"Gossip": ".strategies", "Teleportation": ".strategies", "gossip_mod": ".clients"}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("flwr-gossip")
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
