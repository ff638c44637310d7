"""Other values for a step: what was typed, and what is not for a page."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.console.run_edits import holds_secret, typed_value
from orchestrator.definitions.values import ABSENT


@pytest.mark.parametrize(
    ("text", "before", "value"),
    [("7", "6", "7"), ("7", 6, 7), ("7", ABSENT, 7), ("Elm St", ABSENT, "Elm St"),
     ("many", 6, "many"), ('{"a": [1]}', {}, {"a": [1]}), ("", ABSENT, "")],
)  # fmt: skip
def test_what_was_typed_is_read_as_the_kind_that_stands_there(
    text: str, before: Any, value: Any
) -> None:
    assert typed_value(text, before) == value


@pytest.mark.parametrize(
    ("value", "holds"),
    [({"password": "x"}, True), ({"to": {"lines": [{"api_key": "x"}]}}, True),
     ({"to": [{"street": "x"}]}, False), ({"n": 3}, False)],
)  # fmt: skip
def test_what_is_secret_by_a_name_in_it_is_not_shown(value: Any, *, holds: bool) -> None:
    assert holds_secret(value) is holds
