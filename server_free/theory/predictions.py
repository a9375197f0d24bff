"""What theory predicts for one strategy over one topology.

Two regimes, by how much the nodes' data differ (``heterogeneity``, zeta^2 / sigma^2):

- 0, data alike: random isotropic quadratics (T. Vogels, H. Hendrikx, M. Jaggi, "Beyond spectral
  gap (extended)", arXiv:2301.02151, Section 3) with noise ratio z = 1 / (1 - gamma). A worker alone
  has gamma = 1 - 1/z at its best learning rate 1/z, so that one number gives the other. The
  rounds are those in which the squared error shrinks from 10 to the target at the best rate.
- above 0: the exact second moments of D-SGD and Teleportation (Y. Takezawa, S. U. Stich, ICLR
  2025, arXiv:2501.15259) on quadratics with gradient noise 1: rounds until the mean squared error
  of a node has come from 10 below the target, learning rate tuned.

Both are of quadratics and of the mean node. They rank methods; they do not foretell the rounds
of a neural network.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, log1p

from ..errors import PlanError
from .neighbors import effective_neighbors, noise_variance
from .options import Budget, Excluded, Option, Strategy
from .quadratics import best_learning_rate, best_rate
from .tuning import Tuned, rounds_to_reach

__all__ = ["START", "Candidate", "Predictor"]

START = 10.0
"""Squared error of the model that all nodes begin with, where gradient noise has variance 1."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to train, and what theory says of it.

    Parameters
    ----------
    spec : str
        The topology: over the n nodes for Gossip, over the k slots for Teleportation.
    strategy : "Gossip" or "Teleportation"
    num_active : int
        Nodes that train in a round: n, or k.
    degree : int
        The most neighbours a round in the topology.
    models_received : int
        The most models that an active node receives in a round: the degree, and for
        Teleportation one more, that of its slot.
    models_per_round : float
        Received by all nodes together; the mean over a period. Teleportation: k(1 + degree).
    bytes_received, bytes_per_round : int or None
        The same in bytes, where the size of a model is known.
    effective_neighbors : float
        n_W(gamma) of the mean node.
    learning_rate_multiplier : float
        The best learning rate for data that are alike, against training alone.
    rounds : int or None
        Predicted; None where the target is never reached.
    learning_rate : float or None
        The one that ``rounds`` is at, on quadratics of curvature 1.
    """

    spec: str
    strategy: Strategy
    num_active: int
    degree: int
    models_received: int
    models_per_round: float
    bytes_received: int | None
    bytes_per_round: int | None
    effective_neighbors: float
    learning_rate_multiplier: float
    rounds: int | None
    learning_rate: float | None

    @property
    def total_models(self) -> float | None:
        """Models received by all nodes together until the target."""
        return None if self.rounds is None else self.rounds * self.models_per_round

    @property
    def code(self) -> str:
        """The strategy as a line of Python: ``Teleportation(num_active=8, topology="ring")``."""
        active = f"num_active={self.num_active}, " if self.strategy == "Teleportation" else ""
        return f'{self.strategy}({active}topology="{self.spec}")'


@dataclass(frozen=True, slots=True)
class Predictor:
    """Makes a candidate of an option: everything that theory says of it."""

    num_nodes: int
    gamma: float
    heterogeneity: float
    target: float
    model_bytes: int | None

    def judge(self, option: Option, budget: Budget) -> Candidate | Excluded:
        """Return the candidate, or why it is none."""
        objection = budget.objection(option)
        if objection is None:
            try:
                return self.candidate(option)
            except PlanError as error:  # too large for the theory
                objection = str(error)
        return Excluded(option.strategy, option.topology.spec, option.num_active, objection)

    def candidate(self, option: Option) -> Candidate:
        """Return the option with its cost and its predictions."""
        tuned = self.tuned(option) if self.heterogeneity else None
        variance = noise_variance(option.topology)
        noise = 1.0 / (1.0 - self.gamma)  # alone at its best rate 1/z: gamma = 1 - 1/z
        rate = best_learning_rate(variance, noise)
        per_round, size = option.models_per_round(), self.model_bytes
        return Candidate(
            spec=option.topology.spec,
            strategy=option.strategy,
            num_active=option.num_active,
            degree=option.topology.max_degree,
            models_received=option.models_received,
            models_per_round=per_round,
            bytes_received=None if size is None else option.models_received * size,
            bytes_per_round=None if size is None else round(per_round * size),
            effective_neighbors=effective_neighbors(variance, self.gamma),
            learning_rate_multiplier=rate * noise,
            rounds=self.alike(best_rate(variance, noise)) if tuned is None else tuned.rounds,
            learning_rate=rate if tuned is None else tuned.learning_rate,
        )

    def tuned(self, option: Option) -> Tuned:
        """Return the rounds where data differ, from the exact second moments."""
        nodes = self.num_nodes if option.strategy == "Teleportation" else None
        return rounds_to_reach(
            self.target, option.topology, num_nodes=nodes, zeta2=self.heterogeneity, start=START
        )

    def alike(self, rate: float) -> int | None:
        """Return the rounds where data are alike: the error shrinks by 1 - rate in each."""
        if rate >= 1.0:
            return 1
        return None if rate <= 0.0 else max(1, ceil(log(self.target / START) / log1p(-rate)))
