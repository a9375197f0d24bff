"""Sending and collecting, with a grid that answers when it is told to."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytest
from flwr.app import Message, RecordDict

from apps import quadratic_app
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies.exchange import exchange, push


class SlowGrid(InProcessGrid):
    """Node i answers after ``after[i]`` seconds, with None never; refuses ``refused`` nodes."""

    def __init__(self, after: dict[int, float | None], refused: Iterable[int] = ()) -> None:
        super().__init__(quadratic_app(), 8)
        self.after = after
        self.refused = set(refused)
        self.sent: dict[str, tuple[Message, float]] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            if message.metadata.dst_node_id in self.refused:
                continue
            identifier = f"m{len(self.sent)}"
            message.metadata.__dict__["_message_id"] = identifier
            self.sent[identifier] = (message, time.monotonic())
            yield identifier

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for identifier in message_ids:
            message, at = self.sent[identifier]
            wait = self.after[message.metadata.dst_node_id]
            if wait is not None and time.monotonic() >= at + wait:
                yield Message(RecordDict(), reply_to=message)


@pytest.fixture
def grid() -> Iterator[SlowGrid]:
    with SlowGrid({}) as opened:
        yield opened


def messages(*nodes: int) -> list[Message]:
    return [Message(RecordDict(), node, "train") for node in nodes]


def sources(replies: list[Message]) -> list[int]:
    return [reply.metadata.src_node_id for reply in replies]


def is_node_2(outstanding: Collection[Message]) -> bool:
    return all(message.metadata.dst_node_id == 2 for message in outstanding)


def test_replies_come_in_the_order_of_arrival(grid: SlowGrid) -> None:
    grid.after = {1: 0.3, 2: 0.0, 3: 0.1}
    seen: list[int] = []
    replies = exchange(
        grid, messages(1, 2, 3), 10.0, on_reply=lambda r: seen.append(r.metadata.src_node_id)
    )
    assert sources(replies) == seen == [2, 3, 1]


def test_it_ends_when_all_have_answered(grid: SlowGrid) -> None:
    grid.after = {1: 0.0}
    began = time.monotonic()
    exchange(grid, messages(1), 60.0)
    assert time.monotonic() - began < 5.0


def test_the_timeout_ends_it(grid: SlowGrid) -> None:
    grid.after = {1: 0.0, 2: None}
    assert sources(exchange(grid, messages(1, 2), 0.3)) == [1]


def test_who_is_given_up_gets_the_grace_time_only(grid: SlowGrid) -> None:
    grid.after = {1: 0.0, 2: None}
    began = time.monotonic()
    replies = exchange(
        grid,
        messages(1, 2),
        60.0,
        given_up=is_node_2,
        grace_s=0.3,
    )
    assert sources(replies) == [1]
    assert 0.3 <= time.monotonic() - began < 10.0


def test_who_is_given_up_may_still_answer_in_the_grace_time(grid: SlowGrid) -> None:
    grid.after = {1: 0.0, 2: 0.2}
    replies = exchange(grid, messages(1, 2), 60.0, given_up=is_node_2, grace_s=5.0)
    assert sources(replies) == [1, 2]


def test_the_others_are_waited_for_though_one_is_given_up(grid: SlowGrid) -> None:
    grid.after = {1: 0.6, 2: None}
    replies = exchange(grid, messages(1, 2), 60.0, given_up=is_node_2, grace_s=0.1)
    assert sources(replies) == [1]


def test_nothing_to_send(grid: SlowGrid) -> None:
    assert exchange(grid, [], 60.0) == []
    assert push(grid, []) == {}


def test_a_message_that_flower_refuses_is_not_waited_for(grid: SlowGrid) -> None:
    grid.after, grid.refused = {1: 0.0}, {2}
    told: list[int] = []
    replies = exchange(
        grid, messages(1, 2), 60.0, on_refused=lambda m: told.append(m.metadata.dst_node_id)
    )
    assert (sources(replies), told) == ([1], [2])


def test_pushed_messages_are_known_by_their_id(grid: SlowGrid) -> None:
    batch: list[Any] = messages(1, 2)
    assert push(grid, batch) == {"m0": batch[0], "m1": batch[1]}
