"""A plan as JSON text and back, with a format version; and the digest that names its content.

The text is canonical: the same plan is always the same text, so equal digests mean equal plans.
Fields that hold their default are left out, so that a later format may add some without changing
the digest of plans that do not use them. Retry policies are written in full: their defaults may be
tuned one day, and a pinned version must not change with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, replace
from typing import Any

from orchestrator.core.plan import (
    PLAN_FORMAT,
    Call,
    Compensation,
    CompensationKind,
    Effects,
    OnCancel,
    Plan,
    PlanStep,
)
from orchestrator.core.retry import RetryPolicy
from orchestrator.errors import InvalidDefinition, Problem


def plan_to_json(plan: Plan) -> str:
    """Canonical text of a plan, its digest included."""
    return _canonical({"format": PLAN_FORMAT, "plan": _to_data(plan)})


def plan_from_json(text: str) -> Plan:
    """Inverse of `plan_to_json`. Raises InvalidDefinition for another format or other data."""
    data = json.loads(text)
    found = data.get("format") if isinstance(data, dict) else None
    if found != PLAN_FORMAT:
        raise InvalidDefinition(
            "the stored plan cannot be read",
            problems=[Problem(place="format", found=repr(found), wanted=repr(PLAN_FORMAT))],
        )
    try:
        return _plan(data["plan"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidDefinition(f"the stored plan cannot be read: {error!r}") from error


def digest_of(plan: Plan) -> str:
    """SHA-256 (64 hex digits) of the canonical form without the digest itself."""
    data = {"format": PLAN_FORMAT, "plan": _to_data(replace(plan, digest=""))}
    return hashlib.sha256(_canonical(data).encode()).hexdigest()


def with_digest(plan: Plan) -> Plan:
    """The same plan, carrying its digest."""
    return replace(plan, digest=digest_of(plan))


def _canonical(data: object) -> str:
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _to_data(value: object) -> Any:
    """JSON form of a plan's values; dataclass fields at their default are left out."""
    match value:
        case RetryPolicy():
            return asdict(value)
        case Plan() | PlanStep() | Call() | Compensation():
            return _fields_to_data(value)
        case Mapping():
            return {str(key): _to_data(item) for key, item in value.items()}
        case list() | tuple():
            return [_to_data(item) for item in value]
        case _:
            return value


def _fields_to_data(value: Any) -> dict[str, Any]:
    kept = {}
    for field in fields(value):
        item = getattr(value, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is MISSING or item != default or isinstance(item, RetryPolicy):
            kept[field.name] = _to_data(item)
    return kept


def _plan(data: Mapping[str, Any]) -> Plan:
    return Plan(**{**data, "steps": tuple(_step(step) for step in data["steps"])})


def _step(data: Mapping[str, Any]) -> PlanStep:
    changed: dict[str, Any] = {"call": _call(data["call"])}
    if "compensation" in data:
        changed["compensation"] = _compensation(data["compensation"])
    if "undoes" in data:
        changed["undoes"] = tuple(data["undoes"])
    return PlanStep(**{**data, **changed})


def _compensation(data: Mapping[str, Any]) -> Compensation:
    kind = CompensationKind(data.get("kind", CompensationKind.REVERSE))
    otherwise = tuple(_call(one) for one in data.get("otherwise", ()))
    return Compensation(
        **{**data, "call": _call(data["call"]), "kind": kind, "otherwise": otherwise}
    )


def _call(data: Mapping[str, Any]) -> Call:
    changed: dict[str, Any] = {"effects": Effects(data["effects"])}
    if "retry" in data:
        changed["retry"] = RetryPolicy(**data["retry"])
    if "verify" in data:
        changed["verify"] = _call(data["verify"])
    if "on_cancel" in data:
        changed["on_cancel"] = OnCancel(data["on_cancel"])
    return Call(**{**data, **changed})
