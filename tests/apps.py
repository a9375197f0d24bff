"""Small ClientApps on a quadratic, their numpy twin, and a run of them in this process.

The train function of node i in round t is ``local_update(z, i, t)``, a pure function of
float64 vectors; the apps apply it to the tensors of a Flower record, so that whole runs can
be recomputed by ``reference.dense``.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from numpy.typing import NDArray

from flwr_gossip.clients import gossip_mod
from flwr_gossip.clients.records import from_record
from flwr_gossip.server_free.simulation import InProcessGrid
from flwr_gossip.strategies import GossipResult
from flwr_gossip.strategies.decentralized import Decentralized

Vector = NDArray[np.float64]
Update = Callable[[Vector, int, int], Vector]

SHAPES: Mapping[str, tuple[int, ...]] = {"w": (2, 3), "b": (4,), "scale": (), "empty": (0, 2)}
"""The model: a matrix, a vector, a scalar and a tensor without elements."""

SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())


def initial(dtype: str = "float32", seed: int = 7) -> ArrayRecord:
    """Return the initial arrays that the runs start from."""
    return to_record(np.random.default_rng(seed).normal(size=SIZE), dtype)


def to_record(vector: Vector, dtype: str) -> ArrayRecord:
    """Return the vector as a record of the tensors of ``SHAPES``."""
    arrays, start = {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        piece = vector[start : start + size].reshape(shape).astype(dtype)
        arrays[name] = Array(np.asarray(piece))
        start += size
    return ArrayRecord(arrays)


def to_vector(record: ArrayRecord) -> Vector:
    """Return all tensors of a record as one float64 vector.

    Not through ``Array.numpy``: it parses a header with ``ast``, which in CPython 3.11 may fail in
    threads that do so at the same time (python/cpython#106905).
    """
    arrays = from_record(record).values()
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays])


def local_update(z: Vector, node: int, round: int) -> Vector:
    """Return h: a gradient step on node's own quadratic, a little different in each round."""
    curvature = 1.0 + 0.5 * np.cos(np.arange(z.size) + node)
    target = np.sin(np.arange(z.size) * (node + 1.0) + 0.1 * round)
    return z - 0.2 * curvature * (z - target)


@dataclass
class Calls:
    """What the functions of an app were called with, in order of arrival."""

    trained: list[tuple[int, int]] = field(default_factory=list)
    given: dict[tuple[int, int], Vector] = field(default_factory=dict)
    evaluated: dict[tuple[int, int], Vector] = field(default_factory=dict)
    configs: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def quadratic_app(
    calls: Calls | None = None,
    *,
    update: Update = local_update,
    mods: list[Mod] | None = None,
    before_train: Callable[[int, int], None] = lambda node, round: None,
) -> ClientApp:
    """Return an app whose node i (its partition-id) trains with ``update(z, i, round)``.

    ``before_train(node, round)`` may raise or sleep.
    """
    seen = calls if calls is not None else Calls()
    app = ClientApp(mods=[gossip_mod] if mods is None else mods)

    @app.train()
    def train(msg: Message, ctxt: Context) -> Message:
        node, record, config = _unpack(msg, ctxt)
        round = int(config["server-round"])
        before_train(node, round)
        z = to_vector(record)
        with seen.lock:
            seen.trained.append((node, round))
            seen.given[node, round] = z
            seen.configs.append(copy.deepcopy(dict(config)))
        h = update(z, node, round)
        metrics = MetricRecord({"loss": float(node + round), "num-examples": node + 1})
        content = RecordDict({"arrays": to_record(h, _dtype(record)), "metrics": metrics})
        return Message(content, reply_to=msg)

    @app.evaluate()
    def evaluate(msg: Message, ctxt: Context) -> Message:
        node, record, config = _unpack(msg, ctxt)
        z = to_vector(record)
        with seen.lock:
            seen.evaluated[node, int(config["server-round"])] = z
        metrics = MetricRecord({"first": float(z[0]), "num-examples": node + 1})
        return Message(RecordDict({"metrics": metrics}), reply_to=msg)

    return app


def _unpack(msg: Message, ctxt: Context) -> tuple[int, ArrayRecord, ConfigRecord]:
    (record,) = msg.content.array_records.values()
    (config,) = msg.content.config_records.values()
    return int(ctxt.node_config["partition-id"]), record, config


def _dtype(record: ArrayRecord) -> str:
    return str(record["w"].dtype)


def play(
    strategy: Decentralized,
    app: ClientApp,
    num_nodes: int,
    num_rounds: int,
    arrays: ArrayRecord | None = None,
    *,
    grid: Mapping[str, Any] | None = None,
    grid_type: type[InProcessGrid] = InProcessGrid,
    **start: Any,
) -> GossipResult:
    """Run ``strategy`` over ``num_nodes`` nodes of ``app`` in this process."""
    arrays = initial() if arrays is None else arrays
    with grid_type(app, num_nodes, **(grid or {})) as opened:
        return strategy.start(opened, arrays, num_rounds, **{"timeout": 60.0, **start})
