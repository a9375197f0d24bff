"""The mailbox: what stays, what is dropped, what is refused, and who is woken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from flwr_gossip.server_free.codecs import encode
from flwr_gossip.server_free.errors import MailboxFull, PeerError
from flwr_gossip.server_free.peers import register
from flwr_gossip.server_free.peers import training as training_module
from flwr_gossip.server_free.peers.links import INITIAL, ModelId
from flwr_gossip.server_free.peers.mailbox import Mailbox
from flwr_gossip.server_free.peers.store import Store
from flwr_gossip.server_free.peers.tokens import fingerprint
from flwr_gossip.server_free.peers.training import Absent, NotReady, Ready

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
MODEL = encode({"w": np.arange(10, dtype=np.float32)})
OTHER = encode({"w": np.arange(10, dtype=np.float32) + 1})


def at(round: int, node: int = 0) -> ModelId:
    return ModelId(round, slot=0, node=node)


@contextmanager
def many_switches() -> Iterator[None]:
    """Let threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.fixture
def box() -> Mailbox:
    box = Mailbox(max_bytes=1000)
    box.open("t", KEY)
    return box


def test_read_models_leave_when_two_newer_rounds_are_here(box: Mailbox) -> None:
    for round in (1, 2, 3):
        box.put("t", at(round), MODEL, readers=[7])
    assert box.held("t") == (at(1), at(2), at(3))
    box.delivered("t", at(1), 7)
    assert box.held("t") == (at(2), at(3))
    box.delivered("t", at(2), 7)
    box.delivered("t", at(3), 7)
    assert box.held("t") == (at(2), at(3))
    box.put("t", at(9), MODEL)
    assert box.held("t") == (at(3), at(9))


def test_a_reader_whose_line_broke_may_ask_again(box: Mailbox) -> None:
    box.put("t", at(1), MODEL, readers=[7])
    box.delivered("t", at(1), 7, doubt_s=60.0)
    for round in (2, 3, 4):
        box.put("t", at(round), MODEL)
    assert isinstance(box.look("t", at(1), 7), Ready)
    box.look("t", at(2), 7)  # it has gone on
    box.put("t", at(5), MODEL)
    assert box.held("t") == (at(4), at(5))


def test_a_reader_does_not_come_again_for_ever(box: Mailbox) -> None:
    for round in range(1, 13):
        box.put("t", at(round), MODEL, readers=[7])
        box.delivered("t", at(round), 7, doubt_s=60.0 if round != 10 else 1e-9)
    assert box.held("t") == tuple(map(at, (5, 6, 7, 8, 9, 11, 12)))


def test_a_reader_who_may_ask_again_gives_way_to_a_model(box: Mailbox) -> None:
    most = box.max_bytes // MODEL.nbytes
    for round in range(1, 2 * most):
        with box.room("t", MODEL.nbytes, round) as room:
            box.put("t", at(round), MODEL, [7], room=room)
        box.delivered("t", at(round), 7, doubt_s=60.0)
    assert box.nbytes <= box.max_bytes


def test_a_reader_who_may_ask_again_gives_way_to_another_trainings_model() -> None:
    box = Mailbox(max_bytes=6 * MODEL.nbytes)
    for name in "tu":
        box.open(name, KEY)
        box.attach(name, 0, "s")
    for round in range(1, 7):
        box.put("t", at(round), MODEL, [7])
        box.delivered("t", at(round), 7, doubt_s=60.0)
    for round in range(1, 5):
        box.put("u", at(round), MODEL, [7])
    assert box.held("t") == (at(5), at(6))


def test_a_peer_needs_room_for_four_models() -> None:
    """The initial one, the last of the segment before, the round before, and the one that comes."""
    box = Mailbox(max_bytes=4 * MODEL.nbytes)
    box.open("t", KEY)
    box.put("t", INITIAL, MODEL)
    for round in range(1, 13):
        if round % 3 == 1:
            box.attach("t", 0, f"segment {round}", first=round, last=round + 2)
        with box.room("t", MODEL.nbytes, round) as room:
            box.put("t", at(round), MODEL, [7], keep=round % 3 == 0, room=room)
        box.delivered("t", at(round), 7, doubt_s=60.0)
    assert box.nbytes == box.max_bytes


