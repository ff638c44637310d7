"""What may be an attribute of a run: bounded names and values, as people type them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.definitions.expressions import as_text
from orchestrator.definitions.problems import shown
from orchestrator.errors import InvalidInput, Problem

MOST_ATTRIBUTES = 16
"""Of one run, declared and given together."""
LONGEST_NAME = 50
LONGEST_VALUE = 200
"""Characters."""

Pairs = tuple[tuple[str, str], ...]
"""Names and values."""

NAME = rf"[a-z][a-z0-9_.-]{{0,{LONGEST_NAME - 1}}}"
_NAME = re.compile(NAME)
WANTED_NAME = (
    f"small letters, digits, '_', '.' and '-', a letter first, at most {LONGEST_NAME} characters"
)
WANTED_VALUE = f"printable text of 1 to {LONGEST_VALUE} characters, a number or a truth"


def given_problems(given: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with attributes that somebody asks for: such a run cannot exist."""
    for name, value in given.items():
        if not is_name(name):
            yield problem_of(name, shown(name), WANTED_NAME)
        elif not fits(value):
            yield problem_of(name, shown(value), WANTED_VALUE)


def parse_pairs(place: str, pairs: Iterable[str]) -> dict[str, str]:
    """Attributes that somebody typed as `name=value`; the value is text. Raises InvalidInput."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in found:
            wanted = "each name once" if equals else "name=value"
            problems.append(Problem(place=place, found=shown(pair), wanted=wanted))
        found[name] = value
    problems += given_problems(found) if not problems else ()
    if problems:
        raise InvalidInput("an attribute cannot be read", problems=problems)
    return found


def is_name(name: str) -> bool:
    """Whether an attribute may be called so."""
    return _NAME.fullmatch(name) is not None


def fits(value: Any) -> bool:
    """Whether it may be the value of one."""
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST_VALUE and value.isprintable()
    return isinstance(value, bool | int | float) and len(as_text(value)) <= LONGEST_VALUE


def problem_of(name: str, found: str, wanted: str) -> Problem:
    """What is wrong with one, under its name."""
    return Problem(place=f"attribute {shown(name)}", found=found, wanted=wanted)
