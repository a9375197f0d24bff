"""The ClientApp side: ``gossip_mod`` and the launcher of peers and SuperNodes.

``gossip_mod`` is imported when it is first used, so that the command line does not import Flower.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .mod import gossip_mod

__all__ = ["gossip_mod"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".mod", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
