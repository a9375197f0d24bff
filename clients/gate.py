"""What is let in: models of the training's signature, finite, decoded from how they travel."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..server_free import models
from ..server_free.coding import Coder, NoBase, Plain, claimed, is_coded
from ..server_free.errors import ModelError, WireError
from ..server_free.models import Model
from ..server_free.orders import Loss
from ..server_free.peers.links import INITIAL, Missing, ModelId, Patience, PeerLink
from .loss_notes import without_note
from .records import split, travels_alone

__all__ = ["Gate"]


@dataclass(slots=True)
class Gate:
    """Lets in the models that one node may mix during one message.

    Parameters
    ----------
    link, patience
        To ask for the initial arrays, where what differs from them is to be named.
    signature : str
        Digest of names, shapes and dtypes that every model of the training has.
    coder : Coder
        How models travel.
    """

    link: PeerLink
    patience: Patience
    signature: str
    coder: Coder = field(default_factory=Plain)

    def let_in(self, id: ModelId, answer: Model | Missing) -> tuple[Model | Missing, list[Loss]]:
        """Return the model as all see it, or why it is refused, and the losses told with it."""
        if isinstance(answer, Missing) or id == INITIAL:
            return self.checked(id, answer), []
        losses: list[Loss] = []
        try:
            plain, told = without_note(answer)
            self._check_claims(plain, _whose(id))
            losses = told
            return self.checked(id, self.coder.read(id.slot, id.round, plain)), losses
        except ModelError as error:
            return Missing(id, "refused", str(error)), losses
        except WireError as error:
            kind = "no-base" if isinstance(error, NoBase) else "damaged"
            return Missing(id, kind, f"{_whose(id)}: {error}"), losses

    def checked(self, id: ModelId, answer: Model | Missing) -> Model | Missing:
        """Return the answer, or why the model in it is refused."""
        if isinstance(answer, Missing):
            return answer
        try:
            self.check(answer, _whose(id))
        except ModelError as error:
            return Missing(id, "refused", str(error))
        return answer

    def check(self, model: Model, whose: str) -> None:
        """Raise ``ModelError`` unless the model is of the training's signature and finite.

        Once is enough for a model that cannot change: nodes that share a process share it too.
        """
        if isinstance(model, models.ReadOnlyModel) and model.good_for == self.signature:
            return
        main, _ = split(model, ())
        specs = models.signature(main)
        if self.signature and models.digest(specs) != self.signature:
            models.check_signature(main, self._expected(), whose)
        models.check_finite(model, whose)
        if isinstance(model, models.ReadOnlyModel):
            model.good_for = self.signature

    def _check_claims(self, message: Model, whose: str) -> None:
        """Raise ``ModelError`` for a coded model of another signature before it is decoded."""
        if is_coded(message) and self.signature:
            main = tuple(spec for spec in claimed(message) if travels_alone(spec.name))
            if models.digest(main) != self.signature:
                raise ModelError(f"{whose} is coded and has other names, shapes or dtypes.")

    def _expected(self) -> tuple[models.TensorSpec, ...]:
        initial = self.link.fetch([INITIAL], self.patience)[0]
        if isinstance(initial, Missing):
            raise ModelError("a model has other names, shapes or dtypes than the training's.")
        return models.signature(initial)


def _whose(id: ModelId) -> str:
    return f"the model of node {id.node} from round {id.round}"
