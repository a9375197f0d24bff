"""Sending messages and collecting replies, without waiting for the dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

__all__ = ["exchange", "push"]

_FAST_S, _SLOW_S = 0.02, 0.5
"""Bounds of the pause between two looks for replies; it grows while nothing comes."""


def push(grid: Grid, messages: Sequence[Message]) -> dict[str, Message]:
    """Push the messages and return them by id; one that Flower refuses is left out."""
    accepted = set(grid.push_messages(messages)) if messages else set()
    return {m.metadata.message_id: m for m in messages if m.metadata.message_id in accepted}


def exchange(
    grid: Grid,
    messages: Sequence[Message],
    timeout_s: float,
    given_up: Callable[[Collection[Message]], bool] = lambda _: False,
    grace_s: float = 0.0,
    on_reply: Callable[[Message], None] = lambda _: None,
    on_refused: Callable[[Message], None] = lambda _: None,
) -> list[Message]:
    """Push the messages and return the replies that come in time, in order of arrival.

    Parameters
    ----------
    timeout_s : float
        Deadline for all of them.
    given_up : callable
        Whether nobody expects a reply to any of these messages any more (their nodes were
        reported dead by their neighbours, say); asked once a look, with all that are outstanding.
    grace_s : float
        How much longer to wait once that is so.
    on_reply : callable
        Called with each reply as it comes.
    on_refused : callable
        Called with each message that Flower does not take, as for a node that has left it.
    """
    outstanding = push(grid, messages)
    for message in messages:
        if message.metadata.message_id not in outstanding:
            on_refused(message)
    replies: list[Message] = []
    deadline = time.monotonic() + timeout_s
    all_given_up_at: float | None = None
    pause = _FAST_S
    while outstanding and time.monotonic() < deadline:
        fresh = list(grid.pull_messages(list(outstanding)))
        for reply in fresh:
            outstanding.pop(reply.metadata.reply_to_message_id, None)
            on_reply(reply)
        replies += fresh
        if not outstanding:
            break
        if given_up(outstanding.values()):
            all_given_up_at = all_given_up_at or time.monotonic()
            if time.monotonic() - all_given_up_at >= grace_s:
                break
        else:
            all_given_up_at = None
        pause = _FAST_S if fresh else min(_SLOW_S, pause * 1.3)
        time.sleep(pause)
    return replies
