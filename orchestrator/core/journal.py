"""The journal of a run: every event that was decided on, when, and what was commanded then.

An entry is plain JSON: the event's name and fields, `at` (ISO 8601, UTC) unless that is the time of
its record, and `then`, the command in words, if there is one; `of_record` gives whole ones. Since
`decide` is pure, the entries alone rebuild the saga, and a program that would decide otherwise
today is found out: `replay` raises where it does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.plan import Plan
from orchestrator.core.saga import (
    Command,
    Escalate,
    Finish,
    Hold,
    Perform,
    Saga,
    Verify,
    Wait,
)

EVENTS: dict[str, type[e.Event]] = {
    name: kind
    for name, kind in vars(e).items()
    if isinstance(kind, type) and issubclass(kind, e.Event) and kind is not e.Event
}
_FIELDS = {
    kind: tuple((field.name, field.default) for field in fields(kind) if field.name != "plan")
    for kind in EVENTS.values()
}
_TIMES = {"until"}
_MODES = {"mode"}
_MOVES = {"moves"}


class ReplayDiffers(Exception):
    """A recorded event leads to another command than was recorded."""

    def __init__(self, *, place: int, entry: Mapping[str, Any], found: str) -> None:
        self.place, self.entry, self.found = place, entry, found
        super().__init__(
            f"event {place} of the journal ({entry.get('event')}): found the command {found!r};"
            f" wanted {entry.get('then')!r} as it was recorded"
        )


def entry(event: e.Event, now: datetime, command: Command | None) -> dict[str, Any]:
    """One decision as JSON. Fields that have their default value are left out."""
    told = _without_time(event, command)
    told["at"] = now.isoformat()
    return told


Decided = tuple[e.Event, datetime, Command | None]
"""What was decided on, when, and what was commanded."""


def entries(decided: Iterable[Decided], recorded_at: datetime) -> list[dict[str, Any]]:
    """Of a record of this time, which most of its events share with it."""
    return [
        # Most are of the very moment that the record is of.
        _without_time(event, command)
        if now is recorded_at or now == recorded_at
        else entry(event, now, command)
        for event, now, command in decided
    ]


def of_record(at: datetime, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of an audit record, each with all that belongs to it."""
    usual = {"at": at.isoformat(), "then": ""}
    return [{**usual, **told} for told in data.get("events", ())]


def _without_time(event: e.Event, command: Command | None) -> dict[str, Any]:
    kind = type(event)
    told: dict[str, Any] = {"event": kind.__name__}
    for name, default in _FIELDS[kind]:
        value = getattr(event, name)
        # Most are the default itself; nothing equals MISSING, which stands for no default.
        if value is not default and value != default:
            told[name] = value if type(value) is str else _plain(value)
    if type(command) is Perform:  # as most are, and as `in_words` has it
        told["then"] = f"perform {command.step} {command.direction}"
    elif command is not None:
        told["then"] = in_words(command)
    return told


def event_of(recorded: Mapping[str, Any]) -> e.Event:
    """The event of an entry. Raises KeyError for an unknown one."""
    kind = EVENTS[recorded["event"]]
    given = {name: _value(name, recorded[name]) for name, _ in _FIELDS[kind] if name in recorded}
    return kind(**given)


def replay(
    plan: Plan,
    entries: Iterable[Mapping[str, Any]],
    *,
    deadline_at: datetime | None = None,
    plans: Mapping[str, Plan] | None = None,
) -> Saga:
    """The saga after these whole entries, from the beginning of a run of `plan`.

    `plans`, by id: those by which it went on. Up to such a move all is decided by the plan before.

    Raises ReplayDiffers at the first command that is not the recorded one, IllegalTransition for
    an event that was not possible, KeyError for a plan that is not among `plans`.
    """
    saga = Saga.new(plan, deadline_at=deadline_at)
    for place, recorded in enumerate(entries, 1):
        event = event_of(recorded)
        if isinstance(event, e.Migrated):
            event = dataclasses.replace(event, plan=(plans or {})[event.to])
        decision = decide(saga, event, datetime.fromisoformat(recorded["at"]))
        found = in_words(decision.command)
        if found != recorded.get("then", ""):
            raise ReplayDiffers(place=place, entry=recorded, found=found)
        saga = decision.saga
    return saga


def in_words(command: Command | None) -> str:
    """A command in words that tell it apart from every other one; '' for none."""
    match command:
        case Perform() | Verify():
            verb = "perform" if isinstance(command, Perform) else "verify"
            return f"{verb} {command.step} {command.direction}"
        case Wait():
            return f"wait {command.until.isoformat()}"
        case Escalate():
            where = "" if command.step is None else f" {command.step} {command.direction}"
            return f"escalate {command.reason}{where}"
        case Finish():
            return f"finish {command.status}"
        case Hold():
            return "hold"
        case _:
            return ""


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_told(move) for move in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _value(name: str, value: Any) -> Any:
    if name in _TIMES:
        return datetime.fromisoformat(value)
    if name in _MOVES:
        return tuple(_move(told) for told in value)
    return e.CancelMode(value) if name in _MODES else value


def _told(move: e.Move) -> dict[str, Any]:
    """Only what is said of a move; {} ends the chain."""
    return {name: value for name, value in asdict(move).items() if value is not None}


def _move(told: Mapping[str, Any]) -> e.Move:
    via = told.get("via")
    return e.Move(**{**told, "via": None if via is None else tuple(via)})