def test_unread_models_stay(box: Mailbox) -> None:
    for round in range(1, 8):
        box.put("t", at(round), MODEL, readers=[7, 8])
        box.delivered("t", at(round), 7)
    assert len(box.held("t")) == 7


def test_readers_who_are_missing_are_not_waited_for(box: Mailbox) -> None:
    box.attach("t", 0, "s")
    for round in range(1, 5):
        box.put("t", at(round), MODEL, readers=[7])
    box.report_missing("t", "s", {7: "silent"})
    assert box.held("t") == (at(3), at(4))
    for round in range(5, 9):
        box.put("t", at(round), MODEL, readers=[7])
    assert box.held("t") == (at(7), at(8))


def test_readers_who_were_thought_missing_are_waited_for_again(box: Mailbox) -> None:
    box.attach("t", 0, "s")
    for round in range(1, 5):
        box.put("t", at(round), MODEL, readers=[7, 8])
    box.report_missing("t", "s", {7: "silent", 8: "silent"})
    assert box.held("t") == (at(3), at(4))
    box.hear_from("t", 7)
    assert box.known_missing("t", "s") == {8: "silent"}
    box.report_missing("t", "s", {}, found=[8])
    assert box.known_missing("t", "s") == {}
    box.delivered("t", at(3), 8)
    for round in range(5, 8):
        box.put("t", at(round), MODEL, readers=[7])
    assert box.held("t") == tuple(at(round) for round in range(3, 8))
    box.delivered("t", at(3), 7)
    assert box.held("t")[0] == at(4)


def test_a_client_that_waits_for_others_is_told_of(box: Mailbox) -> None:
    attachment, woken = box.attach("t", 0, "s"), []
    with box.watch("t", 0, lambda: woken.append(1)):
        box.wait(attachment, True)
        assert woken
    assert box.look("t", at(1), 7) == NotReady(True, 0, {}, waiting=True)
    box.wait(attachment, False)
    assert box.look("t", at(1), 7) == NotReady(True, 0, {}, waiting=False)
    box.wait(attachment, True)
    working = box.attach("t", 0, "s")
    assert box.look("t", at(1), 7) == NotReady(True, 0, {}, waiting=False)
    box.detach(working)
    box.detach(attachment)
    box.wait(attachment, True)
    assert box.look("t", at(1), 7) == NotReady(False, 0, {}, waiting=False)
    box.attach("t", 0, "s")
    assert box.look("t", at(1), 7) == NotReady(True, 0, {}, waiting=False)


