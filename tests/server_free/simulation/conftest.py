"""A small classification problem in float64, and what plain per-node torch makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.plans import Plan
from reference import dense


@dataclass(frozen=True)
class Problem:
    """A model, its loss and the data of n nodes."""

    model: Any
    loss: Callable[[Any, Any], Any]
    data: list[tuple[Any, Any]]

    @property
    def x0(self) -> np.ndarray:
        """The model's parameters, (d,) float64."""
        return np.concatenate([p.detach().double().numpy().ravel() for p in self.parameters])

    @property
    def parameters(self) -> list[Any]:
        """The model's parameters in order."""
        return list(self.model.parameters())

    def load(self, vector: np.ndarray) -> None:
        """Set the model's parameters."""
        import torch

        torch.nn.utils.vector_to_parameters(torch.from_numpy(vector), self.parameters)

    def reference(
        self,
        plan: Plan,
        *,
        learning_rate: float | Callable[[int], float],
        local_steps: int = 1,
        momentum: float = 0.0,
        momentum_travels: bool = True,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        seed: int = 0,
    ) -> np.ndarray:
        """Return the mixed models after the last round, by torch.optim.SGD, a node at a time."""
        import torch

        rates = learning_rate if callable(learning_rate) else lambda _: learning_rate
        states: dict[Any, Any] = {}

        def train(z: np.ndarray, node: int, round: int) -> np.ndarray:
            self.load(z)
            sgd = torch.optim.SGD(
                self.parameters, rates(round), momentum=momentum, weight_decay=weight_decay
            )
            owner = plan.slot(node, round) if momentum_travels else node
            groups = {"param_groups": sgd.state_dict()["param_groups"]}
            sgd.load_state_dict(states.get(owner, sgd.state_dict()) | groups)
            for positions in self.positions(node, round, local_steps, batch_size, seed):
                inputs, targets = (
                    values[torch.from_numpy(positions)] for values in self.data[node]
                )
                sgd.zero_grad()
                self.loss(self.model(inputs), targets).backward()
                sgd.step()
            states[owner] = sgd.state_dict()
            return torch.nn.utils.parameters_to_vector(self.parameters).detach().numpy()

        x0 = self.x0
        try:
            return dense(plan, x0, train, plan.num_rounds)
        finally:
            self.load(x0)

    def positions(self, node: int, round: int, steps: int, batch_size: int, seed: int) -> Any:
        """Return the samples of one node's batches, (steps, batch)."""
        from flwr_gossip.server_free.simulation.sampling import draw_batches

        size = len(self.data[node][0])
        count = min(batch_size, size)
        return draw_batches(seed, round, steps, np.array([node]), np.array([size]), count)[:, 0]


@pytest.fixture
def make_problem() -> Callable[[list[int]], Problem]:
    """Return a maker of problems: one number of samples a node."""
    torch = pytest.importorskip("torch")

    def make(sizes: list[int]) -> Problem:
        draw = torch.Generator().manual_seed(7)
        layers = [torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)]
        model = torch.nn.Sequential(*layers).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw) / 2)
        data = [
            (
                torch.randn(size, 5, generator=draw, dtype=torch.float64),
                torch.randint(0, 3, (size,), generator=draw),
            )
            for size in sizes
        ]
        return Problem(model, torch.nn.functional.cross_entropy, data)

    return make
