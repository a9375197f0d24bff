"""Gathering: the mixed model of a slot from the peers that hold its sources.

z = sum_r W[s, r] h[r] over the models that arrived, renormalised; what to take when none
did, and a note of every loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..server_free.choco import Copies, with_residual
from ..server_free.errors import GossipError
from ..server_free.models import Model
from ..server_free.orders import FROM_SCRATCH, Loss
from ..server_free.peers.links import INITIAL, Missing, ModelId, Patience, PeerLink
from ..server_free.plans import Plan, Source
from ..server_free.sparing import Sparing, brief
from .gate import Gate
from .rows import Row

__all__ = ["Gatherer", "Latest"]

_REACH = 4
"""How many rounds back a lost slot is looked for; peers keep at least the last two."""

_OWN_REACH = 64
"""How many rounds back a node looks for its own last model."""

_NODE_LEVEL = frozenset({"unreachable", "silent", "not-started", "late", "gone"})
"""Kinds of loss that say something about the node, not just about one model."""


@dataclass(frozen=True, slots=True)
class Latest:
    """A half-step model of this node: as all its readers see it, and as it is."""

    id: ModelId
    seen: Model
    exact: Model


@dataclass(slots=True)
class Gatherer:
    """Fetches and mixes for one node during one message.

    Parameters
    ----------
    plan, node, link, patience
        Who mixes with whom, for whom, through what, and how long to wait.
    gate : Gate
        Which models are let in, and how they travel.
    latest : Latest, optional
        The node's own newest half-step model, which then need not be fetched.
    losses : list of Loss
        The models that did not arrive here, and those that did not arrive at the holders of
        models fetched here.
    where : str (default: "")
        The run and the training, for the log: it gets a line for each loss.
    """

    plan: Plan
    node: int
    link: PeerLink
    patience: Patience
    gate: Gate
    latest: Latest | None = None
    losses: list[Loss] = field(default_factory=list)
    where: str = ""
    log: Sparing = field(default_factory=Sparing)

    @property
    def feeds_back(self) -> bool:
        """Whether nodes keep what their codec cut off."""
        return isinstance(self.gate.coder, Copies)

    def exact(self, id: ModelId) -> ModelId:
        """Return under which id the holder keeps its exact model beside the public copy ``id``."""
        return replace(id, slot=id.slot + self.plan.num_slots)

    def initial(self) -> Model:
        """Return the initial arrays from the own peer."""
        model = self._fetch([INITIAL], self.patience)[0]
        if isinstance(model, Missing):
            raise GossipError(
                f"node {self.node}: its peer does not hold the initial arrays ({model.reason}). A "
                "peer that is restarted has them only if it was started with --store DIR: give it "
                "one, then start the run again."
            )
        return model

    def mixed(self, slot: int, round: int) -> dict[str, np.ndarray]:
        """Return z of ``slot`` from the half-step models of ``round`` (round 0: the initial).

        Losses are noted in :attr:`losses`; see the module's first lines for what replaces them.
        """
        if round == 0:
            return dict(self.initial())
        row = Row(slot, round, keep_own=self.feeds_back)
        terms = self.plan.row(slot, round)
        if self.latest is not None:
            row.expect(self.latest.id, self.latest.seen)
        wanted = [ModelId(round=round, slot=term.slot, node=term.node) for term in terms]
        answers = self._each(wanted, self.patience)
        for term in terms:  # no name for the answer: the next large one may need its memory
            row.take(term, next(answers))
        row.close()
        self._tell(row.lost)
        if row.arrived:
            self._note(row.lost, slot, "rest of the row")
            return self._with_residual(row.mixture.finish(), row.own, slot, round)
        model, used = self._last_resort(slot, round)
        self._note(row.lost, slot, used)
        return dict(model)

    def _with_residual(
        self, mixed: dict[str, np.ndarray], copy: Model | None, slot: int, round: int
    ) -> dict[str, np.ndarray]:
        """Add what the codec cut off the own slot's model, where that is not lost for good."""
        if copy is None or not self.feeds_back:
            return mixed
        holder = self.plan.active(round)[slot]
        id = ModelId(round=round, slot=slot, node=holder)
        if self.latest is not None and self.latest.id == id:
            h: Model | Missing = self.latest.exact
        else:
            h = self.gate.checked(id, self.link.fetch([self.exact(id)], self.patience)[0])
        return mixed if isinstance(h, Missing) else with_residual(mixed, h, copy)

    def _fetch(self, wanted: Sequence[ModelId], patience: Patience) -> list[Model | Missing]:
        return list(self._each(wanted, patience))

    def _each(self, wanted: Sequence[ModelId], patience: Patience) -> Iterator[Model | Missing]:
        """Give what arrives, checked, in the order that is wanted."""
        own = self.latest.id if self.latest else None
        remote = [id for id in wanted if id != own]
        fetched = iter(self.link.fetch_each(remote, patience) if remote else ())
        for id in wanted:
            if self.latest and id == own:
                yield self.latest.seen
            else:
                yield self._accepted(id, next(fetched))

    def _accepted(self, id: ModelId, answer: Model | Missing) -> Model | Missing:
        """Return what the gate lets in, and note the losses told with it."""
        accepted, losses = self.gate.let_in(id, answer)
        self.losses += losses
        return accepted

    def _last_resort(self, slot: int, round: int) -> tuple[Model, str]:
        """Return the slot's latest reachable h, else the own last model, else the initial."""
        brief = replace(self.patience, start_s=0.01, ceiling_s=0.01)
        for earlier, holder in self.plan.holders_before(slot, round, _REACH):
            answer = self._fetch([ModelId(round=earlier, slot=slot, node=holder)], brief)[0]
            if not isinstance(answer, Missing):
                return answer, f"slot {slot} of round {earlier} from node {holder}"
        own = self._own_last(round, brief)
        if own is not None:
            return own
        return self.initial(), FROM_SCRATCH

    def _own_last(self, round: int, brief: Patience) -> tuple[Model, str] | None:
        if self.latest is not None:
            return self.latest.seen, f"own model of round {self.latest.id.round}"
        for earlier in range(round, max(0, round - _OWN_REACH), -1):
            slot = self.plan.slot(self.node, earlier)
            if slot is not None:
                id = ModelId(round=earlier, slot=slot, node=self.node)
                answer = self._fetch([id], brief)[0]
                if isinstance(answer, Missing):
                    return None
                return answer, f"own model of round {earlier}"
        return None

    def _tell(self, lost: Sequence[tuple[Source, Missing]]) -> None:
        """Tell the own peer which nodes are missing, so that others need not wait for them too."""
        dead = {
            term.node: missing.reason
            for term, missing in lost
            if missing.kind in _NODE_LEVEL and term.node != self.node
        }
        fresh = {n: r for n, r in dead.items() if n not in self.link.known_missing}
        if fresh:
            self.link.report_missing(fresh)

    def _note(self, lost: Sequence[tuple[Source, Missing]], slot: int, used: str) -> None:
        for term, missing in lost:
            self.log.warning(
                f"gossip: missing {self.where} round={missing.id.round} slot={term.slot} "
                f"node={term.node} reader={self.node} reader-slot={slot}: {missing.kind}: "
                f"{brief(missing.reason, 300)}; used {used}"
            )
            self.losses.append(
                Loss(
                    round=missing.id.round,
                    slot=term.slot,
                    holder=term.node,
                    reader=self.node,
                    reader_slot=slot,
                    kind=missing.kind,
                    reason=missing.reason,
                    used=used,
                )
            )
