"""A user's torch model and loss, applied to many parameter vectors at once (``torch.func``)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.parameter import is_lazy

from ..errors import ModelError
from .layout import Layout
from .recording import Recorder

__all__ = ["BatchedModel", "Loss"]

Loss = Callable[[Any, Tensor], Tensor]
"""``(outputs, targets) -> scalar``, the mean over the batch."""

Views = tuple[Tensor, ...]


class BatchedModel:
    """Gradients and outputs of one module under many parameter vectors.

    Parameters
    ----------
    model : torch.nn.Module
        Copied. Buffers and parameters that require no gradient are the same for all slots.
    loss : callable
        ``(outputs, targets) -> scalar``.
    device : torch.device
    """

    def __init__(self, model: nn.Module, loss: Loss, device: torch.device) -> None:
        _check_kinds(model, loss)
        self.model = copy.deepcopy(model).to(device)
        self.loss = loss
        self.layout = Layout.of(self.model)
        self.start = self.layout.row_of(self.model)
        self._gradients = Recorder(vmap(grad_and_value(self._loss_of), randomness="error"))
        self._outputs = vmap(self._outputs_of, in_dims=(0, None), randomness="error")

    def gradients(self, views: Views, inputs: Tensor, targets: Tensor) -> tuple[Views, Tensor]:
        """Return each slot's gradients (like ``views``) and its loss, (c,).

        ``views`` are (c, *shape), ``inputs`` and ``targets`` (c, batch, ...).
        """
        key = (inputs.shape, targets.shape)
        return cast(tuple[Views, Tensor], self._gradients(key, views, inputs, targets))

    def outputs(self, views: Views, inputs: Tensor) -> Tensor:
        """Return each slot's outputs on the same inputs, (c, batch, ...), in evaluation mode."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                return self._outputs(views, inputs)
        finally:
            self.model.train(was_training)

    def check(self, inputs: Tensor, targets: Tensor) -> None:
        """Raise ``ModelError`` unless the model and the loss can be run for many slots at once.

        ``inputs`` and ``targets`` are a few samples.
        """
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        states = _random_states(inputs)
        try:
            with torch.enable_grad():
                value = self._tried(inputs, targets)
            drew = any(not a.equal(b) for a, b in zip(states, _random_states(inputs), strict=True))
        finally:
            _restore(states, inputs)
        after = dict(self.model.named_buffers())
        changed = [name for name, old in before.items() if not after[name].equal(old)]
        if changed:
            raise ModelError(
                f"the model's forward changes its buffers {changed}, and only the parameters are "
                "mixed: use GroupNorm or LayerNorm in the place of BatchNorm, or model.eval()."
            )
        if drew:
            raise ModelError(
                "the model's forward draws random numbers (Dropout?), so a run could not be "
                "repeated from its seed: take that layer out, set its p to 0, or call model.eval()."
            )
        _check_loss(value)
        self._check_batching(inputs, targets)

    @torch.no_grad()
    def check_batches(
        self, nodes: Sequence[int] | NDArray[np.int64], inputs: Tensor, targets: Tensor
    ) -> None:
        """Raise ``ModelError`` for the first node on whose samples model or loss fail.

        ``inputs`` and ``targets`` are (c, batch, ...), those of the c nodes.
        """
        for node, own_inputs, own_targets in zip(nodes, inputs, targets, strict=True):
            self._tried(own_inputs, own_targets, f"node {node}: ")

    def _tried(self, inputs: Tensor, targets: Tensor, whose: str = "") -> Any:
        try:
            return self.loss(self.model(inputs), targets)
        except Exception as error:
            values = "" if targets.is_floating_point() else f", {targets.min()}..{targets.max()}"
            raise ModelError(
                f"{whose}the model and the loss fail on inputs of shape {tuple(inputs.shape)} "
                f"({inputs.dtype}) with targets of {tuple(targets.shape)} ({targets.dtype}"
                f"{values}): {type(error).__name__}: {error}"
            ) from error

    def _check_batching(self, inputs: Tensor, targets: Tensor) -> None:
        rows = self.start.repeat(2, 1)
        try:
            self.gradients(
                self.layout.views(rows),
                inputs.expand(2, *inputs.shape),
                targets.expand(2, *targets.shape),
            )
        except Exception as error:
            raise ModelError(
                "torch.func cannot train many copies of this model at once; what depends on the "
                f"values of tensors must use torch.where and the like: {error}"
            ) from error

    def bytes_per_sample(self, inputs: Tensor, targets: Tensor) -> int:
        """Return about how many bytes a sample takes between the forward and the backward pass."""
        known = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        seen = []

        def note(saved: Tensor) -> Tensor:
            if saved.untyped_storage().data_ptr() not in known:
                seen.append(saved.numel() * saved.element_size())
            return saved

        with torch.enable_grad(), saved_tensors_hooks(note, lambda saved: saved):
            self.loss(self.model(inputs), targets)
        return math.ceil(sum(seen) / len(inputs))

    def _loss_of(self, views: Views, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self._outputs_of(views, inputs), targets)

    def _outputs_of(self, views: Views, inputs: Tensor) -> Tensor:
        parameters = dict(zip(self.layout.names, views, strict=True))
        return cast(Tensor, functional_call(self.model, parameters, (inputs,)))


def _random_states(inputs: Tensor) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(inputs.device)] if inputs.is_cuda else states


def _restore(states: list[Tensor], inputs: Tensor) -> None:
    torch.set_rng_state(states[0])
    if inputs.is_cuda:
        torch.cuda.set_rng_state(states[1], inputs.device)


def _check_kinds(model: object, loss: object) -> None:
    """Raise ``ModelError`` for what is no module with values, or no loss."""
    for name, value, example in (("model", model, "Net()"), ("loss", loss, "cross_entropy")):
        if isinstance(value, type) or not callable(value):
            found = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
            raise ModelError(f"{name} is {found}, allowed is an instance or function: {example}.")
    if not isinstance(model, nn.Module):
        raise ModelError(f"model is {model!r}, allowed is a torch.nn.Module.")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter) or parameter.is_meta:
            raise ModelError(
                f"parameter {name!r} has no values yet: call a lazy model once on a batch, and "
                "make a model of the device 'meta' on a real one."
            )


def _check_loss(value: Any) -> None:
    if not isinstance(value, Tensor) or value.ndim != 0 or not value.is_floating_point():
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ModelError(
            f"the loss of a batch is {found}, allowed is one float tensor without dimensions: the "
            'mean over the batch, as torch.nn.functional.cross_entropy (reduction="mean") gives.'
        )
    if not value.requires_grad:
        raise ModelError(
            "the loss does not depend on the trained parameters by autograd, so nothing would be "
            "learned: look for detach(), item(), numpy() or no_grad() in the model and the loss."
        )
