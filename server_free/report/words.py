"""Numbers as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = [
    "count",
    "duration",
    "listed",
    "number",
    "safe",
    "size",
    "size_unit",
    "slug",
    "time_unit",
]

_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_TIMES = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits, "-" where it is not known."""
    if not math.isfinite(value):
        return "-"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        short = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{short}e{int(power)}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: float) -> str:
    """Return a whole number with thousands apart, "-" where it is not known."""
    return f"{round(value):,}" if math.isfinite(value) else "-"


def size(value: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    if not math.isfinite(value):
        return "-"
    scale, unit = size_unit(value)
    return f"{number(value / scale, 3)} {unit}"


def size_unit(largest: float) -> tuple[float, str]:
    """Return how many bytes the unit has that suits numbers up to ``largest``, and its name."""
    return next((unit for unit in _SIZES if largest >= unit[0]), _SIZES[-1])


def time_unit(largest: float) -> tuple[float, str]:
    """Return how many seconds the unit has that suits times up to ``largest``, and its name."""
    return next((unit for unit in _TIMES if largest >= 2 * unit[0]), _TIMES[-1])


def duration(seconds: float) -> str:
    """Return a time as "12.3 s", "3 min 20 s" or "2 h 5 min"."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 100:
        return f"{number(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return "a, b and c", or "a, b and 7 others"."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most:,} others")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def safe(text: str) -> str:
    """Return a text as HTML, quotes and all; control characters and half characters are marked."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def slug(text: str) -> str:
    """Return a name for files and anchors: small letters, digits and hyphens."""
    kept = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
    return "-".join(kept.split())[:60] or "x"
