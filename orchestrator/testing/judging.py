"""What tests say of a run. Each raises AssertionError that tells the run's story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.core.plan import Effects, PlanStep
from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import RunStatus
from orchestrator.testing.faults import Way
from orchestrator.testing.played import Played


def assert_succeeded(run: Played) -> None:
    """It came to its end, and every effect of it exists once."""
    __tracebackhide__ = True
    _wanted(run, run.status == RunStatus.SUCCEEDED, "succeeded", str(run.status))
    _none(run, [*_doubled(run), *_undone(run)])


def assert_effects(run: Played, wanted: Sequence[str]) -> None:
    """The APIs did exactly this, in this order: `["charge", "order", "undo charge"]`."""
    __tracebackhide__ = True
    _wanted(run, run.effects == list(wanted), f"the effects {list(wanted)}", str(run.effects))


def assert_compensated_in_reverse(run: Played) -> None:
    """It turned back, and whatever it did was undone once, the last thing first.

    What the workflow declares as not to be undone may stay. Judged by what the APIs have done and
    by what the engine has written down.
    """
    __tracebackhide__ = True
    _wanted(run, run.status == RunStatus.COMPENSATED, "compensated", str(run.status))
    _none(run, [*_doubled(run), *_left(run), *_out_of_order(run)])


def assert_escalated(run: Played, step: str, *, undo: bool = False) -> None:
    """It is stuck at this step (or at its undo) and waits for a person."""
    __tracebackhide__ = True
    _wanted(run, run.status == RunStatus.ESCALATED, "escalated", str(run.status))
    found = run.escalation
    where = "nothing" if found is None else _place(found.step_id, found.direction == "backward")
    _wanted(run, where == _place(step, undo), f"stuck at {_place(step, undo)}", f"stuck at {where}")


def _place(step: str | None, undo: bool) -> str:
    return f"the undo of {step}" if undo else str(step)


def assert_waiting(run: Played) -> None:
    """It sleeps until somebody answers."""
    __tracebackhide__ = True
    _wanted(run, run.status == RunStatus.WAITING, "waiting", str(run.status))


def assert_safe(run: Played) -> None:
    """However it ended, nothing is left half done.

    Succeeded: nothing twice, nothing undone. Compensated: everything undone in reverse order.
    Escalated: what was undone was so in reverse order, nothing twice, and an open escalation says
    why (a refused undo, a doubt, a failure past the pivot). Nothing else is an end.
    """
    __tracebackhide__ = True
    if run.status == RunStatus.SUCCEEDED:
        assert_succeeded(run)
    elif run.status == RunStatus.COMPENSATED:
        assert_compensated_in_reverse(run)
    else:
        _wanted(run, run.status == RunStatus.ESCALATED, "a settled run", str(run.status))
        _none(run, [*_doubled(run), *_out_of_order(run), *_unexplained(run)])


def _wanted(run: Played, holds: bool, wanted: str, found: str) -> None:
    __tracebackhide__ = True  # of pytest: the place in the test is what matters
    if not holds:
        raise AssertionError(f"found {found}; wanted {wanted}\n{run}")


def _none(run: Played, found: Sequence[str]) -> None:
    __tracebackhide__ = True
    if found:
        raise AssertionError("\n".join([*found, str(run)]))


def _doubled(run: Played) -> Iterator[str]:
    """What was done more than once with one key."""
    counts = Counter((each.link, each.key) for each in run.sent if each.had_effect)
    for (link, _), count in counts.items():
        if count > 1:
            yield f"{link} was done {count} times"


def _undone(run: Played) -> Iterator[str]:
    for each in run.sent:
        if each.had_effect and each.link.way is Way.UNDO:
            yield f"{each.link} was done in a run that succeeded"


def _unexplained(run: Played) -> Iterator[str]:
    found = run.escalation
    if found is None:
        yield "it is escalated, and no escalation is open"
    elif found.reason in (EscalationReason.POISONED, EscalationReason.UNTRUSTED):
        yield f"it is escalated as {found.reason}, which no fault of an API explains"


def _left(run: Played) -> Iterator[str]:
    """Effects that stay although their step has an undo."""
    undone = Counter(run.undone)
    for step, count in Counter(_with_undo(run, run.done)).items():
        if undone[step] < count:
            yield f"{step} was done and has not been undone"
    known = set(run.done)
    for each in run.sent:
        step, is_done = each.link.step, each.had_effect and each.link.way is Way.DO
        if is_done and step not in known and _needs_undo(run.definition.step(step)):
            yield f"{each.link} has had its effect, and the run does not know of it"


def _out_of_order(run: Played) -> Iterator[str]:
    """Undos that the APIs saw in another order than the last effect first."""
    effects = [each for each in run.sent if each.had_effect]
    done = [each.link.step for each in effects if each.link.way is Way.DO]
    undone = [each.link.step for each in effects if each.link.way is Way.UNDO]
    expected = [step for step in reversed(done) if step in set(undone)]
    if undone != expected:
        yield f"undone in the order {undone}; wanted {expected}"


def _with_undo(run: Played, steps: Sequence[str]) -> list[str]:
    return [step for step in steps if _needs_undo(run.definition.step(step))]


def _needs_undo(step: PlanStep) -> bool:
    return step.compensation is not None and step.call.effects is not Effects.NONE
