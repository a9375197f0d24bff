"""What theory says about a topology: how much its averaging helps, and which one to take."""

from __future__ import annotations

from .advice import Recommendation, recommend
from .calibration import Calibration, Fitted, fit_gamma
from .moments import (
    Moments,
    gossip_errors,
    gossip_moments,
    teleportation_errors,
    teleportation_moments,
)
from .neighbors import (
    DENSE_LIMIT,
    effective_neighbors,
    effective_neighbors_estimate,
    effective_neighbors_limit,
    noise_variance,
)
from .predictions import Candidate
from .quadratics import best_learning_rate, best_rate, noise_ratio, quadratic_rate
from .rates import balancing_num_active, dsgd_rate, teleportation_rate
from .spectra import consensus_rate, spectral_gap
from .tuning import Tuned, best_num_active, rounds_to_reach
from .variances import Estimate, Variance

__all__ = [
    "DENSE_LIMIT",
    "Calibration",
    "Candidate",
    "Estimate",
    "Fitted",
    "Moments",
    "Recommendation",
    "Tuned",
    "Variance",
    "balancing_num_active",
    "best_learning_rate",
    "best_num_active",
    "best_rate",
    "consensus_rate",
    "dsgd_rate",
    "effective_neighbors",
    "effective_neighbors_estimate",
    "effective_neighbors_limit",
    "fit_gamma",
    "gossip_errors",
    "gossip_moments",
    "noise_ratio",
    "noise_variance",
    "quadratic_rate",
    "recommend",
    "rounds_to_reach",
    "spectral_gap",
    "teleportation_errors",
    "teleportation_moments",
    "teleportation_rate",
]