def test_how_long_a_client_has_worked_without_a_word(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(training_module.time, "monotonic", lambda: now)

    def working_s() -> float:
        answer = box.look("t", at(9), 7)
        assert isinstance(answer, NotReady)
        return answer.working_s

    assert working_s() == 0
    attachment = box.attach("t", 0, "s")
    now = 105.0
    assert working_s() == 5
    box.put("t", at(1), MODEL)
    now = 107.0
    assert working_s() == 2
    ready = box.look("t", at(1), 7)
    assert isinstance(ready, Ready) and ready.state.working_s == 2
    box.wait(attachment, True)
    now = 200.0
    assert working_s() == 0
    box.wait(attachment, False)
    now = 203.0
    assert working_s() == 3


def test_a_reader_who_asks_for_a_later_round_is_done_with_older_ones(box: Mailbox) -> None:
    for round in range(1, 5):
        box.put("t", at(round), MODEL, readers=[7])
    box.look("t", at(4), reader=7)
    box.put("t", at(5), MODEL, readers=[7])
    assert box.held("t") == (at(4), at(5))


def test_readers_of_older_segments_are_not_waited_for(box: Mailbox) -> None:
    for round, segment in enumerate("abcd", start=1):
        box.detach(box.attach("t", 0, segment))
        box.put("t", at(round), MODEL, readers=[7])
    assert box.held("t") == (at(3), at(4))


def test_rounds_are_counted_over_all_nodes_of_the_host(box: Mailbox) -> None:
    box.put("t", at(1, node=0), MODEL)
    box.put("t", at(2, node=1), MODEL)
    box.put("t", at(3, node=2), MODEL)
    assert box.held("t") == (at(2, node=1), at(3, node=2))


def test_round_zero_stays_till_the_training_is_closed(box: Mailbox) -> None:
    box.put("t", INITIAL, MODEL)
    for round in range(1, 6):
        box.put("t", at(round), MODEL)
    assert box.held("t")[0] == INITIAL
    box.close_training("t")
    assert box.held("t") == ()
    assert box.nbytes == 0


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(box: Mailbox) -> None:
    for round in range(1, 26):
        box.put("t", at(round), MODEL, readers=[7])
    says = r"holds 1000 bytes of its limit of 1000.*40 bytes.*Mailbox\(max_bytes="
    with pytest.raises(MailboxFull, match=says):
        box.put("t", at(26), MODEL, readers=[7])
    box.look("t", at(25), reader=7)
    box.delivered("t", at(1), 7)
    box.put("t", at(26), MODEL, readers=[7])
    assert box.nbytes == len(box.held("t")) * 40


def test_an_idle_training_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Mailbox(max_bytes=100)
    box.open("old", KEY)
    box.put("old", INITIAL, MODEL)
    box.put("old", at(1), MODEL)
    box.open("new", KEY)
    with pytest.raises(MailboxFull):
        box.put("new", INITIAL, MODEL)
    monkeypatch.setattr(register, "IDLE_S", -1.0)
    attachment = box.attach("old", 0, "s")
    with pytest.raises(MailboxFull):
        box.put("new", INITIAL, MODEL)
    box.detach(attachment)
    box.put("new", INITIAL, MODEL)
    assert box.key("old") is None


def test_who_has_ended_makes_room_before_who_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "IDLE_S", -1.0)
    box = Mailbox(max_bytes=120)
    for name in ("idle", "ended", "at work"):
        box.open(name, KEY, final=name != "idle")
        box.put(name, INITIAL, MODEL)
    attachment = box.attach("at work", 0, "s")
    box.open("new", KEY)
    box.put("new", INITIAL, MODEL)
    assert (box.held("idle"), box.held("ended")) == ((INITIAL,), ())
    box.put("new", at(1), MODEL)
    assert (box.held("idle"), box.held("at work")) == ((), (INITIAL,))
    with pytest.raises(MailboxFull):
        box.put("new", at(2), MODEL)
    box.detach(attachment)
    box.put("new", at(2), MODEL)


def test_a_resumed_training_has_not_ended() -> None:
    box = Mailbox(max_bytes=40)
    box.open("t", KEY, final=True)
    box.put("t", INITIAL, MODEL)
    box.open("t", OTHER_KEY)
    box.open("new", KEY)
    with pytest.raises(MailboxFull):
        box.put("new", INITIAL, MODEL)


def test_what_is_being_received_counts(box: Mailbox) -> None:
    with box.room("t", 900):
        box.put("t", at(1), MODEL)
        says = "holds 40 bytes and is receiving 900 bytes of its limit of 1000"
        with pytest.raises(MailboxFull, match=says), box.room("t", 80):
            pass
        with box.room("t", 60):
            pass
    with box.room("t", 960):
        pass


@pytest.mark.parametrize("with_store", [False, True])
def test_of_many_writers_at_the_same_time_as_many_get_in_as_fit(
    tmp_path: Path, with_store: bool
) -> None:
    box = Mailbox(max_bytes=25 * MODEL.nbytes, store=Store(tmp_path) if with_store else None)
    box.restore()
    box.open("t", KEY)
    most: list[int] = []

    def write(node: int) -> bool:
        try:
            box.put("t", at(1, node), MODEL, readers=[99])
        except MailboxFull:
            return False
        finally:
            most.append(box.nbytes)
        return True

    with many_switches(), ThreadPoolExecutor(16) as writers:
        got_in = list(writers.map(write, range(60)))
    assert max(most) <= box.max_bytes
    assert sum(got_in) == 25 == box.num_models
    box.close_store()


