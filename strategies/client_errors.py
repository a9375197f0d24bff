"""What went wrong at a client, from Flower's error reply: one line, and what to do.

Flower hands on the text of an exception, in a simulation with the traces of two processes around
it. Only one line of that says what happened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flwr.app import Error
from flwr.common.constant import ErrorCode

from ..server_free.errors import ModError
from ..server_free.sparing import brief

__all__ = ["NO_MOD", "at_first_contact", "reason_of", "why_unevaluated"]

_MOST = 400
_WRAPPED = re.compile(r"<class '(?:[\w.]+\.)?(\w+)'>:<'(.*)'>", re.DOTALL)
_RAISED = re.compile(r"(?:[a-z_]\w*\.)*[A-Z]\w*(?::.*)?$")
_NO_EVALUATE = re.compile(r"No evaluate function registered|not implement `evaluate`")
_CAUSE = "\nThe above exception was the direct cause"

NO_MOD = (
    "Its ClientApp must be made with app = ClientApp(mods=[gossip_mod]) in client_app.py "
    "(from flwr_gossip.clients import gossip_mod), gossip_mod first."
)


def reason_of(error: Error) -> str:
    """Return why a client failed as one line."""
    text = error.reason or f"error code {error.code}"
    inner, trace, _ = text.partition(_CAUSE)
    if trace:  # of a client in another process: the exception comes behind the last frame
        lines = inner.splitlines()
        frame = max((n for n, line in enumerate(lines) if line.startswith('  File "')), default=-1)
        raised = [line for line in lines[frame + 1 :] if _RAISED.match(line)]
        text = raised[0] if raised else inner
    elif wrapped := _WRAPPED.fullmatch(text):
        text = f"{wrapped[1]}: {wrapped[2]}"
    return brief(" ".join(text.split()), _MOST)


def at_first_contact(node: str, error: Error) -> ModError:
    """Return what a node's owner has to do where the very first message came back as an error."""
    reason = reason_of(error)
    if error.code in (ErrorCode.LOAD_CLIENT_APP_EXCEPTION, ErrorCode.CLIENT_APP_CRASHED):
        return ModError(
            f"{node} could not start its ClientApp: {reason}. The log of its SuperNode says why; "
            "often a package is not installed there: pip install flwr-gossip."
        )
    advice = NO_MOD
    if "No train function registered" in reason:
        advice = "Its ClientApp needs a train function: write @app.train() above it."
    return ModError(f"{node} failed at first contact: {reason}. {advice}")


def why_unevaluated(reasons: Sequence[str]) -> str:
    """Return why no node gave metrics, from what went wrong at each; with nothing wrong, too."""
    if not reasons:
        return "no reply has metrics. Put a MetricRecord({...}) into what evaluate returns."
    if _NO_EVALUATE.search(reasons[0]):
        return (
            f"{reasons[0]}. Write an evaluate function with @app.evaluate() above it, or set "
            "fraction_evaluate=0."
        )
    return reasons[0]
