"""Can everything that a workflow does be undone, exactly once, when it has to be?"""

from __future__ import annotations

import re

from orchestrator.definitions.checking.check_cases import check_cases
from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.reading import Action, Call, Flow, Step, Use
from orchestrator.definitions.checking.ways import Ways
from orchestrator.definitions.discovery import Kind
from orchestrator.definitions.expressions import Root

_UNDOING = re.compile(
    r"cancel|refund|void|revers|revert|release|undo|roll.?back|compensat|delete|remove|abort|"
    r"withdraw|revoke|unlock|detach|restore",
    re.IGNORECASE,
)


def check_safety(flow: Flow, ways: Ways, notes: Notes) -> None:
    """Effects without undo, effects in doubt, the place of the pivot, undos by hand."""
    by_hand = _undos_by_hand(flow)
    for step in flow.steps:
        _undoable(flow, step, step.id in {target.id for _, _, target, _ in by_hand}, notes)
        for call in (step.call, *step.undos):
            _doubt(step, call, notes)
        check_cases(step, notes)
    _pivot_order(flow, ways, notes)
    for step, action, target, undone in by_hand:
        _by_hand(step, action, target, undone, notes)


def pivot_of(flow: Flow) -> int | None:
    """Index of the pivot."""
    return next((step.index for step in flow.steps if step.is_pivot), None)


def lacks_undo(flow: Flow, step: Step) -> bool:
    """Whether a step has an effect that nothing undoes, and nobody has written down why."""
    pivot = pivot_of(flow)
    if (
        step.call.has_effect is not True
        or step.undoes
        or (pivot is not None and step.index >= pivot)
    ):
        return False
    return step.undo is None and step.no_undo_reason is None


def lacks_key(call: Call, verify: Call | None) -> bool:
    """Whether a call is neither repeatable nor verifiable."""
    return call.has_effect is True and not call.is_keyed and verify is None


# --- one step -------------------------------------------------------------------------------------


def _undoable(flow: Flow, step: Step, undoes_by_hand: bool, notes: Notes) -> None:
    pivot = pivot_of(flow)
    if pivot is not None and step.index > pivot and step.undo is not None:
        notes.add(
            "undo-after-pivot", (*step.at.path, "x-compensation"),
            f"a compensation after the pivot {flow.steps[pivot].id}",
            "none: from the pivot on a run only goes forward", fix="leave x-compensation out",
        )  # fmt: skip
    if not lacks_undo(flow, step):
        return
    reason = "it is itself an undo" if undoes_by_hand else "why it cannot be undone"
    notes.add(
        "effect-without-undo", step.at, f"step {step.id} with an effect and without a compensation",
        "x-compensation with the operation that undoes it; a reason why there is none; or "
        "x-effects: none if it changes nothing",
        fix=f'x-compensation: {{none: "{reason}"}}' if undoes_by_hand else _undo_fix(flow, step),
    )  # fmt: skip


def _undo_fix(flow: Flow, step: Step) -> str:
    """What discovery proposes, which judges itself; else that somebody has to say why."""
    proposal = flow.document.proposal(step)
    if proposal is not None and proposal.undo is not None:
        name = proposal.undo.operation_id
        return (
            f"x-compensation: {{operationId: {name}, …}}, says discovery; orchestrator workflows "
            "discover --workflow FILE --write puts it in with its parameters"
        )
    if proposal is not None and proposal.kind is Kind.NONE_NEEDED:
        return f"x-effects: none, says discovery: {proposal.reasons[0]}"
    return 'x-compensation: {none: "why it cannot be undone"}, or an operation that undoes it'


def _doubt(step: Step, call: Call, notes: Notes) -> None:
    verify = step.verify if call is step.call else step.verification_of(call)
    if not lacks_key(call, verify):
        return
    which = f"step {step.id}" if call is step.call else f"the undo of {step.id}"
    header = call.api.key_header() if call.api is not None else None
    reading = call.api.reading() if call.api is not None else None
    fix = (
        f"x-idempotency: {{in: header, name: {header}}}" if header
        else f"x-verify: {{operationId: {reading or '…'}, …}}, with criteria that tell what is"
    )  # fmt: skip
    notes.add(
        "in-doubt", call.at, f"{which}, unkeyed and not verified",
        "x-idempotency (the API honours a key), or x-verify (an operation that tells)", fix=fix,
    )  # fmt: skip
    for action in step.on_failure if call is step.call else ():
        if action.kind == "retry":
            notes.add(
                "retry-in-doubt", action.at, f"a retry of {which}, unkeyed and not verified",
                "x-idempotency or x-verify: then a timeout can be followed by another try", fix=fix,
            )  # fmt: skip


