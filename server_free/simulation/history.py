"""What a vectorized training returns."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import PlanError
from ..plans import Plan
from .layout import Layout
from .records import Record, write_jsonl
from .run_record import RunRecord, simulated_config
from .usage import NodeUsage

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

__all__ = ["SimulationResult"]


@dataclass(frozen=True, slots=True, eq=False)
class SimulationResult:
    """The history and the models of a training.

    Attributes
    ----------
    history : list of dict
        One record a round: ``round``, ``epoch`` (samples that all nodes have used so far, over
        the samples that they have), ``learning_rate``, ``active`` (nodes that trained),
        ``train_loss`` (mean over them and their local steps, each before its step),
        ``transfers`` (models that went from node to node after the round) and ``bytes`` (of
        these). With a network ``seconds`` (simulated, since the start, when the last slot of the
        round was done), ``median_seconds``, ``bytes`` (sent for this round's mixing),
        ``missing`` (models that did not arrive) and ``offline`` (nodes). Evaluation rounds also
        have ``consensus_distance``, exact, and with test data ``test_NAME``, ``test_NAME_min``,
        ``test_NAME_max`` (over the slots) and ``served_NAME`` (of the mean model) for each metric.
    models : (k, d) tensor
        The slots' mixed models after the last round; columns as ``layout`` says.
    layout : Layout
        Names and shapes of the trained parameters, in the order of the columns.
    plan : Plan
        Schedule, topology and live lists: enough to recompute the run.
    diverged_at : int or None
        The round in which a loss or a model stopped being finite; the training ended there.
    nodes : dict of int to NodeUsage
        With a network: what each node that took part did, in simulated seconds and bytes.
    slot_metrics : dict of str to (k,) float64
        With test data: each metric of each slot's model at the last evaluation. In Gossip there
        is a slot for each node, slot i being that of node i.
    """

    history: list[Record]
    models: Tensor
    layout: Layout
    plan: Plan
    diverged_at: int | None
    module: nn.Module = field(repr=False)
    nodes: dict[int, NodeUsage] = field(default_factory=dict)
    slot_metrics: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line on how far the training came."""
        last = {name: f"{v:.6g}" for record in self.history[-1:] for name, v in record.items()}
        shape = tuple(self.models.shape)
        return f"SimulationResult(models={shape}, diverged_at={self.diverged_at}, last={last})"

    def state_dict(self, slot: int) -> dict[str, Tensor]:
        """Return a slot's model for ``load_state_dict``, with buffers and untrained parameters."""
        if not 0 <= slot < len(self.models):
            raise PlanError(f"slot is {slot}, allowed is 0..{len(self.models) - 1}.")
        return self._state_dict(self.models[slot])

    def mean_state_dict(self) -> dict[str, Tensor]:
        """Return the mean of the slots' models, the one to serve, for ``load_state_dict``."""
        return self._state_dict(self.models.mean(dim=0))

    def mean_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the mean of the slots' models as numpy arrays, by the names of the state dict."""
        return {name: value.cpu().numpy() for name, value in self.mean_state_dict().items()}

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the record of this run, in the form that runs of all runtimes leave behind.

        Returns the folder, whose name got a number where another run was: ``read_run`` and
        ``flwr-gossip watch`` take it. Raises ``RunError`` where it cannot be written in.
        """
        with RunRecord(simulated_config(self.plan, self.layout), folder) as run:
            for record in self.history:
                run.take(record)
            run.finish(self.plan, self.mean_arrays, self.diverged_at)
            return run.path or Path(folder)

    def to_pandas(self) -> pd.DataFrame:
        """Return the history as a table, one row a round; NaN where nothing was evaluated."""
        return _pandas("to_pandas").DataFrame(self.history)

    def nodes_to_pandas(self) -> pd.DataFrame:
        """Return what each of the n nodes did, one row a node; zeros for one that never took part.

        The columns are those of :class:`NodeUsage`, the index is the node. Raises ``PlanError``
        where the training had no network.
        """
        if not self.nodes:
            raise PlanError(
                "nodes is empty: what each node did is known with a network only; call "
                "simulate(..., network=Network.lan()) or another Network."
            )
        idle = NodeUsage()
        rows = [asdict(self.nodes.get(node, idle)) for node in range(self.plan.num_nodes)]
        table = _pandas("nodes_to_pandas").DataFrame(rows)
        table.index.name = "node"
        return table

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON object a round; values that are not finite become null.

        The file appears whole or not at all, else ``PlanError`` says why. :func:`read_jsonl`
        returns the history again.
        """
        write_jsonl(self.history, path)

    def _state_dict(self, row: Tensor) -> dict[str, Tensor]:
        trained = self.layout.unpacked(row)
        parameters = dict(self.module.named_parameters())
        names = {id(parameters[name]): name for name in self.layout.names}
        # Tied parameters have two names in a state dict, and one in the layout.
        return {
            key: (trained[names[id(value)]] if id(value) in names else value).detach().clone()
            for key, value in self.module.state_dict(keep_vars=True).items()
        }


def _pandas(method: str) -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{method} needs pandas: pip install pandas") from error
    return pandas
