"""Runs are reproducible bit for bit: in this process, in another, and whatever the chunks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

RUNS = """
import hashlib, sys
import numpy as np, torch
from flwr_gossip.server_free.simulation import Network, LogNormal, OnOff, simulate
from flwr_gossip.strategies import Gossip, Teleportation

torch.set_num_threads(int(sys.argv[1]))
draw = np.random.default_rng(0)
data = [(draw.normal(size=(m, 40)), draw.integers(0, 5, m)) for m in [6] * 3 + [12] * 18]
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(40, 33), torch.nn.ReLU(), torch.nn.Linear(33, 5))
bad = Network(compute_s=LogNormal(1.0, 0.5), latency_s=0.05, upload_bytes_per_s=1e5,
              availability=OnOff(8.0, 3.0), loss_probability=0.1, seed=3)

def bits(strategy, chunk_nodes=None, **settings):
    result = simulate(model, torch.nn.functional.cross_entropy, data, strategy, num_rounds=14,
                      learning_rate=0.1, momentum=0.9, batch_size=8, test_data=data[0], seed=5,
                      chunk_nodes=chunk_nodes, **settings)
    found = hashlib.sha256(result.models.numpy().tobytes())
    found.update(repr(result.history).encode())
    found.update(repr(sorted(result.nodes.items())).encode())
    found.update(b"".join(values.tobytes() for values in result.slot_metrics.values()))
    return found.hexdigest()

for strategy in (Gossip("ring"), Teleportation(18, seed=1)):
    for settings in ({}, {"network": bad, "peer_timeout": 2.0, "replan_every": 5}):
        print(*(bits(strategy, chunk_nodes, **settings) for chunk_nodes in (None, None, 16)))
"""


def digests(threads: int, hash_seed: int) -> list[list[str]]:
    """Return the digests of each run, its repetition, and the run in other chunks."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-c", RUNS, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second = digests(1, hash_seed=1), digests(1, hash_seed=2)
    assert first == second
    assert len(first) == len({tuple(line) for line in first}) == 4
    for run, again, chunked in first:
        assert run == again == chunked
