"""Was it better than FedAvg, and which of several runs is best: in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .budgets import Standing, standings
from .metric_names import is_loss, word
from .reading import Reading
from .words import number, size

__all__ = ["better_answer"]


def better_answer(readings: Sequence[Reading], metric: str | None) -> list[str]:
    """Return how the runs compare, above all with FedAvg, under the same budgets."""
    fedavg = [place for place, reading in enumerate(readings) if reading.is_fedavg]
    found = standings(readings, metric) if metric else []
    sentences = [text for standing in found if (text := _standing(readings, standing, fedavg))]
    if not fedavg:
        sentences.insert(0, _no_fedavg(readings))
    elif len(readings) == 1:
        sentences.append("This is FedAvg; name another run beside it.")
    elif not sentences:
        sentences.append("Not known: the runs have no metric in common.")
    return sentences


def _no_fedavg(readings: Sequence[Reading]) -> str:
    text = "Not known: no FedAvg run was given."
    first = readings[0]
    size_of = first.config.model_bytes
    if len(readings) == 1 and size_of and math.isfinite(first.updates):
        through = size(2 * size_of * first.updates)
        text += (
            f" FedAvg with as many local updates would have sent {through} through its server "
            "(the model down and up for each)."
        )
    return text


def _standing(readings: Sequence[Reading], standing: Standing, fedavg: list[int]) -> str:
    best = standing.best
    if best is None:
        return ""
    name = word(standing.metric)
    kind = f" {standing.means}" if standing.means else ""
    of = " of the mean model" if standing.served else ""
    pairs = sorted(
        ((r.label, v) for r, v in zip(readings, standing.values, strict=True) if math.isfinite(v)),
        key=lambda pair: pair[1] if is_loss(standing.metric) else -pair[1],
    )
    values = "; ".join(f"{label}: {number(value)}" for label, value in pairs)
    text = f"Within the same {standing.amount}, mean {name}{kind}{of}. {values}."
    rivals = [p for p in fedavg if math.isfinite(standing.values[p])]
    others = [
        p for p in range(len(readings)) if p not in fedavg and math.isfinite(standing.values[p])
    ]
    if rivals and others:
        pick = min if is_loss(standing.metric) else max
        mine = pick(others, key=lambda p: standing.values[p])
        theirs = pick(rivals, key=lambda p: standing.values[p])
        return f"{text} {_verdict(readings, standing, mine, theirs)}"
    return f"{text} {readings[best].label} is best."


def _verdict(readings: Sequence[Reading], standing: Standing, mine: int, theirs: int) -> str:
    if standing.alike(mine, theirs):
        return f"{readings[mine].label} and FedAvg are alike."
    gap = standing.values[mine] - standing.values[theirs]
    won = gap < 0 if is_loss(standing.metric) else gap > 0
    than = "better than" if won else "worse than"
    return f"{readings[mine].label} is {than} FedAvg by {number(abs(gap), 2)}."
