"""What differs between two looks at an API."""

from __future__ import annotations

from typing import Any

from orchestrator.definitions.comparing import differences, shown


def places(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(each.where, each.before, each.after) for each in differences(before, after)]


def look(body: Any, status: int = 200) -> dict[str, Any]:
    return {"GET /things": shown(status, body)}


def test_the_same_in_another_order_is_no_difference() -> None:
    one = {"data": [{"id": 1, "size": 2}, {"id": "b", "size": 3}], "tags": ["x", "y"]}
    two = {"tags": ["y", "x"], "data": [{"size": 3, "id": "b"}, {"id": 1, "size": 2}]}
    assert places(look(one), look(two)) == []


def test_a_changed_field_is_named_by_its_element() -> None:
    before = look({"data": [{"id": "a", "size": 2}]})
    after = look({"data": [{"id": "a", "size": 4}]})
    assert places(before, after) == [("/data/[a]/size", 2, 4)]


def test_an_element_that_is_new_or_gone_is_one_difference() -> None:
    empty, full = look({"data": []}), look({"data": [{"id": "a", "size": 2, "in": {"x": 1}}]})
    assert places(empty, full) == [("/data/[a]", "nothing", "something")]
    assert places(full, empty) == [("/data/[a]", "something", "nothing")]


def test_a_thing_that_is_absent_shows_nothing() -> None:
    gone, there = look({"error": "no"}, status=404), look({"id": "a"})
    assert places(gone, there) == [("", "nothing", "something")]
    assert places({}, gone) == []
    assert places(look({}, status=500), there) == [
        ("", "status 500", "nothing"),
        ("/id", "nothing", "a"),
    ]


def test_times_of_change_are_no_difference_but_their_coming_is() -> None:
    before = look({"id": "a", "last_modified": 1, "updatedAt": "x", "etag": "1"})
    after = look({"id": "a", "last_modified": 2, "updatedAt": "y", "etag": "2"})
    assert places(before, after) == []


def test_what_changes_by_itself_is_left_out() -> None:
    before, after = look({"clock": 1, "size": 1}), look({"clock": 2, "size": 2})
    (left,) = differences(before, after, volatile={("GET /things", "/clock")})
    assert left.where == "/size"