# --- pivot order ----------------------------------------------------------------------------------


def _pivot_order(flow: Flow, ways: Ways, notes: Notes) -> None:
    """What cannot be undone is best done when everything that can be has settled."""
    if not ways.is_straight() or pivot_of(flow) is not None:
        return
    final = [
        s for s in flow.steps if s.no_undo_reason is not None and s.call.has_effect is not False
    ]
    order = best_order(flow, {step.index for step in final})
    for step in final:
        later = [s for s in flow.steps[step.index + 1 :] if s.undo is not None]
        moved = [s for s in later if order.index(s.index) < order.index(step.index)]
        if not later:
            continue
        ids = ", ".join(s.id for s in later)
        proposed = ", ".join(flow.steps[index].id for index in order)
        notes.add(
            "pivot-order", step.at, f"{step.id}, which cannot be undone, before {ids}, which can",
            "first what can be undone, then the pivot, then what cannot",
            fix=f"the order {proposed}" if moved else
                f"none by moving it: what follows needs what {step.id} gives",
        )  # fmt: skip


def best_order(flow: Flow, late: set[int]) -> list[int]:
    """The steps with those of `late` as far back as what they give allows; else as they were."""
    needs = {step.index: _needs(flow, step) for step in flow.steps}
    order: list[int] = []
    left = [step.index for step in flow.steps]
    while left:
        ready = [i for i in left if needs[i] <= set(order)]
        early = [i for i in ready if i not in late]
        chosen = (early or ready or left)[0]
        order.append(chosen)
        left.remove(chosen)
    return order


def _needs(flow: Flow, step: Step) -> set[int]:
    """Earlier steps whose outputs it uses, or that it depends on, or that read before it."""
    names = set(step.depends_on)
    for call in step.calls():
        names |= {u.expression.step for u in (*call.sent(), *call.seen()) if _is_output(u)}
    found = {s.index for s in flow.steps[: step.index] if s.id in names}
    if step.call.has_effect is not True:  # a look comes after what it may look at
        found |= {s.index for s in flow.steps[: step.index]}
    return found


def _is_output(use: Use) -> bool:
    return use.expression.root is Root.STEPS


# --- undos by hand --------------------------------------------------------------------------------


def _undos_by_hand(flow: Flow) -> list[tuple[Step, Action, Step, list[Step]]]:
    """(failed step, its action, the step that undoes, what that undoes)."""
    found = []
    for step in flow.steps:
        for action in step.on_failure:
            target = flow.step(action.step) if action.step is not None else None
            if action.kind != "goto" or target is None or target.index == step.index:
                continue
            if target.undoes:
                continue  # its author has said so
            if target.call.has_effect is False or not _reads_like_an_undo(target):
                continue
            found.append((step, action, target, _undone_by(flow, step, target)))
    return found


def _reads_like_an_undo(step: Step) -> bool:
    if step.call.method == "DELETE":
        return True
    api = step.call.api
    words = [step.id, api.name if api else "", api.operation.path.rsplit("/", 1)[-1] if api else ""]
    return any(_UNDOING.search(word) for word in words)


def _undone_by(flow: Flow, failed: Step, target: Step) -> list[Step]:
    """Steps up to the failed one with an effect, whose outputs the target is given."""
    names = {use.expression.step for use in target.call.sent() if _is_output(use)}
    return [
        s for s in flow.steps
        if s.id in names and s.call.has_effect is True and s is not target
        and s.index <= failed.index
    ]  # fmt: skip


def _by_hand(step: Step, action: Action, target: Step, undone: list[Step], notes: Notes) -> None:
    twice = [s.id for s in undone if s.undo is not None]
    name = target.call.api.name if target.call.api else target.id
    found = f"onFailure of {step.id} goes to {target.id}, which undoes by hand"
    if undone:
        found += " what " + " and ".join(s.id for s in undone) + " did"
    if twice:
        wanted = f"one of the two: {' and '.join(twice)} has an x-compensation as well"
        fix = (
            "remove this action; the compensation runs on every failure and cancellation; or at"
            f" {target.id}: x-undoes: [{', '.join(twice)}]"
        )
    elif undone:
        wanted = f"x-compensation at {undone[0].id}, which runs on every failure and cancellation"
        fix = f"at {undone[0].id}: x-compensation: {{operationId: {name}, parameters: …}}"
    else:
        wanted = (
            "x-compensation at the step whose effect it takes back, if that is in this workflow"
        )
        fix = ""
    notes.add("undo-by-hand", action.at, found, wanted, fix=fix)
