"""Where in its ClientApp a running mod stands.

Flower tells a mod neither its place in ``mods`` nor whether the app is of the legacy
``client_fn`` kind; the call stack does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from flwr.client.mod import utils as flower_mods
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

__all__ = ["Placement", "find_placement"]

_MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Placement:
    """How many mods were called before the present one, and the app's kind."""

    num_mods_before: int
    legacy: bool
    app: ClientApp | None = None

    def in_mods_of_app(self, mod: Mod) -> bool:
        """Return whether ``mod`` is one of ``ClientApp(mods=...)``, not of one function only."""
        return self.app is None or mod in getattr(self.app, "_mods", [mod])


def find_placement() -> Placement:
    """Return the placement of the mod on whose behalf this is called.

    Counts Flower's mod wrappers between the nearest ``ClientApp.__call__`` on the stack
    and here. A mod called outside any app (in a test, say) counts as first in a modern app.
    """
    wrappers = 0
    frame = sys._getframe(1)
    for _ in range(_MAX_DEPTH):
        if frame.f_code is ClientApp.__call__.__code__:
            app = frame.f_locals.get("self")
            legacy = getattr(app, "_call", None) is not None
            return Placement(max(0, wrappers - 1), legacy, app)
        if frame.f_code.co_filename == flower_mods.__file__:
            wrappers += 1
        if frame.f_back is None:
            break
        frame = frame.f_back
    return Placement(num_mods_before=0, legacy=False)
