"""Which strategy and topology to take: candidates ranked by the rounds that theory predicts.

What is predicted, and from which paper, is in :mod:`~.predictions`. What a round costs is the
user's to say, by a limit: within it the fastest comes first. Without one the complete graph would
win, which needs a round or two on quadratics; so what has more neighbours than an exponential graph
comes last then, and traffic decides among those that are not much slower than the fastest.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from ..counts import check_count
from ..errors import PlanError
from ..topologies import from_spec
from .calibration import fit_gamma
from .options import Budget, Excluded, Option, default_actives, options, usual_degree
from .predictions import START, Candidate, Predictor
from .reasons import notes_of, why, without_limit

__all__ = ["Candidate", "Recommendation", "recommend"]

DEFAULT_GAMMA = 0.95
MOST_GAMMA = 1 - 1e-9
TARGET = 1e-2
TIE = 1.05
"""Candidates whose rounds are within this factor count as equally fast; traffic decides."""
WIDE_TIE = 1.5
"""The same factor where no limit was given."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The candidates in order, the best first, and why.

    Parameters
    ----------
    num_nodes : int
    gamma, heterogeneity, target : float
        What the predictions were made with.
    candidates : tuple of Candidate
        Within the budget; by rounds, those within 5 % of the fastest by models in all. Without a
        budget those within 50 %, and more than log2 n neighbours, if not named, come last.
    excluded : tuple of Excluded
        What the budget rules out, or what was left out, each with its reason.
    why : str
        One or two sentences on the best.
    notes : tuple of str
        What was assumed, and what the numbers do not say.
    """

    num_nodes: int
    gamma: float
    heterogeneity: float
    target: float
    candidates: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    why: str
    notes: tuple[str, ...]

    @property
    def best(self) -> Candidate:
        """The first of the candidates."""
        return self.candidates[0]


def recommend(
    num_nodes: int,
    *,
    gamma: float | None = None,
    complete_losses: Mapping[int, float] | None = None,
    losses: Mapping[str, float] | None = None,
    heterogeneity: float = 1.0,
    max_degree: int | None = None,
    max_bytes: int | None = None,
    model_bytes: int | None = None,
    num_active: Iterable[int] | None = None,
    target: float = TARGET,
    candidates: Sequence[str] | None = None,
) -> Recommendation:
    """Rank strategies and topologies for ``num_nodes`` nodes by predicted rounds.

    Parameters
    ----------
    num_nodes : int
        Number of nodes n, at least 1.
    gamma : float, optional
        0 <= gamma < 1, how long a model remembers; 0.95 where nothing is known, near the 0.951
        that arXiv:2301.02151 fits to CIFAR-10.
    complete_losses, losses : mapping, optional
        Measured losses that gamma is fitted to instead (:func:`fit_gamma`): of complete graphs,
        ``{workers: loss}``, and of topologies over all n nodes, ``{spec: loss}``.
    heterogeneity : float (default: 1.0)
        How much the nodes' data differ: zeta^2 / sigma^2, the variance of their gradients over
        the nodes against that of the noise within a node. 0 is data that are alike.
    max_degree, max_bytes, model_bytes : int, optional
        Budgets, see :class:`Budget`; what is done without one, at :class:`Recommendation`.
    num_active : iterable of int, optional
        The k to consider for Teleportation; by default powers of two up to n, and n.
    target : float (default: 1e-2)
        Squared error at which training is done; it starts at 10.
    candidates : sequence of str, optional
        The specs to consider, over the nodes and over the slots. By default every formula that
        n allows; beyond 600 nodes those with a spectrum in closed form.

    Raises
    ------
    PlanError
        For values that cannot be, and where no candidate within the budget reaches the target.
    """
    num_nodes = check_count("num_nodes", num_nodes)
    _check(heterogeneity, target)
    if isinstance(candidates, str):
        raise PlanError(f"candidates is {candidates!r}, allowed is a list of specs.")
    budget = Budget(max_degree, max_bytes, model_bytes)
    decay, told = _gamma(num_nodes, gamma, complete_losses, losses)
    predictor = Predictor(num_nodes, decay, heterogeneity, target, model_bytes)
    found: list[Candidate] = []
    excluded: list[Excluded] = []
    for option in options(num_nodes, _actives(num_nodes, num_active), candidates):
        judged = predictor.judge(option, budget) if isinstance(option, Option) else option
        if isinstance(judged, Candidate):
            found.append(judged)
        else:
            excluded.append(judged)
    as_given = budget.is_limited or candidates is not None
    usual = num_nodes if as_given else usual_degree(num_nodes)
    tie = TIE if budget.is_limited else WIDE_TIE
    ranked = _ranked(found, tie, usual)
    if not ranked or ranked[0].rounds is None:
        raise PlanError(_nothing(ranked, excluded))
    reason = why(ranked, heterogeneity, usual)
    assumed = [] if budget.is_limited else [without_limit(ranked, tie, usual)]
    notes = (*told, *assumed, *notes_of(ranked, excluded, heterogeneity))
    return Recommendation(
        num_nodes, decay, heterogeneity, target, tuple(ranked), tuple(excluded), reason, notes
    )


def _ranked(found: Sequence[Candidate], tie: float, usual_degree: int) -> list[Candidate]:
    """Return the candidates, best first; those above the usual degree after the others."""
    few = [c for c in found if c.degree <= usual_degree]
    many = [c for c in found if c.degree > usual_degree]
    never = [c for c in found if c.rounds is None]
    return [*_by_rounds(few, tie), *_by_rounds(many, tie), *never]


def _by_rounds(found: Iterable[Candidate], tie: float) -> list[Candidate]:
    """Return those that get there by rounds; those as fast as the fastest left by traffic."""
    left = sorted((c for c in found if c.rounds is not None), key=lambda c: c.rounds or 0)
    ranked: list[Candidate] = []
    while left:
        limit = (left[0].rounds or 0) * tie
        equal = [c for c in left if (c.rounds or 0) <= limit]
        ranked += sorted(equal, key=lambda c: (c.total_models, c.rounds))
        left = left[len(equal) :]
    return ranked


def _gamma(
    num_nodes: int,
    gamma: float | None,
    complete_losses: Mapping[int, float] | None,
    losses: Mapping[str, float] | None,
) -> tuple[float, list[str]]:
    """Return gamma, given, fitted or assumed, and what is to be said of it."""
    if complete_losses is None and losses is None:
        if gamma is None:
            return DEFAULT_GAMMA, [
                f"gamma = {DEFAULT_GAMMA} is assumed; fit it to losses of yours."
            ]
        if not 0.0 <= gamma <= MOST_GAMMA:
            raise PlanError(f"gamma is {gamma}, allowed is 0 <= gamma < 1, at most 1 - 1e-9.")
        return float(gamma), []
    if gamma is not None or complete_losses is None or losses is None:
        raise PlanError("give complete_losses and losses, both, or gamma, or none of the three.")
    pairs = [(from_spec(spec, num_nodes), loss) for spec, loss in losses.items()]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit_gamma(complete_losses, pairs)
    fit = f"gamma = {fitted.gamma:.4g} is fitted; the losses lie {fitted.residual:.2g} off (rms)."
    told = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    return fitted.gamma, [fit, *told]


def _actives(num_nodes: int, given: Iterable[int] | None) -> tuple[int, ...]:
    """Return the numbers of active nodes to consider, in order, each once."""
    if given is None:
        return default_actives(num_nodes)
    advice = ", the number of nodes"
    counts = {check_count("num_active", one, most=num_nodes, advice=advice) for one in given}
    return tuple(sorted(counts))


def _nothing(ranked: Sequence[Candidate], excluded: Sequence[Excluded]) -> str:
    """Return why there is no recommendation."""
    if ranked:
        specs = ", ".join(sorted({c.spec for c in ranked}))
        return (
            f"none of the {len(ranked)} candidates within the budget ({specs}) reaches the target; "
            "allow a larger degree, more bytes or more topologies, or a larger target."
        )
    reasons = "; ".join(dict.fromkeys(f"{one.spec}: {one.reason}" for one in excluded[:3]))
    return f"no candidate is left: {reasons or 'none was given'}"


def _check(heterogeneity: float, target: float) -> None:
    if not (isfinite(heterogeneity) and heterogeneity >= 0.0):
        raise PlanError(f"heterogeneity is {heterogeneity}, allowed is a finite number, 0 or more.")
    if not 0.0 < target < START:
        raise PlanError(f"target is {target}, allowed is above 0 and below {START:g}, the start.")
