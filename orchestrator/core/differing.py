"""What tells one version of a workflow from another, in words.

    for change in differences(before, after):
        change.where, change.what, change.weighs

A sentence for each thing that differs, the steps in their order. What `weighs` changes what callers
or operators may count on: what is undone, what may be repeated, from where on a run no longer turns
back, what has to be given and what comes back. Whatever has no words of its own is told by its
place (a JSON pointer into the plan's part), what stood there and what stands there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep

WORKFLOW: Final = "the workflow"
_LONGEST_VALUE = 80
_NOTHING: Final = object()
_TOLD_APART = frozenset({
    "workflow", "steps", "digest", "inputs_schema", "outputs", "deadline_seconds",
    # These follow from the steps.
    "jumps", "waits", "children", "blocks", "maps",
})  # fmt: skip
_TOLD_OF_CALLS = frozenset({"effects", "verify", "task_name", "template"})
_OF_OPERATION = ("method", "baseUrl", "path")
_PROMISES: Mapping[Effects, str] = {
    Effects.NONE: "it may be repeated at any time",
    Effects.KEYED: "it is repeated under its key while it is in doubt",
    Effects.UNKEYED: "it is never repeated while it is in doubt",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that differs."""

    where: str  # "the workflow", "inputs", "outputs", "step reserve", "undo of reserve"
    what: str
    weighs: bool = False


def differences(before: Plan, after: Plan) -> list[Change]:
    """All of them; none for plans with one digest."""
    return [
        *_of_the_whole(before, after), *_inputs(before.inputs_schema, after.inputs_schema),
        *_outputs(before.outputs, after.outputs), *_steps(before, after),
    ]  # fmt: skip


# --- the workflow as a whole ----------------------------------------------------------------------


def _of_the_whole(before: Plan, after: Plan) -> Iterator[Change]:
    if before.deadline_seconds != after.deadline_seconds:
        old, new = (
            "none" if each is None else f"{each:g} s"
            for each in (before.deadline_seconds, after.deadline_seconds)
        )
        yield Change(where=WORKFLOW, what=f"deadline: {old} → {new}", weighs=True)
    old_rest, new_rest = (
        {name: value for name, value in _plain(plan).items() if name not in _TOLD_APART}
        for plan in (before, after)
    )
    yield from _leaves(WORKFLOW, old_rest, new_rest)


def _inputs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    old_must, new_must = (list(each.get("required", ())) for each in (before, after))
    old = {name: {} for name in old_must} | before.get("properties", {})
    new = {name: {} for name in new_must} | after.get("properties", {})
    for name in _in_order(old, new):
        if name not in new:
            yield Change(where="inputs", what=f"{name} is gone", weighs=True)
        elif name not in old:
            must = name in new_must
            more = " and required: who does not give it is refused" if must else ", and optional"
            yield Change(where="inputs", what=f"{name} is new{more}", weighs=must)
        else:
            if (name in old_must) is not (name in new_must):
                is_now = "required: who does not give it is refused"
                what = f"{name} is now {is_now if name in new_must else 'optional'}"
                yield Change(where="inputs", what=what, weighs=name in new_must)
            yield from _leaves("inputs", old[name], new[name], at=name, weighs=True)
    left_out = {"properties", "required"}
    old_rest, new_rest = (
        {name: value for name, value in each.items() if name not in left_out}
        for each in (before, after)
    )
    yield from _leaves("inputs", old_rest, new_rest)


def _outputs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in _in_order(before, after):
        if name not in after:
            yield Change(where="outputs", what=f"{name} is gone", weighs=True)
        elif name not in before:
            yield Change(where="outputs", what=f"{name} is new: {_shown(after[name])}")
        else:
            yield from _leaves("outputs", before[name], after[name], at=name)


# --- steps ----------------------------------------------------------------------------------------


def _steps(before: Plan, after: Plan) -> Iterator[Change]:
    old = {step.id: step for step in before.steps}
    new = {step.id: step for step in after.steps}
    for step in before.steps:
        if step.id not in new:
            yield Change(
                where=f"step {step.id}", weighs=True, what=f"is gone; it called {_does(step)}"
            )
    stay = _that_stay_in_order([x for x in old if x in new], [x for x in new if x in old])
    for place, step in enumerate(after.steps):
        follows = f"after {after.steps[place - 1].id}" if place else "first"
        if step.id not in old:
            what = f"is new, {follows}: it calls {_does(step)}"
            yield Change(where=f"step {step.id}", what=what, weighs=True)
            continue
        if step.id not in stay:
            yield Change(where=f"step {step.id}", what=f"comes {follows} now", weighs=True)
        yield from _step(old[step.id], step)


def _does(step: PlanStep) -> str:
    undo = step.compensation
    undone = "nothing undoes it" if undo is None else f"{undo.call.label} undoes it"
    pivot = ", no way back from there" if step.pivot else ""
    return f"{step.call.label} (effects: {step.call.effects}), {undone}{pivot}"


def _that_stay_in_order(before: Sequence[str], after: Sequence[str]) -> set[str]:
    """The longest common part of both orders: all others were moved."""
    blocks = SequenceMatcher(a=before, b=after, autojunk=False).get_matching_blocks()
    return {name for block in blocks for name in before[block.a : block.a + block.size]}


