"""A Flower ``Grid`` that calls the ClientApp in this process: no Ray, no sockets, no wire."""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import count
from threading import RLock
from types import TracebackType
from typing import Any

from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from ..counts import check_count

__all__ = ["InProcessGrid"]

_SERVER_NODE_ID = 1
_FIRST_NODE_ID = 1000


class InProcessGrid(Grid):
    """Runs an unchanged ClientApp for many virtual nodes in this process.

    Parameters
    ----------
    client_app : ClientApp
        The app of every node.
    num_nodes : int
        Number of virtual nodes, 1 or more. Node i has ``partition-id`` i and
        ``num-partitions`` in its node-config, as in Flower's simulation.
    run_config : dict, optional
        What ``Context.run_config`` holds.
    node_config : callable, optional
        ``i -> dict`` of further node-config entries of node i.
    max_workers : int (default: 1)
        Clients that run at the same time, in threads. More than one helps only where the train
        function spends most of its time outside Python, as large torch models do, and cores are
        free for it; with an update of 5 ms two were no faster. With fewer workers than active
        nodes a message must not carry more than one round, which the strategies see to.
    progress : bool, optional
        Whether the strategies of this package show the run's figures as it goes on, by default
        when stderr is a terminal. Flower's own log their rounds.

    Notes
    -----
    Flower's ``Message`` needs a task identity that only Flower's own runtimes set; one is set
    while a grid is open, and the old one put back when the last is closed (``close`` or ``with``).
    """

    def __init__(
        self,
        client_app: ClientApp,
        num_nodes: int,
        *,
        run_config: UserConfig | None = None,
        node_config: Callable[[int], dict[str, Any]] | None = None,
        max_workers: int = 1,
        progress: bool | None = None,
    ) -> None:
        self.client_app = client_app
        self.num_nodes = check_count("num_nodes", num_nodes)
        self.max_workers = check_count("max_workers", max_workers)
        self.progress = progress
        self._run_config: UserConfig = dict(run_config or {})
        self._node_config = node_config or (lambda _: {})
        self._contexts: dict[int, Context] = {}  # those that hold state
        self._message_ids = count(1)
        self._pending: dict[str, Future[Message]] = {}
        self._pool = ThreadPoolExecutor(self.max_workers, thread_name_prefix="client")
        self._run = Run.create_empty(1)
        _process.borrow()
        self._give_back = weakref.finalize(self, _process.give_back)  # if forgotten unclosed, too

    def close(self) -> None:
        """Wait for running clients and restore the task identity."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._give_back()  # once, however often it is called

    def __enter__(self) -> InProcessGrid:
        """Return the grid."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the grid."""
        self.close()

    def set_run(self, run: Run) -> None:
        """Set the run this grid works in."""
        self._run = run

    @property
    def run(self) -> Run:
        """Return a copy of the run's information."""
        return Run(**vars(self._run))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a new message (Flower keeps this for older ServerApps)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the Flower node ids of all virtual nodes."""
        return list(range(_FIRST_NODE_ID, _FIRST_NODE_ID + self.num_nodes))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand the messages to the clients; at once in this thread when there is one worker."""
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = identifier = str(next(self._message_ids))
            if self.max_workers == 1:
                done: Future[Message] = Future()
                done.set_result(self._call(message))
                self._pending[identifier] = done
            else:
                self._pending[identifier] = self._pool.submit(self._call, message)
            ids.append(identifier)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there; each is given out once."""
        ready = [i for i in message_ids if i in self._pending and self._pending[i].done()]
        return [self._pending.pop(identifier).result() for identifier in ready]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push the messages and return the replies that come within ``timeout`` seconds."""
        ids = list(self.push_messages(messages))
        wait([self._pending[identifier] for identifier in ids], timeout=timeout)
        return self.pull_messages(ids)

    def _call(self, message: Message) -> Message:
        node_id = message.metadata.dst_node_id
        content = message.content if message.has_content() else None
        try:
            context = self._contexts.get(node_id) or self._new_context(node_id)
            self._contexts[node_id] = context
            if content is not None:
                message.content = _copied(content)  # strategies send one content to many nodes
            reply = self.client_app(message, context)
            if reply.has_content():
                reply.content = _copied(reply.content)  # which the client may go on with
        except Exception as error:  # as Flower's runtimes do: the ServerApp gets an error reply
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
            failure = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason)
            reply = Message(failure, reply_to=message)
        if content is not None:
            message.content = content  # what a mod put there, a model say, need not live on
        kept = self._contexts.get(node_id)
        if kept is not None and not kept.state:
            self._contexts.pop(node_id, None)  # so that nodes without state cost nothing
        reply.metadata.__dict__["_message_id"] = str(next(self._message_ids))
        return reply

    def _new_context(self, node_id: int) -> Context:
        index = node_id - _FIRST_NODE_ID
        config = {"partition-id": index, "num-partitions": self.num_nodes}
        return Context(
            run_id=self._run.run_id,
            node_id=node_id,
            node_config=config | self._node_config(index),
            state=RecordDict(),
            run_config=dict(self._run_config),
        )


def _copied(content: RecordDict) -> RecordDict:
    """Return records that may be changed without changing the sender's, as after a wire.

    Arrays are not copied: Flower's hold bytes, which nobody can change.
    """
    copied = content.copy()
    for key, record in content.items():
        own: Any = record.copy()
        copied[key] = own
        if not isinstance(record, ArrayRecord):
            for name, value in record.items():
                if type(value) is list:
                    own[name] = value.copy()
    return copied


class _Process:
    """What open grids change in this process; as before when the last of them is closed.

    The heap of the first is frozen: thousands of messages a round make the garbage collector run
    often, and most of what it would look at are modules.
    """

    def __init__(self) -> None:
        self._lock = RLock()  # the collector may forget a grid in the midst of this
        self._num_grids = 0
        self._identity: tuple[Any, Any, Any] = (None, None, None)
        self._froze = False

    def borrow(self) -> None:
        """Note one grid more."""
        with self._lock:
            self._num_grids += 1
            if self._num_grids > 1:
                return
            task = TaskIdentity
            self._identity = task._task_id, task._run_id, task._node_id
            task.task_id, task.run_id, task.node_id = 1, 1, _SERVER_NODE_ID
            self._froze = not gc.get_freeze_count()  # else somebody else did, and takes it back
            if self._froze:
                gc.collect()
                gc.freeze()

    def give_back(self) -> None:
        """Note one grid less."""
        with self._lock:
            self._num_grids -= 1
            if self._num_grids:
                return
            task = TaskIdentity
            task._task_id, task._run_id, task._node_id = self._identity
            if self._froze:
                gc.unfreeze()


_process = _Process()
