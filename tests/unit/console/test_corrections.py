"""The values of a stuck request as fields: by pointer, without secrets, each of its kind."""

from __future__ import annotations

import pytest

from orchestrator.console.corrections import Leaf, leaves, read_value
from orchestrator.errors import InvalidInput

BODY = {
    "amount": 90, "to": {"a/b": "x", "c~d": None}, "lines": [{"paid": True}, 2.5], "token": "t",
    "empty": {}, "note": "",
}  # fmt: skip


def test_each_value_by_its_pointer_and_nothing_secret() -> None:
    assert dict(leaves(BODY)) == {
        "/amount": 90, "/to/a~1b": "x", "/to/c~0d": None, "/lines/0/paid": True, "/lines/1": 2.5,
        "/note": "",
    }  # fmt: skip
    assert dict(leaves("a body that is one value")) == {}


@pytest.mark.parametrize(
    ("text", "before", "value"),
    [("91", 90, 91), ("91", "90", "91"), ("false", True, False), ("null", 3, None),
     ("words", None, "words"), ("4", None, 4), ("{}", "a text", "{}")],
)  # fmt: skip
def test_what_was_typed_is_read_as_the_kind_that_stood_there(
    text: str, before: object, value: object
) -> None:
    assert read_value("/x", text, before) == value


@pytest.mark.parametrize(
    ("text", "before"), [("many", 90), ("[1]", 90), ("{}", None), ("yes", True)]
)
def test_what_cannot_stand_there_is_refused_with_its_place(text: str, before: Leaf) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_value("/lines/0", text, before)
    (problem,) = refused.value.problems
    assert (problem.place, problem.found) == ("/lines/0", text)
