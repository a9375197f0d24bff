"""Logs: what others wrote stays on one line, and floods do not reach the log."""

from __future__ import annotations

import logging

import pytest

from flwr_gossip.server_free.sparing import Sparing, brief


def test_a_few_lines_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    sparing = Sparing(lines=2, per_s=60, clock=lambda: now[0])
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    try:
        for number in range(10):
            sparing.warning(f"line {number}")
        now[0] = 60.0
        sparing.warning("later")
        sparing.warning("last")
    finally:
        logger.removeHandler(caplog.handler)
    messages = list(dict.fromkeys(caplog.messages))
    left_out = "later (8 such lines were left out before)"
    assert messages == ["line 0", "line 1", left_out, "last"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mnist", "mnist"),
        ("", "''"),
        ("a\nINFO: forged", r"'a\nINFO: forged'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("x" * 100, "x" * 64 + "..."),
    ],
)
def test_what_others_wrote_is_one_short_line(text: str, expected: str) -> None:
    assert brief(text) == expected
