"""The learning task: a small torch model, a few steps of SGD, and a test of the model.

Nothing here knows about Flower or about who talks to whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Net(nn.Module):
    """A network with one hidden layer: 64 pixels to 10 digits, 19210 parameters."""

    def __init__(self, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, hidden)
        self.output = nn.Linear(hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return (batch, 10) logits of (batch, 64) images with pixels from 0 to 1."""
        logits: Tensor = self.output(functional.relu(self.hidden(images)))
        return logits


@dataclass(frozen=True, slots=True)
class Examples:
    """Images, (m, 64) float32 from 0 to 1, and their labels, (m,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray | slice) -> Examples:
        return Examples(self.images[index], self.labels[index])


@dataclass(frozen=True, slots=True)
class NodeData:
    """What one node has: its own training and test data, and the test set common to all nodes."""

    train: Examples
    own_test: Examples
    common_test: Examples

    def to_tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, to be kept somewhere."""
        parts = {"train": self.train, "own": self.own_test, "common": self.common_test}
        return {
            f"{name}.{kind}": tensor
            for name, part in parts.items()
            for kind, tensor in (("images", part.images), ("labels", part.labels))
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> NodeData:
        """Return what `to_tensors` was called on."""
        names = ("train", "own", "common")
        return cls(*(Examples(tensors[f"{n}.images"], tensors[f"{n}.labels"]) for n in names))


def train(
    net: nn.Module,
    examples: Examples,
    *,
    learning_rate: float,
    batch_size: int,
    steps: int,
    rng: np.random.Generator,
) -> float:
    """Take ``steps`` steps of plain SGD on random batches; return the mean training loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    net.train()
    losses = []
    for _ in range(steps):
        batch = examples[rng.permutation(len(examples))[:batch_size]]
        loss = functional.cross_entropy(net(batch.images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@torch.no_grad()
def evaluate(net: nn.Module, examples: Examples) -> tuple[float, float]:
    """Return the mean loss and the accuracy, from 0 to 1."""
    net.eval()
    logits = net(examples.images)
    loss = functional.cross_entropy(logits, examples.labels).item()
    return loss, (logits.argmax(dim=1) == examples.labels).float().mean().item()