def test_a_model_that_was_received_has_its_room_till_it_is_held(box: Mailbox) -> None:
    with box.room("t", 1000) as room:
        box.put("t", at(1), MODEL, room=room)
        with box.room("t", 960):  # it needed less
            pass
    box.put("t", at(2), MODEL)
    assert box.nbytes == 80


def test_a_model_in_the_place_of_an_older_runs_needs_no_more_room() -> None:
    box = Mailbox(max_bytes=MODEL.nbytes)
    box.open("t", KEY)
    box.put("t", at(1), MODEL)
    box.open("t", OTHER_KEY, resumed=1)
    box.put("t", at(1), OTHER)
    larger = encode({"w": np.zeros(11, np.float32)})
    box.open("t", b"3" * 32, resumed=1)
    with pytest.raises(MailboxFull):
        box.put("t", at(1), larger)


def test_the_same_again_is_accepted_and_another_refused(box: Mailbox) -> None:
    box.put("t", at(1), MODEL, readers=[7])
    box.put("t", at(1), encode({"w": np.arange(10, dtype=np.float32)}), readers=[7])
    with pytest.raises(PeerError, match="round 1, slot 0, node 0 was already published"):
        box.put("t", at(1), OTHER)
    assert box.nbytes == 40


def test_a_new_key_is_a_resumed_run(box: Mailbox) -> None:
    box.put("t", at(1), MODEL)
    box.put("t", at(2), MODEL, readers=[7])
    box.detach(box.attach("t", 0, "s"), "crashed")
    box.open("t", OTHER_KEY, resumed=1)
    assert box.key("t") == OTHER_KEY
    assert box.held("t") == (at(1),)
    assert isinstance(box.look("t", at(1), 7), Ready)
    assert isinstance(box.look("t", at(2), 7), NotReady)
    box.put("t", at(1), OTHER)
    answer = box.look("t", at(1), 7)
    assert isinstance(answer, Ready) and answer.model is OTHER
    assert box.nbytes == 40


def test_what_a_resumed_run_needs_stays_for_two_segments_more(box: Mailbox) -> None:
    for number, segment in enumerate("abc", start=1):
        box.attach("t", 0, segment)
        box.put("t", at(number), MODEL, keep=True)
    box.open("t", OTHER_KEY, resumed=2)
    for number, segment in enumerate("de", start=3):
        box.attach("t", 0, segment)
        for round in (number, number + 10):
            box.put("t", at(round), MODEL, keep=True)
        assert isinstance(box.look("t", at(2), 7), Ready) == (segment == "d")


def test_an_older_run_writes_nothing_into_a_training_that_a_newer_one_has_resumed(
    box: Mailbox,
) -> None:
    older, newer = fingerprint(KEY), fingerprint(OTHER_KEY)
    box.put("t", at(1), MODEL, run=older)
    attachment = box.attach("t", 0, "s", first=1, last=9, run=older)
    box.open("t", OTHER_KEY, resumed=1)
    assert box.look("t", at(2), 7) == NotReady(started=False, round=0, known_missing={})
    for write in (
        lambda: box.put("t", at(2), MODEL, run=older),
        lambda: box.put("t", at(1), MODEL, run=older),
        lambda: box.attach("t", 0, "s", run=older),
        lambda: box.report_missing("t", "s", {1: "gone"}, run=older),
        lambda: box.open("t", KEY),
    ):
        with pytest.raises(PeerError, match="another run has taken up training 't'"):
            write()
    box.wait(attachment, True)
    box.detach(attachment, "crashed")
    assert box.look("t", at(2), 7) == NotReady(started=False, round=0, known_missing={})
    box.put("t", at(2), OTHER, run=newer)
    assert (box.key("t"), box.held("t")) == (OTHER_KEY, (at(1), at(2)))


def test_a_resumed_run_does_not_wait_for_what_an_earlier_one_lost(box: Mailbox) -> None:
    box.open("u", KEY, resumed=5)
    answer = box.look("u", at(5), 7)
    assert answer == Absent("dropped", "the run was resumed after round 5 without it")
    assert box.look("u", at(6), 7) == NotReady(started=False, round=0, known_missing={})


