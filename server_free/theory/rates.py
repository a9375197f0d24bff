"""Convergence rates: how the number of rounds, nodes and active nodes bounds the gradient norm.

For L-smooth, possibly non-convex objectives after T rounds with a tuned constant learning rate,

    (1/T) sum_t E |grad f(mean x_t)|^2  <=  C * rate,

where C is a constant that both theorems leave out: rates say how a bound grows, they are no
prediction of an error, and two of them compare only in order. sigma2 is the variance of one node's
gradient noise, zeta2 the mean squared distance of the nodes' gradients from the mean gradient,
p the consensus rate of the topology (:func:`consensus_rate`), r0 = f(x0) - min f.

- D-SGD: A. Koloskova, N. Loizou, S. Boreiri, M. Jaggi, S. U. Stich, "A Unified Theory of
  Decentralized SGD with Changing Topology and Local Updates", ICML 2020, arXiv:2003.10422,
  Theorem 2 (non-convex), solved for the accuracy; with (1 - p) in the second term, which is 0 for
  exact averaging, as in the later literature.
- Teleportation: Y. Takezawa, S. U. Stich, "Scalable Decentralized Learning with Teleportation",
  ICLR 2025, arXiv:2501.15259. The form used here is not verified against the published theorem; it
  agrees with the exact moments of quadratics (:mod:`~.moments`): the active nodes are drawn without
  replacement, hence ``1 - (k-1)/(n-1)``, and heterogeneity acts as noise, hence zeta2 / p_k where
  D-SGD has zeta2 / p^2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import cbrt, inf, sqrt

from ..counts import check_count
from ..errors import PlanError
from ..topologies import Topology, from_spec
from . import spectra

__all__ = [
    "balancing_num_active",
    "candidate_topologies",
    "dsgd_rate",
    "teleportation_rate",
]

_EXHAUSTIVE = 128
_REFINED = 9


def dsgd_rate(
    num_rounds: int,
    num_nodes: int,
    consensus_rate: float,
    *,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    smoothness: float = 1.0,
    start_gap: float = 1.0,
) -> float:
    """Return the order of D-SGD's bound; constants are left out.

    ``sqrt(L r0 sigma2 / (n T)) + cbrt(L^2 r0^2 (1-p) (sigma2 + zeta2 / p) / (p T^2))
    + L r0 / (p T)``

    Parameters
    ----------
    num_rounds, num_nodes : int
        T and n, at least 1.
    consensus_rate : float
        p of the topology over the n nodes, 0..1; at 0 nodes never agree and the bound is infinite.
    sigma2, zeta2 : float (default: 1.0)
        Gradient noise and heterogeneity, 0 or more.
    smoothness, start_gap : float (default: 1.0)
        L and r0, 0 or more.

    Raises
    ------
    PlanError
        For values outside these.

    Notes
    -----
    Source: arXiv:2003.10422, Theorem 2.
    """
    _check(num_rounds, num_nodes, consensus_rate, sigma2, zeta2, smoothness, start_gap)
    if consensus_rate == 0.0:
        return inf
    scale, p = smoothness * start_gap / num_rounds, consensus_rate
    disagreement = scale**2 * (1.0 - p) * (sigma2 + zeta2 / p) / p
    return sqrt(scale * sigma2 / num_nodes) + cbrt(disagreement) + scale / p


def teleportation_rate(
    num_rounds: int,
    num_nodes: int,
    num_active: int,
    consensus_rate: float,
    *,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    smoothness: float = 1.0,
    start_gap: float = 1.0,
) -> float:
    """Return the order of Teleportation's bound; constants are left out, form not verified.

    ``sqrt(L r0 (sigma2 + (1 - (k-1)/(n-1)) zeta2) / (k T))
    + cbrt(L^2 r0^2 (1-p_k) (sigma2 + zeta2) / (p_k T^2)) + L r0 / (p_k T)``; for n = 1 the nodes do
    not differ, and the first term has no zeta2.

    Parameters
    ----------
    num_rounds, num_nodes, num_active : int
        T, n and k; k is 1..n.
    consensus_rate : float
        p_k of the topology over the k slots; 1 for k = 1.

    Notes
    -----
    The rest, and the errors, are as in :func:`dsgd_rate`. Source: arXiv:2501.15259.
    """
    _check(num_rounds, num_nodes, consensus_rate, sigma2, zeta2, smoothness, start_gap)
    _check_active(num_active, num_nodes)
    if consensus_rate == 0.0:
        return inf
    scale, p = smoothness * start_gap / num_rounds, consensus_rate
    left_out = (num_nodes - num_active) / max(1, num_nodes - 1)  # 1 - (k-1)/(n-1), 0 for n = 1
    averaged = (sigma2 + left_out * zeta2) / num_active
    disagreement = scale**2 * (1.0 - p) * (sigma2 + zeta2) / p
    return sqrt(scale * averaged) + cbrt(disagreement) + scale / p


def balancing_num_active(
    topology: str | Callable[[int], Topology],
    num_nodes: int,
    num_rounds: int,
    *,
    sigma2: float = 1.0,
    zeta2: float = 1.0,
    smoothness: float = 1.0,
    start_gap: float = 1.0,
    candidates: Iterable[int] | None = None,
) -> int:
    """Return the number of active nodes k with the least :func:`teleportation_rate`.

    It balances more averaging (first term) against slower consensus (the others). The least k wins
    a tie.

    Parameters
    ----------
    topology : str or callable
        A spec, or ``k -> Topology`` over k slots.
    candidates : iterable of int, optional
        The k to compare, each 1..n. Without it all, up to n = 128; beyond, the powers of two and n,
        then ever closer values around the best. Sizes that the topology cannot have are left out.

    Notes
    -----
    The other parameters are those of :func:`teleportation_rate`.
    """
    known: dict[int, float] = {}

    def compare(sizes: Iterable[int], strict: bool) -> None:
        new = [size for size in sizes if size not in known]
        for made in candidate_topologies(topology, num_nodes, new, strict=strict):
            known[made.num_nodes] = teleportation_rate(
                num_rounds,
                num_nodes,
                made.num_nodes,
                spectra.consensus_rate(made),
                sigma2=sigma2,
                zeta2=zeta2,
                smoothness=smoothness,
                start_gap=start_gap,
            )

    if candidates is not None:
        compare(candidates, strict=True)
    elif num_nodes <= _EXHAUSTIVE:
        compare(range(1, num_nodes + 1), strict=False)
    else:
        _refine(compare, known, num_nodes)
    if not known:
        raise PlanError("there is no candidate to choose the number of active nodes from.")
    return _least(known)


def _least(known: dict[int, float]) -> int:
    return min(known, key=lambda size: (known[size], size))


def _refine(
    compare: Callable[[Iterable[int], bool], None], known: dict[int, float], num_nodes: int
) -> None:
    """Compare powers of two, then values ever closer to the best one, down to its neighbours."""
    compare([*(1 << power for power in range(num_nodes.bit_length())), num_nodes], False)
    span = num_nodes
    while known and span > 1:
        best = _least(known)
        span = min(span // 2, best)
        step = max(1, span // (_REFINED // 2))
        near = range(max(1, best - span), min(num_nodes, best + span) + 1, step)
        compare(near, False)


def candidate_topologies(
    topology: str | Callable[[int], Topology],
    num_nodes: int,
    sizes: Iterable[int],
    *,
    strict: bool,
) -> Iterator[Topology]:
    """Yield the topology over k slots for each different k of ``sizes``, rising.

    Raises ``PlanError`` for a k outside 1..n and, if ``strict``, for one that the topology cannot
    have; else that one is left out, and the error raised only where none is left.
    """
    make = topology if callable(topology) else lambda size: from_spec(topology, num_nodes=size)
    refused: PlanError | None = None
    num_made = 0
    for size in sorted(set(sizes)):
        _check_active(size, num_nodes)
        try:
            made = make(size)
        except PlanError as error:
            if strict:
                raise
            refused = error
            continue
        num_made += 1
        yield made
    if refused is not None and not num_made:
        raise refused


def _check_active(num_active: int, num_nodes: int) -> None:
    nodes = check_count("num_nodes", num_nodes)
    check_count("num_active", num_active, most=nodes, advice=": no more than there are nodes")


def _check(
    num_rounds: int,
    num_nodes: int,
    consensus_rate: float,
    sigma2: float,
    zeta2: float,
    smoothness: float,
    start_gap: float,
) -> None:
    for name, count in (("num_rounds", num_rounds), ("num_nodes", num_nodes)):
        check_count(name, count)
    if not 0.0 <= consensus_rate <= 1.0:
        raise PlanError(f"consensus_rate is {consensus_rate}, allowed is 0..1.")
    values = {"sigma2": sigma2, "zeta2": zeta2, "smoothness": smoothness, "start_gap": start_gap}
    for name, value in values.items():
        if not 0.0 <= value < inf:
            raise PlanError(f"{name} is {value}, allowed is a finite number, 0 or more.")
