"""TensorBoard's event files of a run."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps import play, quadratic_app
from flwr_gossip.server_free.errors import RunError
from flwr_gossip.server_free.runs import read_run
from flwr_gossip.strategies import Gossip


def scalars(file: Path) -> Iterator[tuple[str, int, float]]:
    """Yield tag, step and value of each scalar; a record is length, CRC, data and CRC."""
    from tensorboardX.proto.event_pb2 import Event

    data, at = file.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
        at += length + 16


def test_the_curves_of_a_run_are_there(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    strategy = Gossip("ring", folder=tmp_path / "run", tensorboard=True, evaluate_every=2)
    result = play(strategy, quadratic_app(), 4, 5)
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    found = {(tag, step): value for tag, step, value in scalars(file)}
    for t, metrics in result.train_metrics_clientapp.items():
        assert found["train/loss", t] == pytest.approx(metrics["loss"])
    for t, metrics in result.evaluate_metrics_clientapp.items():
        assert found["evaluation/first-min", t] == pytest.approx(metrics["first-min"])
    distances = {t: value for (tag, t), value in found.items() if tag == "consensus-distance"}
    assert distances == pytest.approx(result.consensus_distance)
    assert read_run(tmp_path / "run").config.status == "finished"


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(RunError, match=r'pip install "flwr-gossip\[tensorboard\]"'):
        play(Gossip("ring", folder=tmp_path / "run", tensorboard=True), quadratic_app(), 2, 1)
    assert not (tmp_path / "run").exists()
