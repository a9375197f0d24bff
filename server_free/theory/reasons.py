"""The advice in words: why the best candidate is the best, and what the numbers do not say."""

from __future__ import annotations

from collections.abc import Sequence

from .options import Excluded
from .predictions import Candidate

__all__ = ["notes_of", "why"]

_QUADRATICS = (
    "Rounds are those of quadratics: they rank the candidates and do not foretell the rounds of "
    "your model."
)
_CLOCK = (
    "With data that are alike Gossip can be faster by the clock: a node goes on from its own "
    "model, while in Teleportation models travel to other nodes each round."
)
_NO_LIMIT = (
    "No limit was given, so traffic counts only between the equally fast; limit the degree or "
    "the bytes that a node may receive a round."
)


def why(ranked: Sequence[Candidate], heterogeneity: float) -> str:
    """Return one or two sentences on the first candidate."""
    best = ranked[0]
    fewest = min(one.rounds for one in ranked if one.rounds is not None)
    place = "the fewest" if best.rounds == fewest else f"within 5 % of the fewest, {fewest}"
    first = f"{best.code} needs about {_rounds(best)}, {place}"
    rival = next((one for one in ranked if one.strategy != best.strategy), None)
    if rival is not None and rival.rounds is not None:
        first += f"; the best {rival.strategy}, {_over(rival)}, about {rival.rounds:,}"
    return f"{first}. {_reason(best, heterogeneity)}"


def notes_of(
    ranked: Sequence[Candidate],
    excluded: Sequence[Excluded],
    heterogeneity: float,
    is_limited: bool,
) -> list[str]:
    """Return what was assumed or left out, and what the numbers do not say."""
    best = ranked[0]
    notes = [_QUADRATICS]
    if heterogeneity == 0.0 or best.strategy == "Teleportation":
        notes.append(_CLOCK)
    if not is_limited:
        notes.append(_NO_LIMIT)
    least = min(ranked, key=lambda one: float("inf") if one.rounds is None else _total(one))
    if _total(least) < _total(best):
        notes.append(
            f"Least traffic in all: {least.code}, {_total(least):,.0f} models in about "
            f"{_rounds(least)}; the first of the list has {_total(best):,.0f}."
        )
    left_out = sorted({one.spec for one in excluded if one.is_skipped})
    if left_out:
        notes.append(
            f"Left out, since they take long for so many nodes: {', '.join(left_out)}; name them "
            "as candidates to have them."
        )
    return notes


def _reason(best: Candidate, heterogeneity: float) -> str:
    neighbors = (
        f"It has {best.effective_neighbors:.3g} effective neighbours, which allow "
        f"{best.learning_rate_multiplier:.3g} times the learning rate of training alone"
    )
    if best.strategy == "Gossip" and best.num_active == 1:
        return "One node has nobody to exchange models with."
    if heterogeneity == 0.0 and best.strategy == "Gossip":
        return f"{neighbors}."
    if heterogeneity == 0.0:
        return f"{neighbors}; more active nodes hardly add to them."
    if best.strategy == "Gossip":
        return (
            "Its averaging is fast enough that differences between the nodes' data do not add up."
        )
    return (
        "The nodes' data differ: in Gossip the difference of a node stays with its model, in "
        "Teleportation a model meets another node each round, and differences average out."
    )


def _rounds(one: Candidate) -> str:
    return f"{one.rounds:,} round{'s' * (one.rounds != 1)}"


def _over(one: Candidate) -> str:
    active = f" with {one.num_active} active" if one.strategy == "Teleportation" else ""
    return f"over {one.spec}{active}"


def _total(one: Candidate) -> float:
    return float("inf") if one.total_models is None else one.total_models
