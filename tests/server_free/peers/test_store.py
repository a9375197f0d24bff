"""Mailboxes on disk: what a new process of the peer finds, and what it does not."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from flwr_gossip.server_free.codecs import decode, encode
from flwr_gossip.server_free.errors import MailboxFull, PeerError
from flwr_gossip.server_free.peers.host import PeerHost
from flwr_gossip.server_free.peers.links import INITIAL, ModelId
from flwr_gossip.server_free.peers.mailbox import Mailbox
from flwr_gossip.server_free.peers.memory import MemoryHost
from flwr_gossip.server_free.peers.store import Store, StoredModel
from flwr_gossip.server_free.peers.tokens import fingerprint
from flwr_gossip.server_free.peers.training import Absent, Ready

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ARRAYS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "steps": np.array(7, np.int64),
    "empty": np.zeros((0, 2), np.float16),
}
MODEL = encode(ARRAYS, chunk_bytes=8)


def at(round: int, node: int = 0) -> ModelId:
    return ModelId(round, slot=0, node=node)


@contextmanager
def opened(folder: Path, **options: int) -> Iterator[Mailbox]:
    """A mailbox over a folder, as a new process of the peer has it."""
    box = Mailbox(store=Store(folder), **options)
    box.restore()
    try:
        yield box
    finally:
        box.close_store()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def test_everything_is_there_again(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY, addresses=("a:1", "b:1"))
        box.put("t", INITIAL, MODEL)
        for round in (1, 2, 3):
            box.put("t", at(round), MODEL, readers=[7, 8])
    with opened(tmp_path) as box:
        assert box.held("t") == (INITIAL, at(1), at(2), at(3))
        assert (box.key("t"), box.addresses("t")) == (KEY, ("a:1", "b:1"))
        assert box.nbytes == 4 * MODEL.nbytes
        answer = box.look("t", at(2), 7)
        assert isinstance(answer, Ready)
        model = decode(answer.model)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(model[name], array)
            assert (model[name].dtype, model[name].shape) == (array.dtype, array.shape)
        box.put("t", at(3), encode(ARRAYS), readers=[7])  # a publication that is repeated
        assert isinstance(box.look("t", at(3), 7), Ready)
        with pytest.raises(PeerError, match="other content"):
            box.put("t", at(3), encode({"w": np.ones(3)}))


def test_the_rules_of_what_stays_go_on(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY)
        for number, segment in enumerate("ab", start=1):
            box.attach("t", 0, segment)
            box.put("t", at(number), MODEL, keep=True)
        box.put("t", at(3), MODEL, readers=[7])
    with opened(tmp_path) as box:
        box.attach("t", 0, "b")
        assert box.held("t") == (at(1), at(2), at(3))
        box.put("t", at(4), MODEL, readers=[7])
        box.put("t", at(5), MODEL, readers=[7])
        box.attach("t", 0, "c")
        box.put("t", at(6), MODEL, readers=[7])
        assert box.held("t") == tuple(at(round) for round in (2, 3, 4, 5, 6))
        box.look("t", at(6), 7)
        box.delivered("t", at(6), 7)
        assert box.held("t") == (at(2), at(5), at(6))
        assert box.look("t", at(4), 7) == Absent(
            "dropped", "it has published round 6 and no longer has it"
        )
    with opened(tmp_path) as box:
        assert box.held("t") == (at(2), at(5), at(6))


def test_a_resumed_run_leaves_no_file_of_a_later_round(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY)
        for round in (1, 2, 3):
            box.put("t", at(round), MODEL, readers=[7])
    with opened(tmp_path) as box:
        box.open("t", OTHER_KEY, resumed=2)
    with opened(tmp_path) as box:
        assert box.held("t") == (at(1), at(2))
        with pytest.raises(PeerError, match="another run has taken up training 't'"):
            box.open("t", KEY)  # a client of the older run finds the peer again
        assert box.key("t") == OTHER_KEY
        assert isinstance(box.look("t", at(2), 7), Ready)


def test_what_a_run_was_writing_when_another_resumed_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def write_late(self: Store, training: str, stored: StoredModel) -> None:
        box.open("t", OTHER_KEY)
        write(self, training, stored)

    with opened(tmp_path) as box:
        box.open("t", KEY)
        monkeypatch.setattr(Store, "write", write_late)
        with pytest.raises(PeerError, match="another run has taken up training 't'"):
            box.put("t", at(1), MODEL, run=fingerprint(KEY))
        assert (box.held("t"), box.nbytes) == ((), 0)
    assert not list(tmp_path.glob("*/*.model"))


@pytest.mark.parametrize("training", ["../../escape", "/etc/passwd", "a\0b", "x" * 5000, "é\udc80"])
def test_no_name_leads_out_of_the_folder_and_nobody_else_reads_it(
    tmp_path: Path, training: str
) -> None:
    folder = tmp_path / "deep" / "store"
    with opened(folder) as box:
        box.open(training, KEY)
        box.put(training, at(1, node=3), MODEL)
        written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
        assert len(written) == 3
        for path in written:
            name = r"deep/store/(\.lock|[0-9a-f]{32}/(training\.json|r00000001-s0-n3\.model))"
            assert re.fullmatch(name, str(path))
            assert (tmp_path / path).stat().st_mode & 0o777 == 0o600
        for path in folder.rglob("*"):
            assert path.is_file() or path.stat().st_mode & 0o777 == 0o700
    with opened(folder) as box:
        assert box.held(training) == (at(1, node=3),)


@pytest.mark.parametrize("damage", ["cut", "flip", "header", "empty", "grow", "rename", "json"])
def test_a_damaged_file_is_skipped_and_said_so(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY)
        box.put("t", at(1), MODEL, readers=[7])
        box.put("t", at(2), MODEL, readers=[7])
    (victim,) = tmp_path.glob("*/r00000001*")
    content = bytearray(victim.read_bytes())
    if damage == "rename":
        victim.rename(victim.with_name("r00000009-s0-n0.model"))
    else:
        changed = {
            "cut": content[:-3],
            "flip": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
            "header": content[:60] + bytes([content[60] ^ 1]) + content[61:],
            "empty": b"",
            "grow": content + b"more",
            "json": json.dumps({"tensors": []}).encode(),
        }
        victim.write_bytes(changed[damage])
    with caplog.at_level(logging.WARNING, "flwr"), opened(tmp_path) as box:
        assert box.held("t") == (at(2),)
    if damage != "rename":
        assert f"{victim} is skipped" in caplog.text


def test_a_damaged_record_costs_its_training_only(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        for training in "tu":
            box.open(training, KEY)
            box.put(training, at(1), MODEL)
    record = next(path for path in tmp_path.glob("*/training.json") if '"t"' in path.read_text())
    record.write_text(record.read_text().replace('"t"', '"u"'))
    with opened(tmp_path) as box:
        assert (box.held("t"), box.held("u")) == ((), (at(1),))
        box.open("t", KEY)
        box.put("t", at(1), MODEL)


def test_a_file_that_was_being_written_is_cleared_away(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY)
        box.put("t", at(1), MODEL)
    (model,) = tmp_path.glob("*/*.model")
    half = model.with_name(f"{model.name}.01234567.part")
    half.write_bytes(model.read_bytes()[:50])
    with opened(tmp_path) as box:
        assert box.held("t") == (at(1),)
        assert not half.exists()


def test_closed_and_old_trainings_leave_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        for training in ("closed", "old", "new"):
            box.open(training, KEY)
            box.put(training, at(1), MODEL)
        box.close_training("closed")
        assert len(files(tmp_path)) == 4
    (old,) = (
        path.parent for path in tmp_path.glob("*/training.json") if '"old"' in path.read_text()
    )
    week_ago = time.time() - 8 * 24 * 3600
    os.utime(old, (week_ago, week_ago))
    with opened(tmp_path) as box:
        assert (box.held("old"), box.held("new")) == ((), (at(1),))
        assert len(files(tmp_path)) == 2


def test_what_does_not_fit_into_memory_stays_on_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY)
        for node in range(3):
            box.put("t", at(1, node), MODEL)
    limit = 2 * MODEL.nbytes
    with caplog.at_level(logging.WARNING, "flwr"), opened(tmp_path, max_bytes=limit) as box:
        assert box.held("t") == (at(1, 0), at(1, 1))
        assert "left out. Raise the limit" in caplog.text
    with opened(tmp_path) as box:
        assert len(box.held("t")) == 3


def test_the_initial_and_the_newest_models_come_first_into_memory(tmp_path: Path) -> None:
    ids = [INITIAL, *map(at, range(1, 5))]
    with opened(tmp_path) as box:
        box.open("t", KEY)
        for id in ids:
            box.put("t", id, MODEL, readers=[1])
    with opened(tmp_path, max_bytes=3 * MODEL.nbytes) as box:
        assert box.held("t") == (INITIAL, at(3), at(4))


@pytest.mark.parametrize("host", [PeerHost, MemoryHost])
def test_two_hosts_on_one_store(tmp_path: Path, host: type[PeerHost] | type[MemoryHost]) -> None:
    with host(store=Store(tmp_path)) as first:
        first.open("t", KEY)
        first.put_initial("t", ARRAYS)
        says = (
            f"{tmp_path} is in use by process {os.getpid()}. Every peer needs a folder of its own"
        )
        with pytest.raises(PeerError, match=re.escape(says)):
            host(store=Store(tmp_path)).start()
    with host(store=Store(tmp_path)) as second:
        assert second.mailbox.held("t") == (INITIAL,)


@pytest.mark.parametrize("method", ["models", "_folders"])
@pytest.mark.parametrize("host", [PeerHost, MemoryHost])
def test_a_host_that_cannot_read_its_store_leaves_it_to_others(
    tmp_path: Path,
    host: type[PeerHost] | type[MemoryHost],
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY)
        box.put("t", at(1), MODEL)

    def fail(*_: object) -> None:
        raise OSError("Input/output error")

    failing = host(store=Store(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Store, method, fail)
        with pytest.raises(OSError, match="Input/output error"):
            failing.start()
    with host(store=Store(tmp_path)) as other:
        assert other.mailbox.held("t") == (at(1),)
    with failing:  # the disk is well again
        assert failing.mailbox.held("t") == (at(1),)


def test_folders_that_are_no_good(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"store is '.*/file', which cannot be used"):
        Store(tmp_path / "file").open()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ValueError, match=f"others than this user can write.*chmod 700 {shared}"):
        Store(shared).open()


def test_a_model_that_cannot_be_written_is_not_held(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.open("t", KEY)
        box.put("t", at(1), MODEL, readers=[7])
        (folder,) = tmp_path.glob("*/")
        folder.rename(tmp_path / "away")
        folder.touch()  # the folder of the training is no folder any more
        with pytest.raises(PeerError, match=r"cannot be written: .*it goes on serving") as caught:
            box.put("t", at(2), MODEL)
        assert not isinstance(caught.value, MailboxFull)
        assert box.held("t") == (at(1),)
        assert isinstance(box.look("t", at(1), 7), Ready)
