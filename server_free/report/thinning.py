"""Fewer points where more than a picture or a table can show; what is left out is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["evenly", "thinned_note"]

T = TypeVar("T")


def evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most ``most`` of the items, evenly spaced, the first and the last among them."""
    count = len(items)
    if count <= most:
        return list(items)
    return [items[round(place * (count - 1) / (most - 1))] for place in range(most)]


def thinned_note(shown: int, total: int, what: str) -> str:
    """Return "60 of 2,000 rounds, evenly spaced.", or nothing where all are shown."""
    return "" if shown >= total else f"{shown:,} of {total:,} {what}, evenly spaced."
