"""The search for the number of active nodes: which candidates train at the same time, and when.

Y. Takezawa, S. U. Stich, "Scalable Decentralized Learning with Teleportation", ICLR 2025,
arXiv:2501.15259, Algorithm 2. The candidates of a pass are Teleportation on disjoint groups of one
draw, so a pass is an ordinary :class:`Plan` whose topology is the candidates' side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from .counts import check_count
from .errors import PlanError
from .plans import Plan
from .schedules import Teleport, check_seed
from .topologies import from_spec
from .topologies.side_by_side import NAME

__all__ = ["Candidate", "Pass", "Search"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One number of active nodes, and the slots it holds in the plan of its pass."""

    num_active: int
    first_slot: int

    @property
    def slots(self) -> range:
        """The candidate's slots in the plan of its pass."""
        return range(self.first_slot, self.first_slot + self.num_active)

    def slot_of(self, node: int) -> int:
        """Return the slot whose model ``node`` evaluates: slot (node mod k) of the candidate."""
        return self.first_slot + node % self.num_active


@dataclass(frozen=True, slots=True)
class Pass:
    """Candidates that train at the same time, and the plan by which they do."""

    plan: Plan
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """Algorithm 2 for ``num_nodes`` nodes.

    Parameters
    ----------
    num_nodes : int
        Number of nodes n.
    topology : str (default: "one-peer-exponential")
        Spec of the topology over the slots of a candidate, for any number of slots.
    seed : int (default: 0)
        Draws the active sets.
    try_all : bool (default: False)
        Whether k = n is a candidate too where n is not a power of two; a further pass.
    """

    num_nodes: int
    topology: str = "one-peer-exponential"
    seed: int = 0
    try_all: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", check_count("num_nodes", self.num_nodes))
        if not isinstance(self.topology, str):
            raise PlanError(
                f"topology is {self.topology!r}; a search needs the spec of a topology for any "
                "number of slots, such as 'one-peer-exponential' or 'ring'."
            )
        object.__setattr__(self, "seed", check_seed(self.seed))

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of active nodes of each pass: P1, P2 unless empty, and n if wanted.

        P1 is the longest prefix of the powers of two up to n with sum at most n; since
        1 + 2 + ... + 2^j = 2^(j+1) - 1, it leaves out at most the largest.
        """
        powers = [1 << j for j in range(self.num_nodes.bit_length())]
        together = (self.num_nodes + 1).bit_length() - 1
        extra = [self.num_nodes] if self.try_all and self.num_nodes not in powers else []
        alone = [(k,) for k in (*powers[together:], *extra)]
        return (tuple(powers[:together]), *alone)

    def passes(self, num_rounds: int) -> tuple[Pass, ...]:
        """Return the passes, ``num_rounds`` rounds each; ``PlanError`` where the spec does not fit.

        The largest candidate of a pass comes last, so it is the one that lacks holders when too
        few nodes are live.
        """
        return tuple(self._pass(group, num_rounds) for group in self.groups)

    def _pass(self, group: tuple[int, ...], num_rounds: int) -> Pass:
        candidates, first = [], 0
        for num_active in group:
            candidates.append(Candidate(num_active, first))
            first += num_active
        spec = f"{NAME}:{'+'.join(map(str, group))},{self.topology}"
        schedule = Teleport(self.num_nodes, first, seed=self.seed)
        return Pass(Plan(from_spec(spec, first), schedule, num_rounds), tuple(candidates))
