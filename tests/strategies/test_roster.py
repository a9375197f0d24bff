"""Who takes part, in which order."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from apps import quadratic_app
from flwr_gossip.server_free.errors import GossipError, ModError, RosterError
from flwr_gossip.server_free.orders import Introduction
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies.roster import Member, assemble, hello, introduction, ordered


def member(node_id: int, partition: int = -1, name: str = "", **fields: Any) -> Member:
    values: dict[str, Any] = {
        "num_partitions": -1,
        "peer": "",
        "host": "here",
        "process": 1,
        "simulated": False,
    }
    return Member(node_id, Introduction(partition=partition, name=name, **{**values, **fields}))


def ids(members: Iterable[Member]) -> list[int]:
    return [one.node_id for one in members]


def test_partition_ids_order_the_nodes_whatever_the_order_of_arrival() -> None:
    assert ids(ordered([member(7, 2), member(8, 0), member(9, 1)])) == [8, 9, 7]


def test_names_order_the_nodes_and_come_before_partition_ids() -> None:
    assert ids(ordered([member(7, 0, "b"), member(8, 1, "a")])) == [8, 7]


def test_an_identity_is_the_name_or_the_partition_id() -> None:
    assert member(1, 3).identity == "partition-id 3"
    assert member(1, 3, "clinic-a").identity == "peer-name 'clinic-a'"


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([member(7, 0), member(8, 0)], r"partition-id 0 is claimed by 2 nodes .*\[7, 8\]"),
        ([member(7, 0), member(8, 2)], r"partition-id 1 is missing among 2 nodes.*\[0, 2\]"),
        ([member(7, 1), member(8, 2)], r"partition-id 0 is missing"),
        ([member(7, 0), member(8)], r"\[8\] have no identity; .*--node-config"),
        ([member(7), member(8)], r"\[7, 8\] have no identity"),
        ([member(7, 0, "a"), member(8, 1)], r"\[8\] have none; give all a peer-name, or none"),
        ([member(7, name="a"), member(8, name="a")], r"peer-name 'a' is claimed by 2 nodes"),
        (
            [member(7, name="a -1"), member(8, name="a -1")],
            r"peer-name 'a -1' is claimed by 2 nodes",
        ),
    ],
)
def test_identities_that_do_not_fit(members: list[Member], match: str) -> None:
    with pytest.raises(RosterError, match=match):
        ordered(members)


class Joining(InProcessGrid):
    """Only the nodes that have joined so far are listed."""

    def __init__(self, joined: list[int]) -> None:
        super().__init__(quadratic_app(), 4)
        self.joined = joined

    def get_node_ids(self) -> Iterable[int]:
        return [1000 + node for node in self.joined]


def test_nodes_may_come_late_and_in_any_order() -> None:
    with Joining([3]) as grid:
        timer = threading.Timer(0.3, lambda: grid.joined.extend([1, 0, 2]))
        timer.start()
        members = assemble(grid, None, 20.0)
        timer.join(10.0)
    assert ids(members) == [1000, 1001, 1002, 1003]


def test_by_default_all_partitions_are_waited_for() -> None:
    with (
        Joining([0, 1]) as grid,
        pytest.raises(RosterError, match=r"^2 node.*join_timeout=0\.3 s, 4 are needed"),
    ):
        assemble(grid, None, 0.3)


def test_a_minimum_is_enough() -> None:
    with Joining([0, 1]) as grid:
        assert ids(assemble(grid, 2, 5.0)) == [1000, 1001]


def test_no_node_at_all_says_what_to_do() -> None:
    with (
        Joining([]) as grid,
        pytest.raises(RosterError, match=r"^0 node.*2 are needed.*Start more SuperNodes"),
    ):
        assemble(grid, None, 0.3)


class Mute(InProcessGrid):
    """Node 1 never answers."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(super().pull_messages(message_ids))
        return [reply for reply in replies if reply.metadata.src_node_id != 1001]


def test_a_connected_node_that_is_silent_is_named() -> None:
    with (
        Mute(quadratic_app(), 3) as grid,
        pytest.raises(RosterError, match=r"connected but silent: \[1001\]"),
    ):
        assemble(grid, 3, 0.3)


def test_after_the_deadline_enough_nodes_go_on_without_the_silent_one() -> None:
    """They need identities without a gap, so the silent one is the last."""

    class LastMute(InProcessGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            replies = list(super().pull_messages(message_ids))
            return [reply for reply in replies if reply.metadata.src_node_id != 1002]

    with LastMute(quadratic_app(), 3) as grid:
        assert ids(assemble(grid, 2, 0.3)) == [1000, 1001]


def reply_with_error(code: int, reason: str) -> Message:
    return Message(Error(code=code, reason=reason), reply_to=hello(5))


@pytest.mark.parametrize("code", [ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE])
def test_a_node_that_went_away_is_no_error(code: int) -> None:
    with InProcessGrid(quadratic_app(), 1):
        assert introduction(reply_with_error(code, "gone")) is None


def test_a_client_that_crashed_is_named_with_its_reason() -> None:
    with InProcessGrid(quadratic_app(), 1):
        reply = reply_with_error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "ImportError: torch")
        with pytest.raises(ModError, match=r"node 5 failed .*ImportError: torch"):
            introduction(reply)


def test_an_answer_without_the_record_is_a_client_without_the_mod() -> None:
    with InProcessGrid(quadratic_app(), 1):
        reply = Message(RecordDict(), reply_to=hello(5))
        with pytest.raises(ModError, match=r"node 5 answered without gossip_mod"):
            introduction(reply)


def test_who_cannot_take_part_is_told_by_identity() -> None:
    config = {"partition-id": 1, "gossip-peer": "unix:/no/peer"}
    with InProcessGrid(quadratic_app(), 1, node_config=lambda i: config) as grid:
        (reply,) = grid.send_and_receive([hello(1000)])
        match = r"node 1000 \(partition-id 1\) cannot take part: .*'unix:/no/peer' does not answer"
        with pytest.raises(RosterError, match=match):
            introduction(reply)


def test_what_a_client_cannot_do_is_told() -> None:
    with InProcessGrid(quadratic_app(), 1, node_config=lambda i: {"partition-id": "x"}) as grid:
        (reply,) = grid.send_and_receive([hello(1000)])
        with pytest.raises(GossipError, match=r"node 1000 cannot take part: partition-id .*'x'"):
            introduction(reply)
