"""Which escalations a filter names, as the condition of a statement and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.core.saga import EscalationReason
from orchestrator.core.severity import Severity
from orchestrator.ports import EscalationFilter
from orchestrator.store import codec
from orchestrator.store.dialect import Dialect

FROM_ESCALATIONS = "FROM escalations AS e JOIN runs ON runs.id = e.run_id"

_EQUAL = {
    "tenant": "runs.tenant = :tenant",
    "workflow": "runs.workflow = :workflow",
    "api": "e.api = :api",
    "step": "e.step_id = :step",
    "reason": "e.reason = :reason",
    "claimed_by": "e.claimed_by = :claimed_by",
    "after": "e.id > :after",
}


def escalations_chosen(which: EscalationFilter, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """What follows WHERE, over FROM_ESCALATIONS. The limit is the caller's."""
    given = {name: getattr(which, name) for name in _EQUAL}
    parameters: dict[str, Any] = {
        name: codec.storable(value) for name, value in given.items() if value is not None
    }
    conditions = ["true", *(_EQUAL[name] for name in parameters)]
    if which.open_only:
        conditions.append("e.closed_at IS NULL")
    if which.claimed is not None:
        conditions.append(f"e.claimed_by IS {'NOT ' if which.claimed else ''}NULL")
    if which.ids is not None:
        conditions.append(f"e.id IN (SELECT b.id FROM {dialect.batch({'id': 'text'}, 'ids')} AS b)")
        parameters["ids"] = codec.dump_batch([(known,) for known in which.ids])
    if which.detail is not None:
        conditions.append("lower(e.detail) LIKE lower(:detail) ESCAPE '!'")
        parameters["detail"] = _within(codec.storable(which.detail))
    for name, sign in (("older_than_seconds", "<="), ("younger_than_seconds", ">")):
        seconds = getattr(which, name)
        if seconds is not None:
            at = dialect.later("{now}", f"-CAST(:{name} AS {{real}})")
            conditions.append(f"e.opened_at {sign} {at}")
            parameters[name] = seconds
    if which.overdue is not None and which.due_seconds is not None:
        due = due_at(which.due_seconds, dialect)
        conditions.append(f"coalesce({due} <= {{now}}, false) = {str(which.overdue).lower()}")
    return " AND ".join(conditions), parameters


def due_at(due_seconds: Mapping[str, float], dialect: Dialect) -> str:
    """When an escalation is due, as an expression; NULL for reasons that have no time."""
    said = _seconds("e.severity", {s: due_seconds[s] for s in Severity if s in due_seconds})
    usual = _seconds("e.reason", {r: due_seconds[r] for r in EscalationReason if r in due_seconds})
    return dialect.later("e.opened_at", f"COALESCE(e.due_seconds, {said}, {usual})")


def _seconds(column: str, known: Mapping[str, float]) -> str:
    cases = " ".join(f"WHEN '{name}' THEN {float(seconds)!r}" for name, seconds in known.items())
    return f"CASE {column} {cases} END" if cases else "CAST(NULL AS {real})"


def _within(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text}%"
