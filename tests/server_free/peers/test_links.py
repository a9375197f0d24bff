"""The contract of a link, held over both transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flwr_gossip.server_free.errors import MailboxFull, PeerError, PeerUnreachable
from flwr_gossip.server_free.models import signature
from flwr_gossip.server_free.peers.links import (
    INITIAL,
    WIRE_VERSION,
    Membership,
    Missing,
    ModelId,
    Patience,
    Traffic,
    connect,
    describe,
)

PATIENT = Patience(silence_s=10, start_s=20, ceiling_s=20)
HASTY = Patience(silence_s=0.4, start_s=0.6, ceiling_s=1.0)


def model(value: float, size: int = 10) -> dict[str, np.ndarray]:
    return {"w": np.full(size, value, np.float32)}


def at(round: int, node: int, slot: int = 0) -> ModelId:
    return ModelId(round, slot, node)


def one(link: Any, id: ModelId, patience: Patience = PATIENT) -> Any:
    [answer] = link.fetch([id], patience)
    return answer


def missing(link: Any, id: ModelId, patience: Patience = HASTY) -> Missing:
    answer = one(link, id, patience)
    assert isinstance(answer, Missing), answer
    assert answer.id == id
    return answer


def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    ends = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


# ----- models


def test_a_model_goes_from_node_to_node(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    ring.link(0).publish(at(1, 0), model(3), readers=[1])
    np.testing.assert_array_equal(one(ring.link(1), at(1, 0))["w"], model(3)["w"])


def test_every_shape_and_dtype_comes_as_it_was(make_ring: Callable[..., Any]) -> None:
    sent = {
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "flag": np.array([[True], [False]]),
        "half": np.arange(5, dtype=np.float16),
        "double": np.array([np.pi, np.nan, np.inf, -0.0]),
        "bytes": np.arange(3, dtype=np.uint8),
        "transposed": np.arange(6.0).reshape(2, 3).T,
    }
    ring = make_ring(2)
    ring.link(0).publish(at(1, 0), sent, readers=[1])
    got = one(ring.link(1), at(1, 0))
    assert signature(got) == signature(sent)
    for name, array in sent.items():
        np.testing.assert_array_equal(got[name], array)


def test_a_model_of_many_chunks(make_ring: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    sent = {"a": rng.random(6_000_000), "b": rng.integers(0, 9, 2_000_001, np.uint8)}
    ring = make_ring(2)
    ring.link(0).publish(at(1, 0), sent, readers=[1])
    got = one(ring.link(1), at(1, 0))
    np.testing.assert_array_equal(got["a"], sent["a"])
    np.testing.assert_array_equal(got["b"], sent["b"])


def test_an_empty_model(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    ring.link(0).publish(at(1, 0), {}, readers=[1])
    assert one(ring.link(1), at(1, 0)) == {}


def test_publishing_takes_a_copy(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    array = np.zeros(4)
    ring.link(0).publish(at(1, 0), {"w": array}, readers=[1])
    array += 1
    assert one(ring.link(1), at(1, 0))["w"].tolist() == [0, 0, 0, 0]


def test_answers_come_in_the_order_of_the_wants(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(4)
    for node in (3, 1, 2):
        ring.link(node).publish(at(1, node), model(node), readers=[0])
    wants = [at(1, 2), at(1, 3), at(1, 1), at(1, 2)]
    answers = ring.link(0).fetch(wants, PATIENT)
    assert [answer["w"][0] for answer in answers] == [2, 3, 1, 2]


def test_own_and_initial_models_come_from_the_own_peer(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    link = ring.link(0)
    ring.hosts[0].put_initial("t", model(9))
    link.publish(at(1, 0), model(1), readers=[])
    answers = link.fetch([INITIAL, at(1, 0)], PATIENT)
    assert [answer["w"][0] for answer in answers] == [9, 1]
    assert link.traffic == Traffic(bytes_fetched=0, bytes_published=40, fetches=0)
    assert missing(ring.link(1), INITIAL).kind == "not-started"


def test_initial_arrays_may_come_from_every_client(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(1)
    for node in (0, 1):
        ring.link(node).publish(INITIAL, model(9), readers=[])
    assert one(ring.link(1), INITIAL)["w"][0] == 9


def test_traffic_counts_models_of_other_nodes(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    ring.link(0).publish(at(1, 0), model(1), readers=[1])
    link = ring.link(1)
    link.fetch([at(1, 0), at(1, 0)], PATIENT)
    missing(link, at(2, 0))
    assert link.traffic == Traffic(bytes_fetched=80, bytes_published=0, fetches=2)


def test_one_host_may_serve_all_nodes(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(1)
    links = [ring.link(node) for node in range(5)]
    for node, link in enumerate(links):
        link.publish(at(1, node), model(node), readers=range(5))
    answers = links[4].fetch([at(1, node) for node in range(5)], PATIENT)
    assert [answer["w"][0] for answer in answers] == [0, 1, 2, 3, 4]


# ----- waiting


def test_a_fetch_waits_for_a_model_that_is_not_there_yet(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(2)
    reader, holder = ring.link(1), ring.link(0)
    result = in_background(lambda: one(reader, at(1, 0)))
    time.sleep(0.3)
    holder.publish(at(1, 0), model(5), readers=[1])
    assert result()["w"][0] == 5


def test_a_fetch_may_come_before_the_holder_has_started(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(2)
    reader = ring.link(1)
    result = in_background(lambda: one(reader, at(1, 0)))
    time.sleep(0.3)
    ring.link(0).publish(at(1, 0), model(5), readers=[1])
    assert result()["w"][0] == 5


def test_a_holder_that_works_may_take_longer_than_silence_and_start(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(2)
    reader, holder = ring.link(1), ring.link(0)
    patience = Patience(silence_s=0.5, start_s=0.5, ceiling_s=20)
    result = in_background(lambda: one(reader, at(1, 0), patience))
    time.sleep(1.5)
    holder.publish(at(1, 0), model(5), readers=[1])
    assert result()["w"][0] == 5


def test_a_holder_that_never_starts(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    answer = missing(ring.link(1), at(1, 0))
    assert answer.kind == "not-started"
    assert "node 0" in answer.reason
    assert ring.addresses[0] in answer.reason
    assert "0.6 s" in answer.reason


def test_a_holder_that_trains_past_the_ceiling_is_late(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    holder = ring.link(0)
    holder.publish(at(1, 0), model(1), readers=[1])
    began = time.monotonic()
    answer = missing(ring.link(1), at(2, 0))
    assert time.monotonic() - began >= 1.0
    assert answer.kind == "late"
    assert "at round 1" in answer.reason
    assert "1 s" in answer.reason


def test_one_missing_model_does_not_cost_the_others(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(3)
    ring.link(1).publish(at(1, 1), model(1), readers=[0])
    gone, here = ring.link(0).fetch([at(1, 2), at(1, 1)], HASTY)
    assert isinstance(gone, Missing)
    assert here["w"][0] == 1


def test_many_fetches_wait_at_once(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(1)
    reader, holder = ring.link(100), ring.link(0)
    wants = [at(1, node) for node in range(100)]
    result = in_background(lambda: reader.fetch(wants, PATIENT))
    time.sleep(0.2)
    for want in reversed(wants):
        holder.publish(want, model(want.node), readers=[100])
    assert [answer["w"][0] for answer in result()] == list(range(100))


# ----- ends


def test_a_failed_client_is_gone_at_once_and_says_why(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(2)
    reader = ring.link(1)
    with pytest.raises(RuntimeError), ring.link(0) as holder:
        holder.publish(at(1, 0), model(1), readers=[1])
        result = in_background(lambda: missing(reader, at(2, 0), PATIENT))
        time.sleep(0.2)
        raise RuntimeError("out of memory")
    answer = result(timeout_s=5)
    assert answer.kind == "gone"
    assert "RuntimeError: out of memory" in answer.reason
    assert one(reader, at(1, 0))["w"][0] == 1


def test_a_client_that_comes_back_is_waited_for_again(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(2)
    reader = ring.link(1)
    ring.link(0).close("crashed")
    assert missing(reader, at(1, 0)).kind == "gone"
    back = ring.link(0)
    result = in_background(lambda: one(reader, at(1, 0)))
    time.sleep(0.1)
    back.publish(at(1, 0), model(2), readers=[1])
    assert result()["w"][0] == 2


def test_a_clean_end_is_not_a_failure(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    with ring.link(0):
        pass
    assert missing(ring.link(1), at(1, 0)).kind == "not-started"


def test_closing_twice_keeps_the_first_word(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    holder = ring.link(0)
    holder.close()
    holder.close("too late")
    assert missing(ring.link(1), at(1, 0)).kind == "not-started"


def test_a_closed_link_says_so(make_ring: Callable[..., Any]) -> None:
    link = make_ring(1).link(0)
    link.close()
    with pytest.raises(PeerError, match="closed"):
        link.fetch([INITIAL], HASTY)
    with pytest.raises(PeerError, match="closed"):
        link.publish(at(1, 0), model(1), readers=[])


def test_a_link_without_a_segment_does_not_attach(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    ring.link(0, segment="").close("this must not be told")
    assert missing(ring.link(1), at(1, 0)).kind == "not-started"


def test_models_of_an_older_round_are_dropped(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    holder, reader = ring.link(0), ring.link(1)
    for round in (1, 2, 3):
        holder.publish(at(round, 0), model(round), readers=[1])
        assert one(reader, at(round, 0))["w"][0] == round
    holder.publish(at(4, 0), model(4), readers=[1])
    answer = missing(reader, at(1, 0), PATIENT)
    assert answer.kind == "dropped"
    assert "round 4" in answer.reason
    assert one(reader, at(3, 0))["w"][0] == 3


def test_a_model_to_keep_stays_till_two_newer_segments(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    with ring.link(0) as holder:
        holder.publish(at(1, 0), model(1), readers=[], keep=True)
        for round in (2, 3, 4):
            holder.publish(at(round, 0), model(round), readers=[])
    with ring.link(0, segment="s2", first=5) as holder:
        for round in (5, 6, 7):
            holder.publish(at(round, 0), model(round), readers=[])
    assert one(ring.link(1), at(1, 0))["w"][0] == 1
    assert missing(ring.link(1), at(4, 0)).kind == "dropped"
    with ring.link(0, segment="s3", first=8) as holder:
        holder.publish(at(8, 0), model(8), readers=[])
        assert missing(ring.link(1), at(1, 0)).kind == "dropped"


def test_a_restarted_peer_does_not_promise_rounds_before_the_segment(
    make_ring: Callable[..., Any],
) -> None:
    """The fresh peer has neither the models nor the memory of their publication."""
    ring = make_ring(2)
    back = ring.link(0, segment="s2", first=11, last=20)
    began = time.monotonic()
    for link in (back, ring.link(1)):
        answer = missing(link, at(10, 0), PATIENT)
        assert answer.kind == "dropped"
        assert "works from round 11 on" in answer.reason
    assert time.monotonic() - began < 5
    assert missing(ring.link(1), at(11, 0)).kind == "late"


def test_a_full_mailbox_refuses(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(1, max_bytes=100)
    link = ring.link(0)
    link.publish(at(1, 0), model(1), readers=[1])
    link.publish(at(2, 0), model(2), readers=[1])
    with pytest.raises(MailboxFull, match=r"80 bytes of its limit of 100.*Host\(max_bytes="):
        link.publish(at(3, 0), model(3), readers=[1])


def test_a_peer_serves_one_training_after_another(make_ring: Callable[..., Any]) -> None:
    """What has ended makes room at once; what has not is left alone."""
    ring = make_ring(1, max_bytes=1000)

    def play(training: str, **changes: Any) -> None:
        with ring.link(0, training=training, **changes) as link:
            link.publish(INITIAL, model(0), readers=[])
            for round in range(1, 11):
                link.publish(at(round, 0), model(round), readers=[1])

    for run in range(6):
        play(f"t{run}", segment="first")
        with ring.link(0, training=f"t{run}", final=True, segment="last") as link:
            link.publish(at(11, 0), model(11), readers=[1])
    mailbox = ring.hosts[0].mailbox
    assert [run for run in range(6) if mailbox.held(f"t{run}")] == [4, 5]
    play("open")
    play("open too")
    assert [run for run in range(6) if mailbox.held(f"t{run}")] == []
    with pytest.raises(MailboxFull, match="holds 1000 bytes of its limit of 1000"):
        play("one too many")
    assert mailbox.held("open")


def test_publishing_is_idempotent_and_never_replaces(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(1)
    link = ring.link(0)
    link.publish(at(1, 0), model(1), readers=[1])
    link.publish(at(1, 0), model(1), readers=[1])
    with pytest.raises(PeerError, match="already published"):
        link.publish(at(1, 0), model(2), readers=[1])
    assert one(link, at(1, 0))["w"][0] == 1


# ----- who is missing


def test_what_one_client_reports_spreads_with_the_answers(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(4)
    ring.link(0).report_missing({3: "node 3 was silent for 10 s"})
    ring.link(0, segment="s").publish(at(1, 0), model(1), readers=[1])
    second = ring.link(1)
    one(second, at(1, 0))
    assert second.known_missing == {3: "node 3 was silent for 10 s"}
    third = ring.link(2)
    missing(third, at(1, 1))
    assert third.known_missing == {3: "node 3 was silent for 10 s"}
    assert ring.link(2).known_missing == {3: "node 3 was silent for 10 s"}


def test_who_waits_hears_of_the_missing(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(3)
    holder, reader = ring.link(0), ring.link(1)
    result = in_background(lambda: reader.fetch([at(1, 2), at(1, 0)], PATIENT))
    time.sleep(0.2)
    began = time.monotonic()
    holder.report_missing({2: "its machine is off"})
    time.sleep(0.3)
    holder.publish(at(1, 0), model(1), readers=[1])
    known, here = result()
    assert time.monotonic() - began < 5
    assert known.kind == "known"
    assert "node 2" in known.reason
    assert "its machine is off" in known.reason
    assert here["w"][0] == 1


def test_a_known_missing_holder_is_asked_but_not_waited_for(
    make_ring: Callable[..., Any],
) -> None:
    ring = make_ring(2)
    holder, reader = ring.link(0), ring.link(1)
    holder.publish(at(1, 0), model(1), readers=[1])
    holder.close("out of memory")
    reader.report_missing({0: "gone"})
    began = time.monotonic()
    assert missing(reader, at(2, 0), PATIENT).kind == "known"
    assert time.monotonic() - began < 5
    assert one(reader, at(1, 0))["w"][0] == 1


def test_who_is_at_work_is_not_missing(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    """One bad moment of a line must not separate two nodes for the rest of a segment."""
    ring = make_ring(3)
    holder, reader = ring.link(0), ring.link(1)
    reader.report_missing({0: "silent for 10 s"})
    assert ring.link(2, segment="s").known_missing == {}
    result = in_background(lambda: one(reader, at(1, 0)))
    time.sleep(0.3)
    holder.publish(at(1, 0), model(1), readers=[1])
    assert result()["w"][0] == 1
    assert reader.known_missing == {}
    own_peer = ring.link(1)
    assert eventually(lambda: ring.hosts[1].mailbox.known_missing("t", "s") == {})
    assert own_peer.known_missing in ({}, {0: "silent for 10 s"})


def test_who_sends_a_model_at_once_is_not_missing_either(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    holder, reader = ring.link(0), ring.link(1)
    reader.report_missing({0: "silent for 10 s"})
    holder.publish(at(1, 0), model(1), readers=[1])
    assert one(reader, at(1, 0))["w"][0] == 1
    assert reader.known_missing == {}


def test_who_hangs_stays_missing_and_costs_one_ceiling(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    holder, reader = ring.link(0), ring.link(1)
    holder.publish(at(1, 0), model(1), readers=[1])
    assert missing(reader, at(2, 0)).kind == "late"
    reader.report_missing({0: "late"})
    began = time.monotonic()
    assert one(reader, at(1, 0), HASTY)["w"][0] == 1
    assert [missing(reader, at(round, 0)).kind for round in (2, 3)] == ["known"] * 2
    assert time.monotonic() - began < HASTY.ceiling_s
    holder.publish(at(2, 0), model(2), readers=[1])
    assert missing(reader, at(3, 0)).kind == "late"  # waited for again


def test_hearsay_about_who_was_heard_just_now_is_not_believed(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(4)
    holder, gossip, reader = ring.link(0), ring.link(1), ring.link(2)
    result = in_background(lambda: reader.fetch([at(1, 0), at(1, 1)], PATIENT))
    time.sleep(0.3)
    gossip.report_missing({0: "silent", 3: "silent"})
    gossip.publish(at(1, 1), model(2), readers=[2])
    holder.publish(at(1, 0), model(1), readers=[2])
    assert [answer["w"][0] for answer in result()] == [1, 2]
    assert reader.known_missing == {3: "silent"}


def test_nobody_is_told_that_it_is_missing_itself(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    first, second = ring.link(0), ring.link(1)
    first.report_missing({1: "silent"})
    first.publish(at(1, 0), model(1), readers=[1])
    one(second, at(1, 0))
    assert second.known_missing == {}
    assert ring.hosts[1].mailbox.known_missing("t", "s") == {}


def test_who_fetches_from_a_peer_is_not_missing_there(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    first, second = ring.link(0), ring.link(1)
    first.publish(at(1, 0), model(1), readers=[1])
    first.report_missing({1: "silent"})
    one(second, at(1, 0))
    assert ring.hosts[0].mailbox.known_missing("t", "s") == {}


@pytest.mark.parametrize("num_hosts", [1, 6])
def test_only_the_readers_of_a_node_that_hangs_give_up(
    num_hosts: int, make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    """A ring of six, 20 ms of work a round: in round 3 node 3 hangs, and all wait in the end."""
    ring = make_ring(num_hosts)
    if num_hosts == 1:
        ring.addresses = ring.addresses * 6
    patience = Patience(silence_s=10, start_s=10, ceiling_s=1.0)
    hung = threading.Event()

    def play(node: int, link: Any) -> list[tuple[int, int, int, str]]:
        losses = []
        for round in range(1, 6):
            if (node, round) == (3, 3):
                hung.wait(20)
                return losses
            time.sleep(0.02)
            ends = ((node - 1) % 6, (node + 1) % 6)
            link.publish(at(round, node), model(round), readers=ends)
            for answer in link.fetch([at(round, end) for end in ends], patience):
                if isinstance(answer, Missing):
                    losses.append((node, answer.id.node, round, answer.kind))
                    if answer.kind == "late":
                        link.report_missing({answer.id.node: answer.reason})
        return losses

    links = [ring.link(node) for node in range(6)]
    results = [in_background(lambda n=n, link=link: play(n, link)) for n, link in enumerate(links)]
    losses = [loss for node, result in enumerate(results) if node != 3 for loss in result(30)]
    hung.set()
    assert {holder for _, holder, _, _ in losses} == {3}
    assert {reader for reader, _, _, _ in losses} == {2, 4}
    if num_hosts == 6:
        late = [loss for loss in losses if loss[3] == "late"]
        assert sorted(late) == [(2, 3, 3, "late"), (4, 3, 3, "late")]
    assert {kind for _, _, round, kind in losses if round > 3} == {"known"}


def test_the_next_segment_forgets_who_was_missing(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    ring.link(0).report_missing({1: "silent"})
    assert ring.link(0).known_missing == {1: "silent"}
    assert ring.link(0, segment="next").known_missing == {}


def test_a_link_knows_from_the_start_whom_the_server_has_lost(
    make_ring: Callable[..., Any],
) -> None:
    ring = make_ring(2)
    link = ring.link(0, known={1: "no reply within 60 s"})
    began = time.monotonic()
    answer = missing(link, at(1, 1), PATIENT)
    assert answer.kind == "known"
    assert "no reply within 60 s" in answer.reason
    assert time.monotonic() - began < 5
    assert link.known_missing == {1: "no reply within 60 s"}
    assert ring.link(0).known_missing == {}


# ----- addresses, keys, values


def test_a_stopped_host_is_unreachable_and_the_link_can_be_closed(
    make_ring: Callable[..., Any],
) -> None:
    ring = make_ring(2)
    own, other = ring.link(0), ring.link(1)
    ring.hosts[0].stop()
    answer = missing(other, at(1, 0))
    assert answer.kind == "unreachable"
    assert ring.addresses[0] in answer.reason
    assert "0.4 s" in answer.reason
    with pytest.raises(PeerUnreachable):
        own.publish(at(1, 0), model(1), readers=[])
    own.close("the peer has stopped")


def test_another_key_gets_no_model(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    ring.link(0).publish(at(1, 0), model(1), readers=[1])
    stranger = ring.link(1, key=b"x" * 32)
    answer = missing(stranger, at(1, 0))
    assert answer.kind == "not-started"
    assert stranger.traffic.bytes_fetched == 0


def test_another_training_has_its_own_models(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(2)
    ring.link(0).publish(at(1, 0), model(1), readers=[1])
    ring.link(0, training="u").publish(at(1, 0), model(2), readers=[1])
    assert one(ring.link(1, training="u"), at(1, 0))["w"][0] == 2
    assert one(ring.link(1), at(1, 0))["w"][0] == 1


def test_a_resumed_run_waits_for_the_new_key_and_then_reads_on(
    make_ring: Callable[..., Any], in_background: Callable[..., Any]
) -> None:
    ring = make_ring(2)
    with ring.link(0) as before:
        before.publish(at(1, 0), model(1), readers=[1])
    new_key = b"n" * 32
    reader = ring.link(1, key=new_key, resumed=1)
    result = in_background(lambda: one(reader, at(1, 0)))
    time.sleep(0.2)
    ring.link(0, key=new_key, resumed=1)
    assert result()["w"][0] == 1


def test_a_client_of_an_older_run_writes_nothing_into_a_peer_that_a_newer_run_shares(
    make_ring: Callable[..., Any],
) -> None:
    """Node 0's client has not ended yet, or is late; node 1's is of the run that resumed."""
    ring = make_ring(1)
    new: dict[str, Any] = {"key": b"n" * 32, "resumed": 1}
    older = ring.link(0, "old")
    older.publish(at(1, 0), model(1), readers=[1])
    reader = ring.link(1, "new", **new)
    says = "another run has taken up training 't' at this peer"
    for size in (10, 1_000_000):  # they go different ways
        with pytest.raises(PeerError, match=says):
            older.publish(at(2, 0), model(2, size), readers=[1])
    with pytest.raises(PeerError, match=says):
        older.report_missing({1: "silent"})
    with pytest.raises(PeerError, match=says):
        ring.link(0, "old")
    older.close("it was killed")
    assert missing(reader, at(2, 0)).kind == "not-started"
    assert reader.known_missing == {}
    ring.link(0, "new", **new).publish(at(2, 0), model(3), readers=[1])
    assert one(reader, at(2, 0))["w"][0] == 3


def test_a_peer_describes_itself(make_ring: Callable[..., Any]) -> None:
    ring = make_ring(1)
    info = describe(ring.hosts[0].local_address)
    assert info.address == ring.addresses[0]
    assert info.protocol == WIRE_VERSION
    assert info.version
    assert info.tls is False


def test_a_node_without_an_address_is_the_callers_mistake(make_ring: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="node 5 has no address: there are 2"):
        make_ring(2).link(0).fetch([at(1, 5)], HASTY)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"key": b"short"}, "key has 5 bytes, must have 32"),
        ({"node": 2}, "node is 2, must be 0 to 1"),
        ({"node": -1}, "node is -1"),
        ({"addresses": ()}, "addresses must not be empty"),
        ({"training": ""}, "training must not be empty"),
        ({"first": -1}, "first is -1, last is 0"),
        ({"last": -2}, "last is -2 and resumed is 0, all must be >= 0"),
    ],
)
def test_a_membership_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    good = Membership("t", b"k" * 32, 0, "s", ("a:1", "b:1"))
    with pytest.raises(ValueError, match=says):
        replace(good, **changes)


def test_a_membership_can_be_hashed_and_compared() -> None:
    first, second = (Membership("t", b"k" * 32, 0, "s", ("a:1",), known={2: x}) for x in "ab")
    assert hash(first) == hash(second)
    assert first != second


def test_the_key_is_not_shown() -> None:
    assert "kkk" not in repr(Membership("t", b"k" * 32, 0, "s", ("a:1",)))


@pytest.mark.parametrize("field", ["silence_s", "start_s", "ceiling_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_patience_that_cannot_be(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Patience\.{field} is"):
        Patience(**{field: value})


def test_no_host_at_the_address() -> None:
    says = r"memory:nowhere.*gossip-peer.*flwr-gossip peer"
    with pytest.raises(PeerUnreachable, match=says):
        connect("memory:nowhere", Membership("t", b"k" * 32, 0, "s", ("a:1",)))
    with pytest.raises(PeerUnreachable, match=says):
        describe("memory:nowhere")
