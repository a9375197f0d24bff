"""The advice in words: why the best candidate is the best, and what the numbers do not say."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from .options import Excluded
from .predictions import Candidate

__all__ = ["notes_of", "why", "without_limit"]

_QUADRATICS = (
    "Rounds are those of quadratics: they rank the candidates and do not foretell the rounds of "
    "your model."
)
_CLOCK = (
    "With data that are alike Gossip can be faster by the clock: a node goes on from its own "
    "model, while in Teleportation models travel to other nodes each round."
)


def why(ranked: Sequence[Candidate], heterogeneity: float, usual_degree: int) -> str:
    """Return one or two sentences on the first candidate."""
    best, most = ranked[0], max(ranked[0].degree, usual_degree)
    fewest = min(one.rounds for one in ranked if one.rounds is not None and one.degree <= most)
    above = (best.rounds or 0) / fewest - 1
    place = (
        f"{above:.0%} above the fewest, with the least traffic near it" if above else "the fewest"
    )
    first = f"{best.code} needs about {_rounds(best)}, {place}"
    rival = next((one for one in ranked if one.strategy != best.strategy), None)
    if rival is not None and rival.rounds is not None:
        first += f"; the best {rival.strategy}, {_over(rival)}, about {rival.rounds:,}"
    return f"{first}. {_reason(best, rival, heterogeneity)}"


def notes_of(
    ranked: Sequence[Candidate],
    excluded: Sequence[Excluded],
    heterogeneity: float,
) -> list[str]:
    """Return what was assumed or left out, and what the numbers do not say."""
    best = ranked[0]
    notes = [_QUADRATICS]
    if heterogeneity == 0.0 or best.strategy == "Teleportation":
        notes.append(_CLOCK)
    least = min(ranked, key=_total)
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


def without_limit(ranked: Sequence[Candidate], tie: float, usual_degree: int) -> str:
    """Return how candidates are ranked where no limit was given."""
    told = (
        f"No limit was given, so of what takes up to {tie:g} times the fewest rounds the least "
        "traffic comes first; with a limit on the neighbours or the bytes a round, the fastest."
    )
    many = [one for one in ranked if one.degree > usual_degree and one.rounds is not None]
    if many and ranked[0] not in many:
        fastest = min(many, key=lambda one: one.rounds or 0)
        told += (
            f" More than {usual_degree} neighbours (log2 of the nodes) come last; the fastest of "
            f"these, {fastest.code}, needs about {_rounds(fastest)} and {fastest.models_received} "
            "models a node in each."
        )
    return told


def _reason(best: Candidate, rival: Candidate | None, heterogeneity: float) -> str:
    neighbors = (
        f"It has {best.effective_neighbors:.3g} effective neighbours, which allow "
        f"{best.learning_rate_multiplier:.3g} times the learning rate of training alone"
    )
    if best.strategy == "Gossip" and best.num_active == 1:
        return "One node has nobody to exchange models with."
    if rival is not None and (rival.rounds or inf) <= (best.rounds or 0):
        return f"In all {_total(best):,.0f} models are received, against {_total(rival):,.0f}."
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
    return inf if one.total_models is None else one.total_models
