"""What is shown of large values, and how the rest is read in parts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput
from orchestrator.service.projection import (
    MOST_HANDLES,
    Handle,
    part_of,
    pointer_to,
    project,
)

LARGE = "ä" * 100_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=200),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)


def size(value: Any) -> int:
    return len(orjson.dumps(value))


def test_what_fits_is_shown_and_the_rest_has_handles() -> None:
    shown = project({"id": "o-1", "report": LARGE, "rows": [1] * 5000, "tree": {"a": LARGE}}, 100)
    assert shown.kept == {"id": "o-1"}
    assert shown.left_out == [
        Handle(path="/report", bytes=200_002, type="text", preview="ä" * 60 + "…"),
        Handle(path="/rows", bytes=10_001, type="list", preview="5000 items"),
        Handle(path="/tree", bytes=200_008, type="object", preview="a"),
    ]
    assert project({}, 100).kept == {}


def test_of_many_that_are_too_large_some_are_listed() -> None:
    shown = project({f"o{n}": LARGE for n in range(MOST_HANDLES + 5)}, 100)
    assert (len(shown.left_out), shown.unlisted) == (MOST_HANDLES, 5)
    assert size([each.__dict__ for each in shown.left_out]) < 6000


@given(value=JSON, room=st.integers(64, 400))
def test_all_of_any_value_is_read_in_parts_of_that_size(value: Any, room: int) -> None:
    assert whole({"it": value}, "/it", room) == value


def whole(outputs: dict[str, Any], path: str, room: int) -> Any:
    """As an agent would read it: part after part, and handles of parts in turn."""
    offset, taken = 0, []
    while True:
        part = part_of(outputs, path, offset, room)
        assert size(part.value) <= room + 2, "besides brackets or quotes"
        found = part.value
        for handle in part.left_out:
            inner = whole(outputs, handle.path, room)
            found = [inner] if part.type == "list" else {name_of(handle.path): inner}
        taken.append(found)
        if part.next is None:
            break
        assert part.next > offset
        offset = part.next
    if part.type == "object":
        return {name: held for each in taken for name, held in each.items()}
    if part.type in {"list", "text"}:
        return [item for each in taken for item in each] if part.type == "list" else "".join(taken)
    return taken[0]


def name_of(path: str) -> str:
    return path.rsplit("/", 1)[1].replace("~1", "/").replace("~0", "~")


def test_a_path_without_its_slash_and_with_escapes_is_found() -> None:
    outputs = {"a/b": {"c~d": [1, {"e": "yes"}]}}
    path = pointer_to(pointer_to("", "a/b"), "c~d")
    assert path == "/a~1b/c~0d"
    assert part_of(outputs, f"{path}/1/e", 0, 99).value == "yes"
    assert part_of(outputs, "a~1b", 0, 99).type == "object"


@pytest.mark.parametrize(
    ("path", "offset", "place", "found", "wanted"),
    [
        ("/x", 0, "path", "/x", "/n, /rows, /text"),
        ("/rows/2", 0, "path", "/rows/2", "/rows/0 to"),
        ("/rows/-", 0, "path", "/rows/-", "/rows/0 to"),
        ("/text/0", 0, "path", "/text/0", "no parts"),
        ("/text", 3, "offset", "3", "0 to 2"), ("/n", 1, "offset", "1", "0 to 0"),
    ],
)  # fmt: skip
def test_where_nothing_is_the_refusal_says_what_there_is(
    path: str, offset: int, place: str, found: str, wanted: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        part_of({"n": 5, "rows": [1, 2], "text": "abc"}, path, offset, 99)
    (problem,) = caught.value.problems
    assert (problem.place, problem.found) == (place, found)
    assert wanted in problem.wanted
