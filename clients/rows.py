"""One row of the mixing, z = sum_r W[s, r] h[r], while its models come in slot order."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..server_free.mixing import Mixture
from ..server_free.models import Model
from ..server_free.peers.links import Missing, ModelId
from ..server_free.plans import Source
from .records import has_beside, shown

__all__ = ["Row"]


@dataclass(slots=True)
class Row:
    """Adds models as they come and notes those that are missing or cannot be mixed.

    What does not have the shapes of the own slot's model is refused. The main arrays have been
    checked; what travels beside them has no signature, so a model with such arrays waits till the
    own slot's model is known.

    Parameters
    ----------
    slot, round : int
        Whose row, and of which half-step models.
    keep_own : bool
        Whether the own slot's model is needed afterwards.
    """

    slot: int
    round: int
    keep_own: bool = False
    arrived: int = 0
    own: Model | None = None
    lost: list[tuple[Source, Missing]] = field(default_factory=list)
    mixture: Mixture = field(init=False)
    _shapes: dict[str, tuple[object, object]] = field(default_factory=dict)
    _own_is_known: bool = False
    _waiting: list[tuple[Source, Model]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mixture = Mixture(self.slot)

    def expect(self, id: ModelId, model: Model) -> None:
        """Note the node's own newest model, if it is that of this row's slot."""
        if (id.round, id.slot) == (self.round, self.slot):
            self._know(model)

    def _know(self, model: Model) -> None:
        self._own_is_known = True
        self._shapes = {name: (array.shape, array.dtype) for name, array in model.items()}

    def take(self, term: Source, answer: Model | Missing) -> None:
        """Take the next of the row."""
        is_own = term.slot == self.slot
        if isinstance(answer, Missing):
            self.lost.append((term, answer))
            self._own_is_known = self._own_is_known or is_own
        else:
            self._waiting.append((term, answer))
            if is_own:
                self._know(answer)
        if self._own_is_known or not any(has_beside(model) for _, model in self._waiting):
            self.close()

    def close(self) -> None:
        """Add all that has come."""
        for term, model in self._waiting:
            self._add(term, model)
        self._waiting.clear()

    def _add(self, term: Source, model: Model) -> None:
        if (odd := self._odd(model)) is not None:
            id = ModelId(round=self.round, slot=term.slot, node=term.node)
            name, shape = odd
            reason = (
                f"node {term.node} sent {shown(name)!r} of shape {model[name].shape}, "
                f"others have {shape}"
            )
            self.lost.append((term, Missing(id, "refused", reason)))
            return
        self.mixture.add(term.slot, model, term.weight)
        self.arrived += 1
        if self.keep_own and term.slot == self.slot:
            self.own = model

    def _odd(self, model: Model) -> tuple[str, object] | None:
        """Return a tensor that cannot be mixed, and the shape that others have."""
        for name, array in model.items():
            expected = self._shapes.get(name) or self.mixture.shape_of(name)
            if expected is not None and expected != (array.shape, array.dtype):
                return name, expected[0]
        return None
