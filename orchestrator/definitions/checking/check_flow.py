"""Do the actions lead somewhere, and do all steps lie on a way?"""

from __future__ import annotations

from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.reading import Action, Flow, Step
from orchestrator.definitions.checking.ways import Ways, always
from orchestrator.definitions.problems import Path


def check_flow(flow: Flow, ways: Ways, notes: Notes) -> None:
    """Steps that are never reached, actions that are never taken, ways without an end."""
    for step in flow.steps:
        if step.index not in ways.reached:
            _unreachable(flow, step, notes)
        _dead(step.on_success, notes)
        _dead(step.on_failure, notes)
    _endless(flow, ways, notes)


def _unreachable(flow: Flow, step: Step, notes: Notes) -> None:
    before = flow.steps[step.index - 1]
    notes.add(
        "unreachable-step", step.at, f"step {step.id}",
        f"a way to it: {before.id}, before it, always goes elsewhere, and no goto names {step.id}",
    )  # fmt: skip


def _dead(actions: tuple[Action, ...], notes: Notes) -> None:
    """Of one list: that a step's own action comes before those of all steps is as it should be."""
    winners: dict[Path, Action] = {}
    for action in actions:
        place = action.at.path[:-1]
        if place in winners:
            notes.add(
                "dead-action", action.at, f"the action {_name(action)}",
                f"it before {_name(winners[place])}, which has no criteria and so is always taken",
            )  # fmt: skip
        elif always(action) and action.kind in ("end", "goto"):
            winners[place] = action


def _name(action: Action) -> str:
    return str(action.at.value.get("name") or action.kind)


def _endless(flow: Flow, ways: Ways, notes: Notes) -> None:
    stuck = ways.without_a_way_out()
    if not stuck:
        return
    ids = ", ".join(flow.steps[index].id for index in stuck)
    step = flow.steps[stuck[-1]]
    action = next((a for a in step.on_success if a.kind == "goto"), None)
    notes.add(
        "endless-goto", action.at if action else step.at, f"{ids} without a way out",
        "an end, or a goto with criteria that some day do not hold",
    )  # fmt: skip
