"""What must hold in every state, and of every move, of one run."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.core.plan import Effects as Repeats
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Link
from orchestrator.core.states import FINAL, SETTLED, Direction, LinkStatus, RunStatus
from tests.faults.model.moves import Move
from tests.faults.model.values import At, State

_LEFT_TO_PEOPLE = {LinkStatus.SKIPPED}
_CERTAIN = {
    LinkStatus.LANDED, LinkStatus.RESOLVED, LinkStatus.NOT_NEEDED, LinkStatus.HANDLED,
    LinkStatus.SKIPPED,
}  # fmt: skip


def wrong_state(plan: Plan, state: State) -> Iterator[str]:
    """What no state may be; one sentence each, with the promise of docs/guarantees.md."""
    for step, effects in enumerate(state.world):
        if effects.done > 1 or effects.undone > 1:
            yield f"P5: step {step + 1} was done {effects.done} and undone {effects.undone} times"
        if effects.undone > effects.done:
            yield f"P7: step {step + 1} was undone and had never been done"
    status = state.core.status
    if (status is RunStatus.ESCALATED) != (state.letter is not None):
        yield f"P8: the run is {status}, and an escalation is open: {state.letter is not None}"
    if status in SETTLED and state.owner is not None:
        yield f"P4: the run is {status}, and owned by {state.owner}"
    if status in SETTLED:
        yield from _untrue(plan, state)
        yield from _wrong_end(plan, state)


def _untrue(plan: Plan, state: State) -> Iterator[str]:
    """The table of a settled run says what is so at the API, or that it does not know."""
    for step in range(len(plan.steps)):
        effects = state.world[step]
        for direction, count in (
            (Direction.FORWARD, effects.done),
            (Direction.BACKWARD, effects.undone),
        ):
            link = state.core.link((step, direction))
            if (known := _says(link)) is not None and known != (count > 0):
                yield (
                    f"P7: step {step + 1} {direction} is {link.status} in the table of a run that "
                    f"is {state.core.status}, and happened {count} times"
                )


def _says(link: Link) -> bool | None:
    """Whether it happened, as the table has it; None: it does not know."""
    if link.status in (LinkStatus.LANDED, LinkStatus.RESOLVED):
        return True
    if link.doubt or link.status in (LinkStatus.UNKNOWN, LinkStatus.STARTED):
        return None
    return None if link.status is LinkStatus.SKIPPED else False


def _wrong_end(plan: Plan, state: State) -> Iterator[str]:
    """Succeeded is all of it; compensated is nothing left but what a person left standing."""
    for step, (plan_step, effects) in enumerate(zip(plan.steps, state.world, strict=True)):
        if state.core.status is RunStatus.SUCCEEDED and effects != (1, 0):
            yield f"P1: the run succeeded, and step {step + 1} was done and undone {effects}"
        skipped = state.core.link((step, Direction.BACKWARD)).status is LinkStatus.SKIPPED
        stands = effects.done > effects.undone and plan_step.compensation is not None
        if state.core.status is RunStatus.COMPENSATED and stands and not skipped:
            yield f"P7: the run is compensated, and step {step + 1} still stands"


def wrong_move(plan: Plan, before: State, move: Move) -> Iterator[str]:
    """What may not happen from one state to the next."""
    if move.effect is not None:
        yield from _wrong_effect(plan, before, move.effect)
    for step in range(len(plan.steps)):
        for direction in Direction:
            one = before.core.link((step, direction)).status
            other = move.after.core.link((step, direction)).status
            if one in _CERTAIN and other is not one:
                yield f"P3: step {step + 1} {direction} was {one}, and is {other} now"
            if other is LinkStatus.SKIPPED is not one and before.budget.acts == _acts_left(move):
                yield f"P8: step {step + 1} {direction} is skipped, and no person said so"
    if before.core.status in FINAL and move.after.core != before.core:
        yield f"P3: the run was {before.core.status}, and changes"


def _acts_left(move: Move) -> int:
    return move.after.budget.acts


def _wrong_effect(plan: Plan, before: State, at: At) -> Iterator[str]:
    step, direction = at
    later = range(step + 1, len(plan.steps))
    if direction is Direction.FORWARD:
        if any(each.undone for each in before.world):
            yield f"P6: step {step + 1} is done after something was undone"
        missing = [n + 1 for n in range(step) if not before.world[n].done]
        if missing:
            yield f"P6: step {step + 1} is done before step {missing[0]}"
    else:
        for other in later:
            effects = before.world[other]
            undo = before.core.link((other, Direction.BACKWARD)).status
            stands = effects.done > effects.undone and undo not in _LEFT_TO_PEOPLE
            if stands and plan.steps[other].compensation is not None:
                yield f"P6: step {step + 1} is undone while step {other + 1} stands"
    link = before.core.link(at)
    unknown = link.status is LinkStatus.STARTED or link.doubt
    if not unknown and _repeats(plan, at) is Repeats.UNKEYED:
        yield f"P7: step {step + 1} {direction} happens, and the table says {link.status}"


def _repeats(plan: Plan, at: At) -> Repeats:
    step = plan.steps[at[0]]
    if at[1] is Direction.FORWARD or step.compensation is None:
        return step.call.effects
    return step.compensation.call.effects
