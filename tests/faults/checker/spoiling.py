"""Ways to spoil a history that somebody wrote, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.faults.checker.honest import Scribe, World
from tests.faults.checker.tables import AttemptRow, AuditRow
from tests.faults.ledger.records import Effect, Request

# --- at the API -----------------------------------------------------------------------------------


def change_request(world: World, which: int, **changes: Any) -> None:
    """The request of this number, as it was not."""
    world.requests = [
        replace(known, **changes) if known.number == which else known for known in world.requests
    ]


def drop_request(world: World, number: int) -> None:
    """A request that never came."""
    world.requests = [known for known in world.requests if known.number != number]


def drop_effect(world: World, number: int) -> None:
    """An effect that never was."""
    world.effects = [known for known in world.effects if known.number != number]


def repeat_effect(world: World, number: int) -> None:
    """An effect that happened twice."""
    effect = effect_of(world, number)
    world.effects.append(replace(effect, number=len(world.effects) + 1000, at=effect.at + 0.01))


def repeat_request(world: World, number: int, *, later: float = 0.3, **changes: Any) -> Request:
    """A request that came again."""
    request = next(known for known in world.requests if known.number == number)
    answered_at = None if request.answered_at is None else request.answered_at + later
    again = replace(
        request, number=max(known.number for known in world.requests) + 1, at=request.at + later,
        answered_at=answered_at, applied=False, replayed=request.key is not None,
    )  # fmt: skip
    again = replace(again, **changes)
    world.requests.append(again)
    return again


def swap_links(world: World, scribe: Scribe, one: str, other: str, way: str) -> None:
    """What was asked for and done for one step was meant for another one, in all records."""
    names = {one: other, other: one}

    def swapped(known: Any) -> Any:
        if known.run != scribe.seed.name or known.direction != way:
            return known
        return replace(known, step=names.get(known.step, known.step))

    world.requests = [swapped(request) for request in world.requests]
    world.effects = [swapped(effect) for effect in world.effects]
    first, second = scribe.links[one, way], scribe.links[other, way]
    scribe.links[one, way] = replace(first, key=second.key)
    scribe.links[other, way] = replace(second, key=first.key)
    prefix = {"do": "step.", "undo": "undo."}[way]
    scribe.audit = [
        replace(record, data={**record.data, "step": names[record.data["step"]]})
        if record.kind.startswith(prefix) and record.data["step"] in names else record
        for record in scribe.audit
    ]  # fmt: skip
    scribe.attempts = [
        replace(attempt, step=names.get(attempt.step, attempt.step))
        if attempt.direction == way else attempt
        for attempt in scribe.attempts
    ]  # fmt: skip


def effect_of(world: World, number: int) -> Effect:
    """By its number."""
    return next(effect for effect in world.effects if effect.number == number)


# --- in the tables --------------------------------------------------------------------------------


def record_of(scribe: Scribe, kind: str, step: str | None = None) -> AuditRow:
    """The first audit record of this kind (and step)."""
    return next(
        record for record in scribe.audit
        if record.kind == kind and (step is None or record.data.get("step") == step)
    )  # fmt: skip


def drop_record(scribe: Scribe, record: AuditRow, *, renumber: bool = False) -> None:
    """An audit record that is not there; `renumber` hides the gap."""
    kept = [known for known in scribe.audit if known is not record]
    if renumber:
        number(scribe, kept)
    else:
        scribe.audit = kept


def change_record(scribe: Scribe, record: AuditRow, **changes: Any) -> None:
    """An audit record that says something else."""
    scribe.audit = [replace(known, **changes) if known is record else known
                    for known in scribe.audit]  # fmt: skip


def insert_record(scribe: Scribe, after: AuditRow, kind: str, **changes: Any) -> None:
    """One more audit record, by the worker of the one before; all are numbered on."""
    data = changes.pop("data", {})
    made = replace(after, kind=kind, data=data, **changes)
    place = scribe.audit.index(after) + 1
    number(scribe, [*scribe.audit[:place], made, *scribe.audit[place:]])


def number(scribe: Scribe, records: list[AuditRow]) -> None:
    """These are the audit, from 1 on."""
    scribe.audit = [replace(record, seq=seq) for seq, record in enumerate(records, 1)]
    scribe.row = replace(scribe.row, audit_seq=len(records))


def change_run(scribe: Scribe, **changes: Any) -> None:
    """Another row of the run."""
    scribe.row = replace(scribe.row, **changes)


def change_link(scribe: Scribe, step: str, way: str, **changes: Any) -> None:
    """Another row of a link."""
    scribe.links[step, way] = replace(scribe.links[step, way], **changes)


def drop_attempt(scribe: Scribe, wanted: Callable[[AttemptRow], bool]) -> None:
    """The first such attempt is not there."""
    found = next(attempt for attempt in scribe.attempts if wanted(attempt))
    scribe.attempts.remove(found)


def change_escalation(scribe: Scribe, **changes: Any) -> None:
    """Another dead letter; changes of its context by name."""
    letter = scribe.escalations[0]
    context = {**letter.context, **changes.pop("context", {})}
    scribe.escalations[0] = replace(letter, context=context, **changes)
