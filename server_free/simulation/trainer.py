"""Local training of all active nodes, chunk by chunk, on one matrix of models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..counts import check_count
from ..errors import PlanError
from ..plans import VACANT, Plan
from ..schedules import check_seed
from .batched import BatchedModel
from .evaluation import Evaluator, consensus_distance
from .mixing_rows import Mixer
from .node_data import NodeData
from .optimizers import SGD, Momenta, NodeMomenta, SlotMomenta, select_rows, store_rows
from .records import Record
from .sampling import draw_batches
from .steps import Step
from .timeline import Timeline
from .usage import Usage, clocked

__all__ = ["Settings", "Trainer"]

Ints = NDArray[np.int64]
Views = tuple[Tensor, ...]

_CACHE_BYTES = 1 << 25
_UNIT = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What :func:`simulate` is told about a run, beside the optimizer; named as there."""

    num_rounds: int
    batch_size: int
    local_steps: int
    seed: int
    evaluate_every: int | None
    chunk_nodes: int | None
    momentum_travels: bool

    def __post_init__(self) -> None:
        counts = {"num_rounds": 0, "batch_size": 1, "local_steps": 1}
        counts |= {
            name: 1 for name in ("evaluate_every", "chunk_nodes") if getattr(self, name) is not None
        }
        for name, least in counts.items():
            object.__setattr__(self, name, check_count(name, getattr(self, name), least))
        object.__setattr__(self, "seed", check_seed(self.seed))
        if not isinstance(self.momentum_travels, bool):
            raise PlanError(
                f"momentum_travels is {self.momentum_travels!r}, allowed are True and False."
            )

    def evaluates(self, round: int) -> bool:
        """Return whether the mixed models are evaluated after this round."""
        every = self.evaluate_every or max(1, math.ceil(self.num_rounds / 10))
        return round == self.num_rounds or round % every == 0


