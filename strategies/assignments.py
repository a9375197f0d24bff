"""What a user asked ``start`` for, checked, and what there is of it already."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid

from ..server_free.errors import ModelError, PlanError
from ..server_free.models import check_dtypes, check_finite
from .attendance import Attendance
from .checkpoints import Checkpoint, Saved
from .pairs import Pairs
from .recording import Recording
from .resuming import return_of
from .roster import assemble
from .settings import Settings

__all__ = ["Assignment", "EvaluateFn", "check_arguments"]

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]

_OF_A_GRID = ("get_node_ids", "push_messages", "pull_messages")
"""What is asked of a grid: one that is wrapped in something else has it too."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a user asked ``start`` for."""

    initial: ArrayRecord
    num_rounds: int
    timeout_s: float
    train: ConfigRecord
    evaluate: ConfigRecord
    evaluate_fn: EvaluateFn | None
    recording: Recording
    checkpoint: Checkpoint | None = None

    @property
    def saved(self) -> Saved | None:
        """What there is of an earlier run that goes on."""
        return self.checkpoint.saved if self.checkpoint else None

    @property
    def store(self) -> Path | None:
        """Where a peer in the ServerApp's hands keeps its models."""
        return self.checkpoint.folder / "peer" if self.checkpoint else None

    def attendance(self, grid: Grid, settings: Settings) -> Attendance:
        """Return who takes part, once they are there."""
        if self.checkpoint and self.saved:
            return return_of(grid, self.checkpoint, self.saved, settings)
        members = assemble(grid, settings.min_available_nodes, settings.join_timeout)
        return Attendance(grid, members, Pairs(settings.unreachable))


def check_arguments(
    grid: object, initial: object, timeout: object, **configs: ConfigRecord | None
) -> None:
    """Raise ``PlanError`` or ``ModelError`` for what no run can begin with."""
    if not all(callable(getattr(grid, name, None)) for name in _OF_A_GRID):
        raise PlanError(
            f"grid is {_kind(grid)}, allowed is the Grid that @app.main() was given: "
            "strategy.start(grid=grid, initial_arrays=...)."
        )
    if not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise PlanError(f"timeout is {timeout!r}, allowed is a number of seconds above 0.")
    for name, config in configs.items():
        if not isinstance(config, ConfigRecord | None):
            raise PlanError(f"{name} is {_kind(config)}, allowed is ConfigRecord({{...}}).")
    if not isinstance(initial, ArrayRecord):
        raise ModelError(
            f"initial_arrays is {_kind(initial)}, allowed is an ArrayRecord: "
            "ArrayRecord(model.state_dict()), or ArrayRecord([...]) of numpy arrays."
        )
    if not initial:
        raise ModelError("initial_arrays is empty; give ArrayRecord(model.state_dict()).")
    model = {name: array.numpy() for name, array in initial.items()}
    check_dtypes(model, "initial_arrays")
    check_finite(model, "initial_arrays")


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