def _step(before: PlanStep, after: PlanStep) -> Iterator[Change]:
    where = f"step {after.id}"
    if before.pivot is not after.pivot and not after.heads:  # those are as their block is
        no_more = "is the pivot now: once it is done, a run no longer turns back"
        what = no_more if after.pivot else "is not the pivot any more"
        yield Change(where=where, what=what, weighs=True)
    yield from _call(where, before.call, after.call)
    yield from _undo(after.id, before, after)
    told = {"id", "call", "compensation", "no_compensation_reason", "pivot"}
    old, new = (
        {name: value for name, value in _plain(each).items() if name not in told}
        for each in (before, after)
    )
    yield from _leaves(where, old, new)


def _undo(step: str, before: PlanStep, after: PlanStep) -> Iterator[Change]:
    where = f"undo of {step}"
    old, new = before.compensation, after.compensation
    if old is not None and new is not None:
        yield from _compensation(where, old, new)
    elif old is not None:
        why = f" ({after.no_compensation_reason})" if after.no_compensation_reason else ""
        yield Change(
            where=where, weighs=True, what=f"is gone: what the step does stays{why}; it was "
            f"{old.call.label}",
        )  # fmt: skip
    elif new is not None:
        yield Change(where=where, what=f"is new: {new.call.label} ({new.kind})", weighs=True)
    elif before.no_compensation_reason != after.no_compensation_reason:
        what = _moved(
            "why there is none", before.no_compensation_reason, after.no_compensation_reason
        )
        yield Change(where=where, what=what)


def _compensation(where: str, before: Compensation, after: Compensation) -> Iterator[Change]:
    if before.kind is not after.kind:
        yield Change(where=where, what=_moved("kind", before.kind, after.kind), weighs=True)
    if len(before.calls) != len(after.calls):
        what = f"it depends on how the step went: {len(before.calls)} → {len(after.calls)} ways"
        yield Change(where=where, what=what, weighs=True)
    for place, (old, new) in enumerate(zip(before.calls, after.calls, strict=False)):
        yield from _call(f"{where}, way {place + 1}" if place else where, old, new)


def _call(where: str, before: Call, after: Call) -> Iterator[Change]:
    if before.effects is not after.effects:
        what = f"effects: {before.effects} → {after.effects}: {_PROMISES[after.effects]}"
        yield Change(where=where, what=what, weighs=True)
    if (before.verify is None) is not (after.verify is None):
        is_asked = "in doubt, the API is asked whether it is there"
        what = f"{is_asked}, by {after.verify.label}" if after.verify else f"no longer: {is_asked}"
        yield Change(where=where, what=what, weighs=True)
    if before.verify is not None and after.verify is not None:
        yield from _call(f"{where}, when it is asked for", before.verify, after.verify)
    if _operation(before) != _operation(after):
        what = f"it calls {_operation(before)} → {_operation(after)}"
        yield Change(where=where, what=what, weighs=True)
    if before.retry.max_attempts != after.retry.max_attempts:
        what = _moved("attempts", before.retry.max_attempts, after.retry.max_attempts)
        yield Change(where=where, what=what)
    yield from _leaves(where, *map(_rest_of_call, (before, after)))


def _operation(call: Call) -> str:
    if call.task_name is not None:
        return call.task_name
    of_http = [str(call.template[name]) for name in _OF_OPERATION if name in call.template]
    return " ".join(of_http) or call.api


def _rest_of_call(call: Call) -> dict[str, Any]:
    """What it says of its request and answer, and what it is by itself."""
    plain, template = _plain(call), dict(call.template)
    for name in _OF_OPERATION:
        template.pop(name, None)
    plain["retry"].pop("max_attempts")
    return {name: plain[name] for name in plain if name not in _TOLD_OF_CALLS} | template


# --- whatever has no words of its own -------------------------------------------------------------


def _plain(part: Plan | PlanStep | Call) -> dict[str, Any]:
    return asdict(part)


def _leaves(
    where: str, before: Any, after: Any, *, at: str = "", weighs: bool = False
) -> Iterator[Change]:
    """What differs below two values of JSON, each leaf by its place."""
    if _text(before) == _text(after):
        return
    if isinstance(before, Sequence) and isinstance(after, Sequence):
        before, after = (_by_name(each) for each in (before, after))
        if _text(before) == _text(after):
            yield Change(where=where, what=f"{at}: in another order", weighs=weighs)
            return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in _in_order(before, after):
            yield from _leaves(
                where, before.get(name, _NOTHING), after.get(name, _NOTHING),
                at=f"{at}/{name}", weighs=weighs,
            )  # fmt: skip
        return
    yield Change(where=where, what=_moved(at, before, after), weighs=weighs)


def _by_name(value: Sequence[Any]) -> Any:
    """Lists of named things by their names, others by their places; texts as they are."""
    if isinstance(value, str):
        return value
    names = [each.get("name") if isinstance(each, Mapping) else None for each in value]
    if None not in names and len(set(names)) == len(names):
        return dict(zip(names, value, strict=True))
    return dict(enumerate(value))


def _in_order(before: Iterable[Any], after: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys([*before, *after]))


def _moved(what: str, before: Any, after: Any) -> str:
    if before is _NOTHING or before is None:
        return f"{what} is new: {_shown(after)}"
    if after is _NOTHING or after is None:
        return f"{what} is gone; it was {_shown(before)}"
    return f"{what}: {_shown(before)} → {_shown(after)}"


def _text(value: Any) -> str:
    """Equal for what is the same in JSON: `true` is not 1."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
