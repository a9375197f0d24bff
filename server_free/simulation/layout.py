"""One model a row: how parameters lie in a (k, width) matrix, and the views that show them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ModelError

__all__ = ["Layout"]

_ALIGNMENT = 64  # bytes: one cache line, and the widest vector instructions


@dataclass(frozen=True, slots=True)
class Layout:
    """Names, shapes and places of the trained parameters in a row.

    Every parameter begins at a multiple of 64 bytes, so that a slot's arithmetic does not depend
    on where its row lies; the gaps hold zeros.

    Parameters
    ----------
    names : tuple of str
        As ``named_parameters`` gives them, tied ones once.
    shapes : tuple of torch.Size
    offsets : tuple of int
        First column of each parameter.
    width : int
        Columns of the matrix, gaps included.
    dtype : torch.dtype
        float32 or float64.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    offsets: tuple[int, ...]
    width: int
    dtype: torch.dtype

    @staticmethod
    def of(model: nn.Module) -> Layout:
        """Return the layout of a model's trained parameters (``requires_grad``)."""
        trained = trained_parameters(model)
        dtype = next(iter(trained.values())).dtype
        step = _ALIGNMENT // dtype.itemsize
        offsets, width = [], 0
        for parameter in trained.values():
            offsets.append(width)
            width += -(-parameter.numel() // step) * step
        shapes = tuple(parameter.shape for parameter in trained.values())
        return Layout(tuple(trained), shapes, tuple(offsets), width, dtype)

    @property
    def size(self) -> int:
        """Number of trained parameters d."""
        return sum(shape.numel() for shape in self.shapes)

    @property
    def num_bytes(self) -> int:
        """Bytes of one model."""
        return self.size * self.dtype.itemsize

    def views(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return each parameter of all rows, (c, *shape), sharing memory with ``rows``."""
        return tuple(
            rows[:, offset : offset + shape.numel()].view(len(rows), *shape)
            for offset, shape in zip(self.offsets, self.shapes, strict=True)
        )

    def row_of(self, model: nn.Module) -> Tensor:
        """Return a model's trained parameters as one row, (width,)."""
        trained = trained_parameters(model)
        row = torch.zeros(
            1, self.width, dtype=self.dtype, device=next(iter(trained.values())).device
        )
        for view, parameter in zip(self.views(row), trained.values(), strict=True):
            view[0].copy_(parameter.detach())
        return row[0]

    def compact(self, rows: Tensor) -> Tensor:
        """Return the rows without the gaps, (c, d)."""
        if self.size == self.width:
            return rows
        return torch.cat([view.reshape(len(rows), -1) for view in self.views(rows)], dim=1)

    def unpacked(self, row: Tensor) -> dict[str, Tensor]:
        """Return name -> parameter, sharing memory with one compact row, (d,)."""
        parts = torch.split(row, [shape.numel() for shape in self.shapes])
        return {
            name: part.view(shape)
            for name, shape, part in zip(self.names, self.shapes, parts, strict=True)
        }


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return name -> parameter of all that require a gradient; ``ModelError`` if that cannot be."""
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if not parameter.is_floating_point():
            raise ModelError(
                f"parameter {name!r} is {parameter.dtype}, allowed are float32 and float64: "
                "register what is not trained as a buffer."
            )
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    if not trained:
        raise ModelError(
            f"the model has {len(parameters)} parameters, of which none requires a gradient; "
            "there must be at least one to train."
        )
    dtypes = {parameter.dtype for parameter in trained.values()}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        found = ", ".join(sorted(map(str, dtypes)))
        raise ModelError(
            f"the model's parameters are {found}; allowed is float32 or float64, one for all: "
            "use model.float() or model.double()."
        )
    return trained
