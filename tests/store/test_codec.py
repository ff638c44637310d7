"""What is stored comes back as it was: payloads, times, plans."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.plan import Call, Compensation, CompensationKind, Effects, Plan, PlanStep
from orchestrator.core.retry import RetryPolicy
from orchestrator.store import codec
from orchestrator.store.plans import dump_plan, load_plan

any_text = st.text(st.characters(codec=None))  # with NUL and lone surrogates
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
objects = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
moments = st.datetimes(timezones=st.just(UTC))


@given(json_values)
def test_payloads_come_back_equal_and_of_the_same_type(value: object) -> None:
    stored = codec.dump(value)
    stored.encode()  # a database takes it: no lone surrogate, no NUL
    assert "\x00" not in stored
    loaded = codec.load(stored)
    assert loaded == value
    assert repr(loaded) == repr(value)


def test_payloads_name_their_format() -> None:
    assert json.loads(codec.dump({"a": 1})) == {"v": 1, "data": {"a": 1}}
    with pytest.raises(codec.UnknownFormat, match="found format 2; wanted 1"):
        codec.load('{"v":2,"data":{}}')


def test_mappings_of_any_kind_are_objects() -> None:
    assert codec.load(codec.dump(MappingProxyType({"a": MappingProxyType({})}))) == {"a": {}}
    surrogate = MappingProxyType({"a": MappingProxyType({"b": "\ud800"})})
    assert codec.load(codec.dump(surrogate)) == {"a": {"b": "\ud800"}}


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError, match="JSON values, not object"):
        codec.dump({"a": object()})


@given(st.lists(st.tuples(any_text, st.integers(0, 9), st.none() | any_text), max_size=5))
def test_batches_hold_only_what_a_database_can(rows: list[tuple[str, int, str | None]]) -> None:
    encoded = codec.dump_batch(rows)
    decoded = json.loads(encoded)
    assert len(decoded) == len(rows)
    for row, given_row in zip(decoded, rows, strict=True):
        assert row[1] == given_row[1]
        assert (row[2] is None) == (given_row[2] is None)
        assert row[0] == codec.storable(given_row[0])


@given(any_text)
def test_storable_text_changes_only_what_cannot_be_stored(text: str) -> None:
    kept = codec.storable(text)
    assert "\x00" not in kept
    kept.encode()
    if "\x00" not in text and text.isprintable() and text.isascii():
        assert kept is text


@given(moments)
def test_microseconds_are_exact(at: datetime) -> None:
    assert codec.instant(codec.micros(at)) == at


@given(moments, st.integers(-14 * 60, 14 * 60))
def test_times_come_back_in_utc(at: datetime, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    if datetime(2, 1, 1, tzinfo=UTC) < at < datetime(9998, 1, 1, tzinfo=UTC):
        assert codec.micros(at.astimezone(zone)) == codec.micros(at)
        assert codec.instant(at.astimezone(zone)).utcoffset() == timedelta(0)


retries = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 9),
    first_delay_seconds=st.floats(0, 10),
    max_elapsed_seconds=st.none() | st.floats(0, 600),
)
simple_calls = st.builds(
    Call, label=st.text(), api=st.text(), effects=st.sampled_from(Effects), template=objects,
    retry=retries, timeout_seconds=st.none() | st.floats(0, 60), verify=st.none(),
    task_name=st.none() | st.text(),
)  # fmt: skip
calls = st.builds(
    Call, label=st.text(), api=st.text(), effects=st.sampled_from(Effects), template=objects,
    verify=st.none() | simple_calls,
)  # fmt: skip
compensations = st.builds(Compensation, call=calls, kind=st.sampled_from(CompensationKind))
steps = st.builds(
    PlanStep, id=st.text(), call=calls, compensation=st.none() | compensations,
    no_compensation_reason=st.none() | st.text(), pivot=st.booleans(),
)  # fmt: skip
plans = st.builds(
    Plan, workflow=st.text(), steps=st.lists(steps, max_size=3).map(tuple), digest=st.text(),
    inputs_schema=objects, outputs=objects, deadline_seconds=st.none() | st.floats(0, 9e9),
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
@given(plans)
def test_plans_come_back_equal(plan: Plan) -> None:
    assert load_plan(dump_plan(plan)) == plan


def test_a_plan_of_a_newer_release_is_refused() -> None:
    with pytest.raises(codec.UnknownFormat, match="found format 99"):
        load_plan('{"format": 99, "plan": {}}')