class Trainer:
    """The state of a run: the slots' models before and after mixing, and their momenta."""

    def __init__(
        self,
        plan: Plan,
        model: BatchedModel,
        data: NodeData,
        optimizer: SGD,
        settings: Settings,
        timeline: Timeline | None = None,
    ) -> None:
        self.plan, self.model, self.data = plan, model, data
        self.optimizer, self.settings = optimizer, settings
        self.timeline, self.usage = timeline, Usage()
        self.mixer = Mixer(plan, model.layout.dtype, model.start.device)
        self._z = model.start.repeat(plan.num_slots, 1)  # all slots start from x0
        self._h = self._z.clone()
        self.slot_metrics: dict[str, NDArray[np.float64]] = {}  # of the latest evaluation
        self._most_samples = int(np.diff(data.starts).max())
        self._samples = 0
        self._round = 0
        self._is_mixed = True
        self._step: Step | None = None
        self._momenta = self._new_momenta()
        self._room = _room(self._z.device)
        self._bytes_per_sample = model.bytes_per_sample(data.inputs[:2], data.targets[:2])

    def run(self, round: int) -> Record:
        """Do one round of local training and return its record."""
        if self.timeline is None:
            z, nodes = self.mixed(), self.mixer.active(round)
        else:
            z, nodes = self._begun(self.timeline.play(round))
        vacant = np.flatnonzero(nodes == VACANT)
        if len(vacant) and round > 1:
            rows = torch.from_numpy(vacant).to(z.device)
            z[rows] = self._h[rows]  # a slot without a holder keeps its h
        rate = self.optimizer.rate(round)
        losses = []
        for slots, drawn in self._chunks(nodes, round):
            losses.append(self._train(z, slots, nodes[slots], drawn, rate))
            self._samples += drawn.size
        self._h, self._z = z, self._h
        self._round, self._is_mixed = round, False
        return {
            "round": round,
            "epoch": self._samples / len(self.data.indices),
            "learning_rate": rate,
            "active": len(nodes) - len(vacant),
            "train_loss": torch.cat(losses).mean().item() if losses else math.nan,
            **self._traffic(round),
        }

    def _traffic(self, round: int) -> Record:
        """Return what went over the wire: as it was on the clock, or what the plan asks for."""
        if self._step is not None:
            return clocked(self._step)
        transfers = self.mixer.transfers(round)
        return {"transfers": transfers, "bytes": transfers * self.model.layout.num_bytes}

    def _begun(self, step: Step) -> tuple[Tensor, Ints]:
        """Return the mixed models of a round on the clock, and who trains them."""
        self._step = step
        self.usage.add(step)
        self.mixer.plan = step.plan
        if self._round:
            self.mixer.mix(self._h, self._round, self._z, step.missing)
        return self._z, np.array(step.active, dtype=np.int64)

    def mixed(self) -> Tensor:
        """Return the mixed models after the latest round, (k, width)."""
        if self._step is not None:  # what will be lost on the way to the next round is not known
            z = self._z.clone()
            self.mixer.mix(self._h, self._round, z, self._step.absent_rows)
            return z
        if not self._is_mixed:
            self.mixer.mix(self._h, self._round, self._z)
            self._is_mixed = True
        return self._z

    def evaluate(self, evaluator: Evaluator | None) -> Record:
        """Return what is known of the mixed models after the latest round."""
        z = self.mixed()
        record = {"consensus_distance": consensus_distance(z)}
        if evaluator is None:
            return record
        self.slot_metrics = evaluator.slots(z)
        return record | evaluator.record(z, self.slot_metrics)

    def _train(self, z: Tensor, slots: Ints, nodes: Ints, drawn: Ints, rate: float) -> Tensor:
        """Take the local steps of some slots in place; return their mean losses, float64.

        ``drawn`` is (local steps, slots, batch): positions in each node's own data.
        """
        rows = select_rows(z, slots)
        views = self.model.layout.views(rows)
        buffers = self._momenta.rows(slots, nodes) if self._momenta else None
        velocities = None if buffers is None else self.model.layout.views(buffers)
        losses = []
        for positions in drawn:
            inputs, targets = self.data.batch(nodes, positions)
            gradients, values = self._gradients(nodes, views, inputs, targets)
            self.optimizer.step(views, gradients, velocities, rate)
            losses.append(values.detach().double())
        store_rows(z, slots, rows)
        if self._momenta and buffers is not None:
            self._momenta.keep(slots, nodes, buffers)
        return torch.stack(losses).mean(dim=0)

    def _gradients(
        self, nodes: Ints, views: Views, inputs: Tensor, targets: Tensor
    ) -> tuple[Views, Tensor]:
        try:
            return self.model.gradients(views, inputs, targets)
        except Exception as error:
            if not isinstance(error, torch.cuda.OutOfMemoryError):
                self.model.check_batches(nodes, inputs, targets)  # names the node
            raise

    def _chunks(self, nodes: Ints, round: int) -> Iterator[tuple[Ints, Ints]]:
        """Yield slots that have a holder, and their samples, batches of one size at a time."""
        held = np.flatnonzero(nodes != VACANT)
        sizes = self.data.sizes(nodes[held])
        counts = np.minimum(sizes, min(self.settings.batch_size, self._most_samples))
        for count in map(int, np.unique(counts)):
            chosen = counts == count
            slots = held[chosen]
            drawn = draw_batches(
                self.settings.seed,
                round,
                self.settings.local_steps,
                nodes[slots],
                sizes[chosen],
                count,
            )
            for chunk in _cut(len(slots), self._chunk_size(count)):
                yield slots[chunk], drawn[:, chunk]

    def _chunk_size(self, count: int) -> int:
        """Return how many slots are trained at once, with so many samples each."""
        if self.settings.chunk_nodes is not None:
            return self.settings.chunk_nodes
        model_and_gradient = 2 * self._z.shape[1] * self._z.element_size()
        return max(1, self._room // (model_and_gradient + count * self._bytes_per_sample))

    def _new_momenta(self) -> Momenta | None:
        if not self.optimizer.momentum:
            return None
        if self.settings.momentum_travels:
            return SlotMomenta(self.plan.num_slots, self._z)
        return NodeMomenta(self.plan.num_nodes, self._z)


def _cut(length: int, wanted: int) -> Iterator[slice]:
    """Yield consecutive parts of about ``wanted``, by which results do not change.

    What a kernel makes of a slot can depend on its place modulo 16 (64 bytes of float32) and on
    the number of slots where that is no multiple of 16. So parts are multiples of 16, but for the
    last, which is the same whatever is wanted.
    """
    rest = length % _UNIT
    even = length if rest == 0 else max(0, length - _UNIT - rest)
    parts = math.ceil(even / (max(wanted // _UNIT, 1) * _UNIT))
    step = math.ceil(even / max(parts, 1) / _UNIT) * _UNIT  # as even as units allow
    for first in range(0, even, max(step, 1)):
        yield slice(first, min(first + step, even))
    if rest:
        yield slice(even, length)


def _room(device: torch.device) -> int:
    """Return the bytes that a chunk may take: what a shared cache holds, or much of a GPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return _CACHE_BYTES
