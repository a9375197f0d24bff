"""Every error this package raises on purpose.

GossipError
├── PlanError(ValueError)          a topology, schedule or plan that cannot be
│   └── PlanMismatch               two sides compute different plans (versions differ)
├── RosterError                    who takes part: too few, duplicate or missing identities
├── ModError                       the ClientApp side: mod missing, misplaced, or misused
├── ModelError(ValueError)         arrays that cannot be mixed: names, shapes, dtypes, NaN
├── RunError(ValueError)           a run's folder that is none, is damaged or cannot be written
├── CheckpointError                a checkpoint that cannot be used or does not fit
├── NoNodesLeft                    every node failed or fell silent
└── PeerError                      the peer plane
    ├── PeerUnreachable            nobody answers at an address
    ├── MailboxFull                the memory limit of a peer is reached
    └── WireError(ValueError)      bytes that are not what they claim to be
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "GossipError",
    "MailboxFull",
    "ModError",
    "ModelError",
    "NoNodesLeft",
    "PeerError",
    "PeerUnreachable",
    "PlanError",
    "PlanMismatch",
    "RosterError",
    "RunError",
    "WireError",
    "one_line",
]


class GossipError(Exception):
    """Base of all errors of this package."""


class PlanError(GossipError, ValueError):
    """A topology, schedule or plan that cannot be."""


class PlanMismatch(PlanError):
    """Two sides compute a different plan from the same description."""


class RosterError(GossipError):
    """Too few nodes, or identities that are missing, doubled or have gaps."""


class ModError(GossipError):
    """The ClientApp does not use ``gossip_mod`` as it must."""


class ModelError(GossipError, ValueError):
    """Arrays that cannot be mixed: wrong names, shapes or dtypes, NaN or infinite values."""


class RunError(GossipError, ValueError):
    """A run's folder that is none, is damaged or cannot be written."""


class CheckpointError(GossipError):
    """A checkpoint that is damaged, in use, or not one of the run that is to go on."""


class NoNodesLeft(GossipError):
    """Every node failed or fell silent; the reasons are in the text."""


class PeerError(GossipError):
    """Something is wrong in the peer plane."""


class PeerUnreachable(PeerError):
    """Nobody answers at the address of a peer."""


class MailboxFull(PeerError):
    """A peer's memory limit is reached."""


class WireError(PeerError, ValueError):
    """Bytes that are not what they claim to be."""


def one_line(error: BaseException) -> str:
    """Return an exception as one line: our own errors speak for themselves."""
    return str(error) if isinstance(error, GossipError) else f"{type(error).__name__}: {error}"
