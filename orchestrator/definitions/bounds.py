"""How much a query may look at.

A query in which a part can be asked again for each value, such as `//a[//b]`, takes a power of the
body's size. The power is read off the text (`repeats`), so that the bound is the same in every
replay: a body may have as many values as keep `values ** repeats` below `MOST_STEPS`.
"""

from __future__ import annotations

import re

MOST_STEPS = 2_000_000
"""Some tenths of a second for the JSONPath evaluator, which is Python; far less for libxml2."""
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


def repeats(text: str, again: re.Pattern[str]) -> int:
    """The exponent of a query: how often `again` is found outside of its strings, at least 1."""
    return max(1, len(again.findall(unquoted(text))))


def unquoted(text: str) -> str:
    """A query with nothing in its strings."""
    return _QUOTED.sub("''", text)


def most_values(exponent: int) -> int:
    """How many values a body may have for a query with this exponent."""
    return int(MOST_STEPS ** (1 / exponent))
