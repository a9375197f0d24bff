"""Count what goes through the server, whatever the strategy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid


class CountingGrid(Grid):
    """A Flower ``Grid`` that hands everything on and counts the bytes of the records in it.

    Attributes
    ----------
    bytes_to_nodes : int
        Content of the messages that the ServerApp sent.
    bytes_from_nodes : int
        Content of the replies that it received.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.bytes_to_nodes = 0
        self.bytes_from_nodes = 0

    def __getattr__(self, name: str) -> Any:
        """Return what else the runtime's own grid says of itself, such as its number of nodes."""
        return getattr(self.grid, name)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their ids."""
        return self.grid.push_messages(self._sent(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come so far."""
        return self._received(self.grid.pull_messages(message_ids))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the replies that come within ``timeout`` seconds."""
        return self._received(self.grid.send_and_receive(self._sent(messages), timeout=timeout))

    def set_run(self, run: Any) -> None:
        """Set the run."""
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        """The run."""
        return self.grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a new message."""
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the connected nodes."""
        return self.grid.get_node_ids()

    def get_nodes(self) -> Iterable[Any]:
        """Return the connected nodes."""
        return self.grid.get_nodes()

    def _sent(self, messages: Iterable[Message]) -> list[Message]:
        listed = list(messages)
        self.bytes_to_nodes += sum(content_bytes(message) for message in listed)
        return listed

    def _received(self, replies: Iterable[Message]) -> list[Message]:
        listed = list(replies)
        self.bytes_from_nodes += sum(content_bytes(reply) for reply in listed)
        return listed


def content_bytes(message: Message) -> int:
    """Return the bytes of the records in a message as they are sent; an error reply has none."""
    if not message.has_content():
        return 0
    # count_bytes() of Flower 1.41 fails for a record with an empty string or list in it.
    return sum(
        record.count_bytes() if isinstance(record, ArrayRecord) else len(record.deflate())
        for record in message.content.values()
    )
