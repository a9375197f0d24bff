"""Orders and reports survive the way through a record; what is not one is an error."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from flwr.app import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st

from flwr_gossip.server_free import orders
from flwr_gossip.server_free.errors import ModelError, PlanError, PlanMismatch, one_line
from flwr_gossip.server_free.orders import (
    PROTOCOL,
    Evaluation,
    Hello,
    Introduction,
    Loss,
    Report,
    Sealed,
    Segment,
    plugin_version,
    read,
)

KINDS: list[type[Sealed]] = [Hello, Introduction, Segment, Evaluation, Report]
SAMPLES: dict[str, Any] = {
    "bool": True,
    "int": 3,
    "float": 0.25,
    "str": "text",
    "bytes": b"\x00\xff",
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "str": st.text(),
    "bytes": st.binary(),
}
WRONG: dict[str, list[Any]] = {
    "bool": [1, "True", None],
    "int": [1.0, "1", True, None],
    "float": ["1.0", True, None],
    "str": [b"text", 1, None],
    "bytes": ["text", 1, None],
}


def sample(kind: type[Sealed]) -> Sealed:
    return kind(**{f.name: SAMPLES[str(f.type)] for f in fields(kind)})


def in_fields(kind: type[Sealed], wrong: bool = False) -> list[Any]:
    """Return (kind, field name) pairs, or (kind, field name, value of a wrong type) triples."""
    pairs = [(kind, field.name, str(field.type)) for field in fields(kind)]
    if not wrong:
        return [(kind, name) for _, name, _ in pairs]
    return [(kind, name, value) for _, name, type_ in pairs for value in WRONG[type_]]


def test_every_kind_is_tested_here() -> None:
    exported = {getattr(orders, name) for name in orders.__all__}
    sealed = {one for one in exported if isinstance(one, type) and issubclass(one, Sealed)}
    assert {one for one in sealed if one.KIND} == set(KINDS)
    assert len({kind.KIND for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_every_order_and_report_comes_back(kind: type[Sealed], data: st.DataObject) -> None:
    order = kind(**{f.name: data.draw(VALUES[str(f.type)]) for f in fields(kind)})
    assert read(kind, order.to_values(), "node 1") == order


@pytest.mark.parametrize("kind", KINDS)
def test_every_order_and_report_fits_into_one_record_of_flower(kind: type[Sealed]) -> None:
    record = ConfigRecord(sample(kind).to_values())
    again = read(kind, ConfigRecord.inflate(record.deflate()), "node 1")
    assert again == sample(kind)


def test_reports_need_only_say_whose_they_are() -> None:
    report = Report(node=3)
    assert read(Report, report.to_values(), "node 3") == report
    assert Loss.load(report.losses) == []
    assert (report.failure, report.rounds, report.sketch) == ("", "", b"")


def test_unknown_fields_are_left_alone() -> None:
    values = sample(Report).to_values() | {"later": "addition"}
    assert read(Report, values, "node 1") == sample(Report)


@pytest.mark.parametrize("protocol", [PROTOCOL + 1, 0, "1", None])
def test_another_protocol_names_both_versions(protocol: Any) -> None:
    values = sample(Segment).to_values() | {"protocol": protocol, "version": "9.8.7"}
    with pytest.raises(PlanMismatch) as caught:
        read(Segment, values, "node 3")
    text = str(caught.value)
    assert text.startswith(f"node 3 runs flwr-gossip 9.8.7 (protocol {protocol})")
    assert f"this side {plugin_version()} (protocol {PROTOCOL})" in text


def test_a_record_without_protocol_is_refused() -> None:
    with pytest.raises(PlanMismatch, match=r"node 3 runs flwr-gossip \? \(protocol \?\)"):
        read(Hello, {}, "node 3")


def test_another_kind_is_refused() -> None:
    with pytest.raises(PlanError, match="node 3 sent a 'hello', expected is 'segment'"):
        read(Segment, Hello().to_values(), "node 3")


@pytest.mark.parametrize(("kind", "name"), [case for kind in KINDS for case in in_fields(kind)])
def test_a_missing_field_is_named(kind: type[Sealed], name: str) -> None:
    values = sample(kind).to_values()
    del values[name]
    with pytest.raises(PlanError, match=f"the {kind.KIND} of node 3 has no field '{name}'"):
        read(kind, values, "node 3")


@pytest.mark.parametrize(
    ("kind", "name", "value"), [case for kind in KINDS for case in in_fields(kind, wrong=True)]
)
def test_a_field_of_the_wrong_type_is_named(kind: type[Sealed], name: str, value: Any) -> None:
    says = f"field '{name}' of the {kind.KIND} of node 3 is {type(value).__name__}, allowed is"
    with pytest.raises(PlanError, match=says):
        read(kind, sample(kind).to_values() | {name: value}, "node 3")


def test_whole_numbers_are_seconds_too() -> None:
    report = read(Report, Report(node=1).to_values() | {"seconds": 2}, "node 1")
    assert report.seconds == 2


losses = st.builds(
    Loss,
    round=st.integers(0, 99),
    slot=st.integers(0, 9),
    holder=st.integers(-1, 9),
    reader=st.integers(0, 9),
    reader_slot=st.integers(0, 9),
    kind=st.sampled_from(["silent", "gone"]),
    reason=st.text(),
    used=st.text(),
)


@given(st.lists(losses, max_size=4))
def test_losses_come_back_from_json(some: list[Loss]) -> None:
    assert Loss.load(Loss.dump(some)) == some


def test_own_errors_speak_for_themselves() -> None:
    assert one_line(ModelError("node 3 has NaN.")) == "node 3 has NaN."
    assert one_line(KeyError("w")) == "KeyError: 'w'"
