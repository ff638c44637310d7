"""What is stored comes back as it was: payloads, times, plans."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store import codec

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
