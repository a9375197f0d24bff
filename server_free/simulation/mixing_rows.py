"""Mixing and traffic of a round for all slots at once: ``Z = W_t H`` as a sparse product."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..plans import VACANT, Plan

__all__ = ["Exchange", "Mixer"]

Ints = NDArray[np.int64]
Row = tuple[int, int, int]
"""(reader's slot, round, slot): a model that a slot's mixing had to do without."""


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """W of a round with the slots that have no holder masked, and its terms.

    Parameters
    ----------
    matrix : (k, k) sparse CSR tensor
        Rows sum to 1; a row is empty where nobody holds any of its slots.
    empty : (e,) int64
        The empty rows, which keep the h of the round before.
    receivers, senders : (terms,) int64
        The slots of each term, as :meth:`Plan.row` lists them.
    """

    matrix: Tensor
    empty: Ints
    receivers: Ints
    senders: Ints


class Mixer:
    """Computes mixed models and counts transfers; keeps the exchanges of recent phases."""

    _KEPT = 64

    def __init__(self, plan: Plan, dtype: torch.dtype, device: torch.device) -> None:
        self.plan = plan
        self._dtype = dtype
        self._device = device
        self._exchanges: dict[tuple[int, bytes, frozenset[tuple[int, int]]], Exchange] = {}
        self._latest: tuple[tuple[int, ...], Ints] | None = None

    def active(self, round: int) -> Ints:
        """Return A_t as an array, slot -> node."""
        nodes = self.plan.active(round)
        if self._latest is None or self._latest[0] is not nodes:
            self._latest = (nodes, np.array(nodes, dtype=np.int64))
        return self._latest[1]

    def mix(self, h: Tensor, round: int, out: Tensor, missing: Collection[Row] = ()) -> None:
        """Write ``z = sum_r W_t[s, r] h_t[r]`` of all slots into ``out``, (k, width).

        ``out`` holds h of the round before, which a slot keeps whose whole row is gone. The terms
        named in ``missing`` are left out, and the rest of their rows renormalised.
        """
        exchange = self.exchange(round, missing)
        rows = torch.from_numpy(exchange.empty).to(h.device)
        kept = out[rows]
        torch.addmm(out, exchange.matrix, h, beta=0, out=out)
        out[rows] = kept

    def transfers(self, round: int) -> int:
        """Return how many models go from node to node so that the next holders have z.

        After the last round each slot's holder mixes for itself.
        """
        exchange, before = self.exchange(round), self.active(round)
        after = self.active(round + 1) if round < self.plan.num_rounds else before
        receivers, senders = after[exchange.receivers], before[exchange.senders]
        return int(np.count_nonzero((receivers != senders) & (receivers != VACANT)))

    def exchange(self, round: int, missing: Collection[Row] = ()) -> Exchange:
        """Return the exchange after a round, from memory where phase and losses recur."""
        vacant = self.active(round) == VACANT
        topology = self.plan.topology
        lost = frozenset((reader, slot) for reader, when, slot in missing if when == round)
        key = (topology.phase(round), vacant.tobytes() if vacant.any() else b"", lost)
        if key not in self._exchanges:
            if len(self._exchanges) >= self._KEPT:
                self._exchanges.pop(next(iter(self._exchanges)))
            self._exchanges[key] = self._made(round, vacant, lost)
        return self._exchanges[key]

    def _made(
        self, round: int, vacant: NDArray[np.bool_], lost: Collection[tuple[int, int]]
    ) -> Exchange:
        receivers, senders, weights = _terms(self.plan, round)
        if vacant.any() or lost:
            held = ~vacant[senders]
            if lost:
                pairs = zip(receivers.tolist(), senders.tolist(), strict=True)
                held &= np.array([pair not in lost for pair in pairs])
            receivers, senders, weights = receivers[held], senders[held], weights[held]
            weights = _renormalized(receivers, weights, len(vacant))
        counts = np.bincount(receivers, minlength=len(vacant))
        matrix = _csr(counts, senders, weights, self._dtype).to(self._device)
        return Exchange(matrix, np.flatnonzero(counts == 0), receivers, senders)


def _terms(plan: Plan, round: int) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Return (receiver, sender, weight) of all terms by row; the own slot is always one."""
    rows = [{slot: 0.0} | plan.topology.weights(slot, round) for slot in range(plan.num_slots)]
    lengths = [len(row) for row in rows]
    receivers = np.repeat(np.arange(len(rows)), lengths)
    senders = np.fromiter((s for row in rows for s in sorted(row)), np.int64, sum(lengths))
    weights = np.fromiter((row[s] for row in rows for s in sorted(row)), float, sum(lengths))
    return receivers, senders, weights


def _renormalized(
    receivers: Ints, weights: NDArray[np.float64], num_slots: int
) -> NDArray[np.float64]:
    """Return the weights divided by their row's sum; equal ones where that is 0."""
    sums = np.bincount(receivers, weights, minlength=num_slots)
    counts = np.bincount(receivers, minlength=num_slots)
    lost = sums[receivers] <= 0.0
    return np.where(lost, 1.0 / counts[receivers], weights / np.where(lost, 1.0, sums[receivers]))


def _csr(counts: Ints, senders: Ints, weights: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "CSR support is in beta state"
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts),
            torch.from_numpy(senders.astype(np.int32)),
            torch.from_numpy(weights).to(dtype),
            size=(len(counts), len(counts)),
            check_invariants=False,
        )
