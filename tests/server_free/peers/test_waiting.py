"""The rules of waiting on a clock of our own."""

from __future__ import annotations

import pytest

from flwr_gossip.server_free.peers.links import ModelId, Patience
from flwr_gossip.server_free.peers.training import NotReady
from flwr_gossip.server_free.peers.waiting import Wait

WORKS = NotReady(True, 4, {})
WAITS = NotReady(True, 4, {}, waiting=True)
AWAY = NotReady(False, 4, {})


def kinds(states: dict[int, NotReady], until: int = 100) -> tuple[str, int] | None:
    """Hear ``states`` from their second on, every second; return the end and its second."""
    wait = Wait(ModelId(5, 0, 3), "a:1", Patience(silence_s=2, start_s=5, ceiling_s=10), 0.0)
    state = AWAY
    for now in range(until):
        state = states.get(now, state)
        wait.hear(state, float(now))
        if (missing := wait.overdue(state, float(now))) is not None:
            assert f"node {missing.id.node}'s peer at a:1" in missing.reason
            return missing.kind, now
    return None


def test_a_holder_that_works_has_the_ceiling() -> None:
    assert kinds({0: WORKS}) == ("late", 10)


def test_a_holder_that_waits_for_others_is_not_late() -> None:
    assert kinds({0: WORKS, 1: WAITS, 20: WORKS}) == ("late", 29)
    assert kinds({0: WORKS, 1: WAITS, 3: WORKS, 5: WAITS, 8: WORKS}) == ("late", 15)


def test_there_is_an_end_to_waiting_in_any_case() -> None:
    assert kinds({0: WAITS}) == ("late", 30)
    assert kinds({0: WAITS, 29: WORKS}) == ("late", 30)


def test_a_holder_that_has_not_been_at_work_has_the_time_to_start() -> None:
    assert kinds({0: AWAY}) == ("not-started", 5)


def test_a_holder_that_was_at_work_and_is_not_has_the_time_of_a_silence_to_come_back() -> None:
    assert kinds({0: AWAY, 4: WORKS, 7: AWAY}) == ("gone", 9)
    assert kinds({0: WAITS, 12: AWAY}) == ("gone", 14)
    assert kinds({0: WORKS, 3: AWAY, 4: WORKS, 6: AWAY, 7: WORKS}) == ("late", 10)


def test_it_may_have_been_at_work_in_an_earlier_fetch() -> None:
    patience = Patience(silence_s=2, start_s=5, ceiling_s=10)
    wait = Wait(ModelId(5, 0, 3), "a:1", patience, 0.0, was_at_work=True)
    for now in (1.0, 2.9):  # the peer itself was away till 1.0
        wait.hear(AWAY, now)
        assert wait.overdue(AWAY, now) is None
    missing = wait.overdue(AWAY, 3.0)
    assert missing is not None
    assert missing.kind == "gone"
    assert "its client, which was at work, has been gone for 2 s" in missing.reason


def test_the_reason_names_the_seconds_and_what_the_holder_does() -> None:
    wait = Wait(ModelId(5, 0, 3), "a:1", Patience(ceiling_s=10), 0.0)
    working, waiting = wait.overdue(WORKS, 10.0), wait.overdue(WAITS, 30.0)
    assert working is not None and waiting is not None
    assert "at round 4, and had no model of round 5 after 10 s" in working.reason
    assert waiting.reason.endswith("after 30 s, waiting for others itself")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("round 2: no room", "node 3's peer at a:1 is known to be missing: round 2: no room"),
        ("node 3's peer at a:1 said nothing", "node 3's peer at a:1 said nothing"),
    ],
)
def test_who_is_known_to_be_missing_is_named_once(known: str, said: str) -> None:
    wait = Wait(ModelId(5, 0, 3), "a:1", Patience(), 0.0)
    assert (wait.known(known).kind, wait.known(known).reason) == ("known", said)