def test_an_older_round_that_is_not_held_was_dropped(box: Mailbox) -> None:
    for round in (1, 2, 5):
        box.put("t", at(round), MODEL)
    assert box.look("t", at(3), 7) == Absent(
        "dropped", "it has published round 5 and no longer has it"
    )
    assert box.look("t", at(6), 7) == NotReady(started=False, round=5, known_missing={})


def test_attached_gone_and_back(box: Mailbox) -> None:
    assert box.look("t", at(1), 7) == NotReady(False, 0, {})
    first = box.attach("t", 0, "s")
    assert box.look("t", at(1), 7) == NotReady(True, 0, {})
    box.put("t", at(1), MODEL)
    box.detach(first, "its client process ended")
    assert isinstance(box.look("t", at(1), 7), Ready)
    assert box.look("t", at(2), 7) == Absent("gone", "its client process ended")
    second = box.attach("t", 0, "s")
    assert box.look("t", at(2), 7) == NotReady(True, 1, {})
    box.detach(first, "again")
    assert box.look("t", at(2), 7) == NotReady(True, 1, {})
    box.detach(second)
    assert box.look("t", at(2), 7) == NotReady(False, 1, {})


def test_one_of_two_clients_of_a_node_may_die(box: Mailbox) -> None:
    old, new = box.attach("t", 0, "s"), box.attach("t", 0, "s")
    box.detach(old, "died")
    assert box.look("t", at(1), 7) == NotReady(True, 0, {})
    box.detach(new, "died too")
    assert box.look("t", at(1), 7) == Absent("gone", "died too")


def test_who_is_missing_is_told_within_the_segment_only(box: Mailbox) -> None:
    box.report_missing("t", "s", {3: "silent for 10 s"})
    box.report_missing("t", "s", {3: "second hand", 4: "gone"})
    assert box.known_missing("t", "s") == {3: "silent for 10 s", 4: "gone"}
    assert box.known_missing("t", "next") == {}
    box.report_missing("t", "", {5: "while evaluating"})
    assert box.known_missing("t", "") == {}
    for segment in ("s", "s2", "s3"):
        box.attach("t", 0, segment)
    assert box.known_missing("t", "s") == {}


def test_only_who_is_concerned_is_woken(box: Mailbox) -> None:
    woken: list[int] = []
    with box.watch("t", 0, lambda: woken.append(0)), box.watch("t", 1, lambda: woken.append(1)):
        box.put("t", at(1, node=1), MODEL)
        assert woken == [1]
        box.attach("t", 0, "s")
        assert woken == [1, 0]
        box.report_missing("t", "s", {5: "silent"})
        assert sorted(woken) == [0, 0, 1, 1]
    box.put("t", at(2, node=1), MODEL)
    assert len(woken) == 4


def test_a_training_that_is_not_registered(box: Mailbox) -> None:
    assert box.look("other", at(1), 7) == NotReady(False, 0, {})
    with pytest.raises(PeerError, match="'other' is not registered"):
        box.put("other", at(1), MODEL)


def test_a_limit_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="max_bytes is 0"):
        Mailbox(max_bytes=0)


def test_a_failed_client_is_gone_for_its_segment_only() -> None:
    box = Mailbox()
    box.open("t", KEY)
    box.detach(box.attach("t", 0, "first", last=5), "crashed")
    for round in (1, 5):
        assert box.look("t", ModelId(round=round, slot=0, node=0), 1) == Absent("gone", "crashed")
    later = box.look("t", ModelId(round=6, slot=0, node=0), 1)
    assert later == NotReady(started=False, round=0, known_missing={})


def test_a_resumed_run_may_begin_at_an_earlier_round(box: Mailbox) -> None:
    box.detach(box.attach("t", 0, "s", first=11, last=20))
    box.put("t", at(20), MODEL)
    box.open("t", OTHER_KEY)
    box.attach("t", 0, "resumed", first=6, last=10)
    assert box.look("t", at(5), 7) == Absent("dropped", "its client works from round 6 on")
    assert box.look("t", at(6), 7) == NotReady(started=True, round=0, known_missing={})
