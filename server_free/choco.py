"""CHOCO: coded differences with error feedback, for Gossip over a fixed topology.

A. Koloskova, S. U. Stich, M. Jaggi, "Decentralized Stochastic Optimization and Gossip Algorithms
with Compressed Communication", ICML 2019, arXiv:1902.00340, Algorithm 2 (in the order in which the
public copies are brought up to date before they are mixed). With H the half-step models, X the
public copies that every reader has, and Q the codec::

    X <- X + Q(H - X);   Z = H + gamma (W - I) X

What Q cuts off stays in H - X and is sent later, so the nodes agree exactly in the end, and the
mean of the models is that of H. The consensus step size gamma is 1, as the codecs here are fine
enough for it: with an exact Q a round is then W H, that of Gossip. Copies start at the initial
arrays. ("Exactly" is to float tolerance; with fp16, which has no numbers below 2^-25, to 1e-7.)

A reader that missed a difference cannot read the next one; the model counts as missing until a
whole copy comes. Those go out after every ``WHOLE_EVERY`` rounds and with the last round of each
segment, where new processes begin without copies. They are the copies that readers have already:
when whole ones are sent changes no number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .coding.coded import NoBase, coded, decoded, is_coded
from .coding.numbers import Numbers
from .models import Model

Array = NDArray[np.generic]

__all__ = ["WHOLE_EVERY", "Copies", "with_residual"]

WHOLE_EVERY = 64
"""Rounds; a whole float32 copy in so many adds 6 % to the bytes of block-int8."""


class Copies:
    """The public copies that one node has, its own included: a :class:`.coding.Coder`.

    Parameters
    ----------
    how : Numbers
        The codec Q of the differences; numbers are rounded to nearest.
    initial : callable
        Returns the initial arrays, the copy of every slot before round 1.
    """

    def __init__(self, how: Numbers, initial: Callable[[], Model]) -> None:
        self._how, self._initial = how, initial
        self._start: Model | None = None
        self._held: dict[int, tuple[int, Model]] = {}  # slot -> round and copy

    def write(self, slot: int, round: int, h: Model, *, whole: bool) -> tuple[Model, Model]:
        """Return the difference to the own copy (or, ``whole``, the new copy) and the new copy."""
        base = self._before(slot, round)
        if base is None:  # of a slot without a copy: all begin anew from the exact h
            self._held[slot] = (round, h)
            return h, h
        message = coded(h, self._how, base=base)
        copy = decoded(message, base)
        self._held[slot] = (round, copy)
        return (copy if whole or round % WHOLE_EVERY == 0 else message), copy

    def read(self, slot: int, round: int, message: Model) -> Model:
        """Return the slot's copy after ``round``; raises ``NoBase`` without the one before."""
        if is_coded(message):
            base = self._before(slot, round)
            if base is None:
                raise NoBase(
                    f"a difference came for slot {slot} in round {round}, and its model of round "
                    f"{round - 1} is not here; the next whole one is waited for"
                )
            message = decoded(message, base)
        if round >= self._held.get(slot, (0, message))[0]:
            self._held[slot] = (round, message)
        return message

    def _before(self, slot: int, round: int) -> Model | None:
        """Return the copy of the round before, if it is here."""
        if round == 1:
            self._start = self._initial() if self._start is None else self._start
            return self._start
        held = self._held.get(slot)
        return held[1] if held is not None and held[0] == round - 1 else None


def with_residual(mixed: Model, h: Model, copy: Model) -> dict[str, Array]:
    """Return Z = W X + (H - X) of one slot: ``mixed`` is its row of W X.

    Floating tensors in their own dtype, computed in float32 at least; others are those of ``h``.
    """
    return {name: _corrected(mixed, h, copy, name) for name in mixed}


def _corrected(mixed: Model, h: Model, copy: Model, name: str) -> Array:
    array = mixed[name]
    if name not in h or name not in copy or h[name].shape != copy[name].shape:
        return array
    if array.dtype.kind != "f":
        return h[name].copy()
    wide = np.result_type(array.dtype, np.float32)
    residual = np.subtract(h[name], copy[name], dtype=wide)
    return np.asarray(np.add(array, residual, dtype=wide)).astype(array.dtype, copy=False)
