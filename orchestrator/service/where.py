"""Filters as people type them: `api=payments and reason=in_doubt and age>30m and detail~timeout`.

    filter     condition ("and" condition)*
    condition  field sign value        value: a word, or anything in single or double quotes

All conditions have to hold. What may stand where is said by whoever reads a filter: a table of
fields and signs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import RunStatus
from orchestrator.definitions.attribute_texts import given_problems
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import EscalationFilter, RunFilter

_CONDITION = re.compile(
    r"""\s*(?P<field>[a-z_][a-z0-9_.-]*)\s*(?P<sign>[=~<>])\s*(?:'(?P<s>[^']*)'|"(?P<d>[^"]*)"|(?P<w>[^\s'"]+))"""
)
_ATTRIBUTE = "attribute."
LONGEST_TEXT = 200
"""Of what is searched for, in characters."""
_AND = re.compile(r"\s+and\s", re.IGNORECASE)
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_AGE_SECONDS = 100 * 365 * 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One condition, and where it stands in its filter (a character, from 1)."""

    field: str
    sign: str
    value: str
    character: int


Reader = Callable[[Condition], Any]
Fields = Mapping[tuple[str, str], tuple[str, Reader]]
"""By field and sign: the argument that the condition becomes, and what reads its value."""


def parse_where(text: str, *, place: str = "--where") -> list[Condition]:
    """The conditions of a filter, one at least. Raises InvalidInput."""
    found: list[Condition] = []
    at = 0
    while True:
        match = _CONDITION.match(text, at)
        if match is None:
            raise _refuse(place, at, text, "field=value, such as api=payments")
        value = next(match[name] for name in ("s", "d", "w") if match[name] is not None)
        character = match.start("field") + 1
        found.append(
            Condition(field=match["field"], sign=match["sign"], value=value, character=character)
        )
        at = match.end()
        if not text[at:].strip():
            return found
        joined = _AND.match(text, at)
        if joined is None:
            raise _refuse(place, at, text, "`and` before the next condition")
        at = joined.end()


def arguments_of(
    conditions: Sequence[Condition], fields: Fields, *, place: str = "--where"
) -> dict[str, Any]:
    """The arguments that the conditions become. Raises InvalidInput, naming all that is wrong."""
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for each in conditions:
        where, shown = f"{place}, character {each.character}", f"{each.field}{each.sign}"
        known = fields.get((each.field, each.sign))
        if known is None:
            wanted = "one of " + ", ".join(field + sign for field, sign in fields)
            problems.append(Problem(place=where, found=shown, wanted=wanted))
            continue
        name, read = known
        if name in given:
            problems.append(Problem(place=where, found=f"{shown} again", wanted="it once"))
            continue
        try:
            given[name] = read(each)
        except ValueError as error:
            problems.append(Problem(place=where, found=repr(each.value), wanted=str(error)))
    if problems:
        raise InvalidInput("the filter cannot be used", problems=problems)
    return given


def escalations_where(text: str, *, place: str = "--where") -> EscalationFilter:
    """The filter of open escalations that somebody typed. Raises InvalidInput."""
    given = arguments_of(parse_where(text, place=place), ESCALATION_FIELDS, place=place)
    return EscalationFilter(**given)


def runs_where(text: str, *, place: str = "--where") -> RunFilter:
    """The filter of runs that somebody typed. Raises InvalidInput."""
    conditions = parse_where(text, place=place)
    named = [each for each in conditions if _is_attribute(each)]
    others = [each for each in conditions if not _is_attribute(each)]
    given = arguments_of(others, RUN_FIELDS, place=place)
    if named:
        given["attributes"] = _attributes_of(named, place)
    return RunFilter(**given)


def _is_attribute(condition: Condition) -> bool:
    return condition.field.startswith(_ATTRIBUTE) and condition.sign == "="


def _attributes_of(conditions: Sequence[Condition], place: str) -> dict[str, str]:
    """Names and values of `attribute.NAME=VALUE`. Raises InvalidInput, naming all that is wrong."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for each in conditions:
        name = each.field.removeprefix(_ATTRIBUTE)
        where = f"{place}, character {each.character}"
        if name in found:
            problems.append(Problem(place=where, found=f"{each.field}= again", wanted="it once"))
        problems += [replace(p, place=where) for p in given_problems({name: each.value})]
        found[name] = each.value
    if problems:
        raise InvalidInput("the filter cannot be used", problems=problems)
    return found


def text_of(condition: Condition) -> str:
    """Its value as it is."""
    if not condition.value:
        raise ValueError("something")
    return condition.value


def searched_text(condition: Condition) -> str:
    """Its value, which something of a run has to be, begin with or hold."""
    if not 0 < len(condition.value.strip()) <= LONGEST_TEXT:
        raise ValueError(f"1 to {LONGEST_TEXT} characters")
    return condition.value


def age_of(condition: Condition) -> float:
    """Its value in seconds: 90s, 30m, 2h, 7d, 1w."""
    match = _AGE.fullmatch(condition.value)
    seconds = float(match[1]) * _UNITS[match[2]] if match else _LONGEST_AGE_SECONDS + 1
    if seconds > _LONGEST_AGE_SECONDS:
        raise ValueError("a time such as 90s, 30m, 2h, 7d or 1w")
    return seconds


def yes_or_no(condition: Condition) -> bool:
    """Its value as a truth."""
    if condition.value not in ("yes", "no"):
        raise ValueError("yes or no")
    return condition.value == "yes"


def _reason_of(condition: Condition) -> str:
    if condition.value not in set(EscalationReason):
        raise ValueError("one of " + ", ".join(EscalationReason))
    return condition.value


def _status_of(condition: Condition) -> frozenset[RunStatus]:
    try:
        return frozenset(RunStatus(name.strip()) for name in condition.value.split(","))
    except ValueError:
        raise ValueError(f"one or more, with commas between: {', '.join(RunStatus)}") from None


RUN_FIELDS: Fields = {
    ("workflow", "="): ("workflow", text_of),
    ("tenant", "="): ("tenant", text_of),
    ("status", "="): ("status", _status_of),
    ("actor", "="): ("actor", text_of),
    ("rerun_of", "="): ("rerun_of", text_of),
    ("parent", "="): ("parent", text_of),
    ("text", "~"): ("text", searched_text),
    ("age", ">"): ("older_than_seconds", age_of),
    ("age", "<"): ("younger_than_seconds", age_of),
    (f"{_ATTRIBUTE}NAME", "="): ("attributes", text_of),  # as the error names it
}
"""What a filter of runs may say; the age is the time since a run was accepted."""

ESCALATION_FIELDS: Fields = {
    ("api", "="): ("api", text_of),
    ("workflow", "="): ("workflow", text_of),
    ("step", "="): ("step", text_of),
    ("tenant", "="): ("tenant", text_of),
    ("reason", "="): ("reason", _reason_of),
    ("detail", "~"): ("detail", text_of),
    ("age", ">"): ("older_than_seconds", age_of),
    ("age", "<"): ("younger_than_seconds", age_of),
    ("claimed", "="): ("claimed", yes_or_no),
    ("claimed_by", "="): ("claimed_by", text_of),
}


def _refuse(place: str, at: int, text: str, wanted: str) -> InvalidInput:
    rest = text[at:].strip()
    problem = Problem(
        place=f"{place}, character {at + 1}", found=repr(rest[:40]) if rest else "the end",
        wanted=wanted,
    )  # fmt: skip
    return InvalidInput("the filter cannot be read", problems=[problem])
