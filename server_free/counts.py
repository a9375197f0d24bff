"""Whole numbers that users give: how many nodes, rounds, samples, bytes."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from .errors import PlanError

__all__ = ["as_count", "check_count"]


def as_count(value: Any) -> int | None:
    """Return a whole number as an ``int``, and ``None`` for anything else.

    Whole is what Python takes for an index (``__index__``), numpy's integers too, but no bool.
    """
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return index(value)
    except TypeError:
        return None


def check_count(
    name: str, value: Any, least: int = 1, most: int | None = None, advice: str = ""
) -> int:
    """Return a whole number from ``least``, up to ``most`` if there is one, as an ``int``.

    Raises ``PlanError`` for anything else: it says what ``name`` is, what is allowed, and the
    advice.
    """
    count = as_count(value)
    if count is None or count < least or (most is not None and count > most):
        allowed = f"a whole number from {least}" if most is None else f"{least}..{most}"
        raise PlanError(f"{name} is {value!r}, allowed is {allowed}{advice}.")
    return count
