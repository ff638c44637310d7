"""A plan as JSON text and back, with a format version; and the digest that names its content.

The text is canonical: the same plan is always the same text, so equal digests mean equal plans.
Fields that hold their default are left out, so that a later format may add some without changing
the digest of plans that do not use them. Retry policies are written in full: their defaults may be
tuned one day, and a pinned version must not change with them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

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
from orchestrator.errors import InvalidDefinition, Problem, Untrusted

_Made = TypeVar("_Made", Plan, PlanStep, Call, Compensation, RetryPolicy)
_Member = TypeVar("_Member", bound=StrEnum)

UNREADABLE = "the stored plan cannot be read"

_SHA256 = re.compile("[0-9a-f]{64}")
"""Who publishes a plan may have named it otherwise; then there is nothing to hold it against."""
_MOST_SHOWN = 60
_KINDS = {"str": str, "bool": bool, "int": int, "float": float, "Mapping": dict}
"""Kinds of values in JSON by the word for them in a field's annotation."""


def plan_to_json(plan: Plan) -> str:
    """Canonical text of a plan, its digest included."""
    return _canonical({"format": PLAN_FORMAT, "plan": _to_data(plan)})


def plan_from_json(text: str) -> Plan:
    """Inverse of `plan_to_json`.

    Raises InvalidDefinition for what a newer release has written (its digest is right, and
    something in it is not known here), Untrusted for what nobody has written so: it was spoilt or
    changed in its row. Both name the place: a line and column, or a JSON pointer.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Untrusted(UNREADABLE, problems=[_not_json(text, error)]) from error
    digest = _digest_without(data)
    try:
        plan = _whole(data)
    except _Odd as odd:
        written = digest is not None and digest == data["plan"].get("digest")
        kind = InvalidDefinition if written else Untrusted
        raise kind(UNREADABLE, problems=[odd.problem]) from odd
    if _SHA256.fullmatch(plan.digest) and digest != plan.digest:
        found = f"a plan whose SHA-256 is {digest}"
        problem = Problem(place="/plan/digest", found=found, wanted=plan.digest)
        raise Untrusted("the stored plan was changed", problems=[problem])
    return plan


def outline(workflow: str, text: str) -> Plan:
    """What stands for a plan that cannot be read: its steps by name, where they tell one.

    For counting, and for people: it calls nothing and undoes nothing, and has no digest.
    """
    return outline_of(workflow, _names_in(text))


def longer(plan: Plan, steps: int) -> Plan:
    """An outline with at least so many steps."""
    missing = steps - len(plan.steps)
    return (
        plan
        if missing <= 0
        else outline_of(plan.workflow, [*(each.id for each in plan.steps), *[""] * missing])
    )


def outline_of(workflow: str, names: Sequence[str]) -> Plan:
    """The same of these names; those that are missing or doubled are numbered instead."""
    unique: dict[str, None] = {}
    for number, name in enumerate(names, start=1):
        unique[name if name and name not in unique else f"(step {number})"] = None
    return Plan(workflow=workflow, steps=tuple(_named(name) for name in unique))


def _named(name: str) -> PlanStep:
    # The most careful of effects: what such a step has done, stands.
    call = Call(label=name, api="", effects=Effects.UNKEYED, template={"kind": "nothing"})
    return PlanStep(id=name, call=call)


def _names_in(text: str) -> list[str]:
    try:
        steps = json.loads(text)["plan"]["steps"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    if not isinstance(steps, list):
        return []
    ids = [step.get("id") if isinstance(step, dict) else None for step in steps]
    return [each if isinstance(each, str) else "" for each in ids]


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


class _Odd(Exception):
    """Something that no plan has, with its place."""

    def __init__(self, place: str, found: str, wanted: str) -> None:
        self.problem = Problem(place=place or "/", found=found, wanted=wanted)
        super().__init__(str(self.problem))


def _not_json(text: str, error: Exception) -> Problem:
    if not isinstance(error, json.JSONDecodeError):
        return Problem(place="the text", found=str(error), wanted="JSON")
    place = f"line {error.lineno}, column {error.colno}"
    near = text[error.pos : error.pos + _MOST_SHOWN]
    return Problem(place=place, found=f"{near!r} ({error.msg})", wanted="JSON")


def _digest_without(data: Any) -> str | None:
    """The SHA-256 of the content without the digest in it; None for what cannot be a plan."""
    try:
        plan = {name: value for name, value in data["plan"].items() if name != "digest"}
        return hashlib.sha256(_canonical({**data, "plan": plan}).encode()).hexdigest()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _whole(data: object) -> Plan:
    """Raises _Odd with the JSON pointer of the first thing that is not as it should be."""
    known = _object(data, "")
    if known.get("format") != PLAN_FORMAT:
        raise _Odd("/format", _shown(known.get("format")), repr(PLAN_FORMAT))
    return _plan(known.get("plan"), "/plan")


def _plan(data: object, at: str) -> Plan:
    steps = _list(_object(data, at).get("steps"), f"{at}/steps")
    made = tuple(_step(step, f"{at}/steps/{n}") for n, step in enumerate(steps))
    return _made(Plan, data, at, steps=made)


def _step(data: object, at: str) -> PlanStep:
    known = _object(data, at)
    changed: dict[str, Any] = {"call": _call(known.get("call"), f"{at}/call")}
    if "compensation" in known:
        changed["compensation"] = _compensation(known["compensation"], f"{at}/compensation")
    if "undoes" in known:
        changed["undoes"] = tuple(_list(known["undoes"], f"{at}/undoes"))
    return _made(PlanStep, data, at, **changed)


def _compensation(data: object, at: str) -> Compensation:
    known = _object(data, at)
    kind = _member(CompensationKind, known.get("kind", CompensationKind.REVERSE), f"{at}/kind")
    others = _list(known.get("otherwise", []), f"{at}/otherwise")
    otherwise = tuple(_call(one, f"{at}/otherwise/{n}") for n, one in enumerate(others))
    call = _call(known.get("call"), f"{at}/call")
    return _made(Compensation, data, at, call=call, kind=kind, otherwise=otherwise)


def _call(data: object, at: str) -> Call:
    known = _object(data, at)
    changed: dict[str, Any] = {"effects": _member(Effects, known.get("effects"), f"{at}/effects")}
    if "retry" in known:
        changed["retry"] = _made(RetryPolicy, known["retry"], f"{at}/retry")
    if "verify" in known:
        changed["verify"] = _call(known["verify"], f"{at}/verify")
    if "on_cancel" in known:
        changed["on_cancel"] = _member(OnCancel, known["on_cancel"], f"{at}/on_cancel")
    return _made(Call, data, at, **changed)


def _made(made: type[_Made], data: object, at: str, /, **changed: Any) -> _Made:
    """A value of this kind from its fields; `changed` are those that are values themselves."""
    known = _object(data, at)
    names = {each.name: each for each in fields(made)}
    for name, value in known.items():
        if name not in names:
            raise _Odd(f"{at}/{_token(name)}", "a field that is not known here", "another release")
        if name not in changed:
            _require_type(str(names[name].type), value, f"{at}/{name}")
    for name, field in names.items():
        must = field.default is MISSING and field.default_factory is MISSING
        if must and name not in known and name not in changed:
            raise _Odd(at, f"no {name}", "one, as every plan has it")
    return made(**{**known, **changed})


def _require_type(declared: str, value: object, at: str) -> None:
    """Whether JSON's kind of value is one of a field that is declared so."""
    wanted = [kind for name, kind in _KINDS.items() if re.search(rf"\b{name}\b", declared)]
    optional = (type(None),) if "None" in declared else ()
    if not wanted or (float in wanted and type(value) is int):
        return
    if not isinstance(value, (*wanted, *optional)) or (
        isinstance(value, bool) and bool not in wanted
    ):
        raise _Odd(at, _shown(value), declared)


def _member(kind: type[_Member], value: object, at: str) -> _Member:
    try:
        return kind(str(value))
    except ValueError as error:
        raise _Odd(at, _shown(value), f"one of {', '.join(kind)}") from error


def _object(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Odd(at, _shown(value), "an object")
    return value


def _list(value: object, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Odd(at, _shown(value), "a list")
    return value


def _shown(value: object) -> str:
    """A value of a stranger's text, in few letters; None is also what is not there."""
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _token(name: str) -> str:
    shown = name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…"
    return shown.replace("~", "~0").replace("/", "~1")
