"""What a pure function has worked out of late, bounded by how much it is."""

from __future__ import annotations

from collections.abc import Hashable, Sized
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["MOST_TERMS", "Recent"]

MOST_TERMS = 1 << 16
"""How many elements all the results that are kept may have together: some 10 MB of them."""

V = TypeVar("V", bound=Sized)


@dataclass(slots=True)
class Recent(Generic[V]):
    """Results by what they depend on; all are forgotten when one more would be too much."""

    values: dict[Hashable, V] = field(default_factory=dict)
    terms: int = 0

    def get(self, key: Hashable) -> V | None:
        """Return the result that was kept, None if there is none."""
        return self.values.get(key)

    def keep(self, key: Hashable, value: V) -> V:
        """Keep a result of ``len(value)`` elements and return it."""
        self.terms += 1 + len(value)
        if self.terms > MOST_TERMS:
            self.values.clear()
            self.terms = 1 + len(value)
        self.values[key] = value
        return value
