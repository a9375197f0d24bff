"""Which metrics a report shows, which of two values is better, and a metric's spread over nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["SHOWN", "Spread", "chosen", "is_loss", "numbers", "spread", "word"]

SHOWN = 4
"""Metrics that a report has pictures of; its table has all."""

_SUFFIXES = ("-weighted", "-min", "-max")
_NO_RESULTS = {"num-examples", "num_examples"}
_LOSSES = ("loss", "error", "perplexity", "mse", "mae", "rmse", "nll", "entropy")
_GAINS = ("acc", "f1", "auc", "precision", "recall", "score", "r2", "iou", "dice", "bleu")

Spread = tuple[float, float, float]
"""Mean, worst and best over the nodes."""


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are numbers; lists have no curve."""
    return {name: float(v) for name, v in metrics.items() if isinstance(v, int | float)}


def base(name: str) -> str:
    """Return the metric that a name speaks of: ``accuracy`` for ``accuracy-min``."""
    return next((name[: -len(s)] for s in _SUFFIXES if name.endswith(s)), name)


def is_loss(name: str) -> bool:
    """Whether less of it is better: so for names such as loss and error; more is for others."""
    return any(part in name.lower() for part in _LOSSES) and not _is_gain(name)


def _is_gain(name: str) -> bool:
    return any(part in name.lower() for part in _GAINS)


def chosen(names: Iterable[str]) -> list[str]:
    """Return the metrics behind the names: gains such as accuracy, then losses, then others."""
    bases = [name for name in dict.fromkeys(map(base, names)) if name not in _NO_RESULTS]
    return sorted(bases, key=lambda name: 0 if _is_gain(name) else 1 if is_loss(name) else 2)


def word(name: str) -> str:
    """Return the name as a word in a sentence."""
    return name.replace("_", " ").strip() or name


def spread(
    metrics: Mapping[str, float], nodes: Mapping[int, Mapping[str, float]], name: str
) -> Spread:
    """Return the mean of a metric, its worst and its best node; NaN for what is not known.

    The mean gives every node the same weight; where only the mean by examples is known, it is that.
    """
    least, most = f"{name}-min", f"{name}-max"
    if name in metrics and least in metrics and most in metrics:
        mean, low, high = metrics[name], metrics[least], metrics[most]
    else:
        known = [own[name] for own in nodes.values() if math.isfinite(own.get(name, math.nan))]
        inner = sum(known) / len(known) if known else metrics.get(f"{name}-weighted", math.nan)
        mean = metrics.get(name, inner)
        low = metrics.get(least, min(known, default=math.nan))
        high = metrics.get(most, max(known, default=math.nan))
    return (mean, high, low) if is_loss(name) else (mean, low, high)
