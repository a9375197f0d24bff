"""A function that runs again and again on the same shapes, as the flat list of its operations.

Going through ``torch.func`` costs 2 ms a call of a small network, whatever its arithmetic; what
it decides depends on the shapes alone. So calls of a shape that recurs are recorded once with
``make_fx``, and from then on the same operations run in the same order without those decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["Recorder"]

Function = Callable[..., Any]

_NEUTRAL = {
    torch.ops.aten.expand.default,
    torch.ops.aten.view.default,
    torch.ops.aten._unsafe_view.default,
}


class Recorder:
    """Calls a pure function of tensors, recording it for shapes that recur.

    Parameters
    ----------
    function : callable
        Depends on nothing but its arguments; draws no random numbers.
    after : int (default: 150)
        Calls of a shape before it is recorded; recording takes about as long as it saves in these.
    most : int (default: 16)
        Shapes that are recorded; further ones are called as they are.
    """

    def __init__(self, function: Function, after: int = 150, most: int = 16) -> None:
        self._function = function
        self._after = after
        self._most = most
        self._calls: dict[Hashable, int] = {}
        self._trials: dict[Hashable, Function] = {}
        self._programs: dict[Hashable, Function] = {}

    def __call__(self, key: Hashable, *arguments: Any) -> Any:
        """Return ``function(*arguments)``; ``key`` tells their shapes, strides and dtypes."""
        program = self._programs.get(key)
        if program is not None:
            return program(*arguments)
        result = self._function(*arguments)
        self._calls[key] = self._calls.get(key, 0) + 1
        if key in self._trials:
            trial = self._trials.pop(key)
            # What was recorded must also hold for other values than those it was recorded with.
            same = _equal(trial(*arguments), result)
            self._programs[key] = trial if same else self._function
        elif self._calls[key] >= self._after and len(self._programs) < self._most:
            self._trials[key] = _recorded(self._function, arguments)
        return result


def _equal(one: Any, other: Any) -> bool:
    """Return whether two results, tensors or tuples of them, have the same values."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.equal(other)
    return len(one) == len(other) and all(map(_equal, one, other))


def _recorded(function: Function, arguments: tuple[Any, ...]) -> Function:
    """Return the function's operations as a program, or the function where that cannot be."""
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        module = make_fx(lambda *given: function(*given))(*arguments)
    except Exception:  # whatever a user's model does that cannot be recorded still runs as it is
        return function
    for node in list(module.graph.nodes):
        if node.target in _NEUTRAL and _is_neutral(node):
            node.replace_all_uses_with(node.args[0])
    module.graph.eliminate_dead_code()
    module.recompile()
    return module.forward


def _is_neutral(node: fx.Node) -> bool:
    """Return whether a node gives back its argument, shape and strides."""
    source = node.args[0]
    before = source.meta.get("val") if isinstance(source, fx.Node) else None
    after = node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    return before.shape == after.shape and before.stride() == after.stride()
