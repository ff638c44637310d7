"""Other values for a step, as they are typed."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.console.run_edits import typed_value
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
