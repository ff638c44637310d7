"""Sweeps play the same code at very many places: `make test` a slice of each, `make long` all.

Of a table some rows are in the slice, and the others are marked `long`. Of what is drawn at random
the slice has fewer examples, 40 instead of 100 where nothing else is said; such a test is marked
`sweep` (Hypothesis' tests all are), and `make long` plays it again with WHOLE_SWEEPS=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

WHOLE = os.environ.get("WHOLE_SWEEPS") == "1"
sweep = pytest.mark.sweep
"""Marks a test that takes a number from `so_many`."""


def so_many(slice_: int, *, whole: int) -> int:
    """How many are played now."""
    return whole if WHOLE else slice_


def every(nth: int, rows: Iterable[object]) -> list[Any]:
    """One parameter's values, of which each nth is in the slice, from the first on."""
    return [
        row if number % nth == 0 else pytest.param(row, marks=pytest.mark.long)
        for number, row in enumerate(rows)
    ]


def in_turn(rows: Iterable[object], others: Sequence[object]) -> list[Any]:
    """Two parameters' values, each row with each of the others; in the slice with one in turn."""
    return [
        pytest.param(
            row, other, marks=() if (number + turn) % len(others) == 0 else pytest.mark.long
        )
        for number, row in enumerate(rows)
        for turn, other in enumerate(others)
    ]
