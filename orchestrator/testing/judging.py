"""What tests say of a run. Each raises AssertionError that tells the run's story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from orchestrator.core.plan import Effects, PlanStep
from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import RunStatus
from orchestrator.ports import StepRecord
from orchestrator.testing.faults import Way
from orchestrator.testing.played import Played
from orchestrator.testing.scripts import Sent
from orchestrator.testing.tree import begun_at

AT_ONCE_SECONDS = 0.05
"""What two branches did so close together may be undone in either order."""


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
    """It, or a run below it, is stuck at this step (or at its undo) and waits for a person."""
    __tracebackhide__ = True
    found = run.escalation
    _wanted(run, found is not None, "escalated", str(run.status))
    assert found is not None
    stuck = None if found.step_id is None else run.name_of(found.run_id, found.step_id)
    where = _place(stuck, found.direction == "backward")
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
        is_stuck = run.status == RunStatus.ESCALATED or run.escalation is not None
        _wanted(run, is_stuck, "a settled run", str(run.status))
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
    counts = Counter((run.link_of(each), each.key) for each in run.sent if each.had_effect)
    for (link, _), count in counts.items():
        if count > 1:
            yield f"{link} was done {count} times"


def _undone(run: Played) -> Iterator[str]:
    for each in run.sent:
        if each.had_effect and each.link.way is Way.UNDO and each.run_id == run.id:
            yield f"{each.link} was done in a run that succeeded"


def _unexplained(run: Played) -> Iterator[str]:
    found = run.escalation
    if found is None:
        yield "it is escalated, and no escalation is open"
    elif found.reason in (EscalationReason.POISONED, EscalationReason.UNTRUSTED):
        yield f"it is escalated as {found.reason}, which no fault of an API explains"


def _left(run: Played) -> Iterator[str]:
    """Effects that stay although their step has an undo."""
    done = run.done_below(_needs_undo_of)
    undone = Counter(run.undone_below(_needs_undo_of))
    for step, count in Counter(each for each in done if _needs_undo(run.step(each))).items():
        if undone[step] < count:
            yield f"{step} was done and has not been undone"
    known, theirs = set(done), {each.id for each in _obliged(run)}
    for each in run.sent:
        link = run.link_of(each)
        is_done = each.had_effect and link.way is Way.DO and each.run_id in theirs
        if is_done and link.step not in known and _needs_undo(run.step(link.step)):
            yield f"{link} has had its effect, and the run does not know of it"


def _obliged(run: Played) -> list[Played]:
    """The run, and those below it that are undone with it."""
    found = [run]
    for each in found:
        begun = {step.step_id: step for step in each.steps if _needs_undo_of(each, step)}
        found += [child for child in each.children if begun_at(each, child) in begun]
    return found


def _out_of_order(run: Played) -> Iterator[str]:
    """Undos that the APIs saw in another order than the last effect first."""
    effects = [each for each in run.sent if each.had_effect]
    done: defaultdict[str, list[Sent]] = defaultdict(list)
    for each in effects:
        if each.link.way is Way.DO:
            done[run.link_of(each).step].append(each)
    undone = [run.link_of(each).step for each in effects if each.link.way is Way.UNDO]
    for step, count in Counter(undone).items():
        if count > len(done[step]):
            yield f"{step} was undone {count} times; it was done {len(done[step])} times"
            return
    meant = [done[step].pop() for step in undone]
    wrong = [pair for pair in combinations(meant, 2) if _is_before(run, *pair)]
    if wrong:
        first, last = (run.link_of(each).step for each in wrong[0])
        yield f"undone in the order {undone}; wanted {last} before {first}, which was done earlier"


def _is_before(run: Played, one: Sent, other: Sent) -> bool:
    """Whether the one was done before the other; both undetermined where they went on at once."""
    if not _at_once(run, one.run_id, other.run_id):
        return run.sent.index(one) < run.sent.index(other)
    return _over(run, one) + AT_ONCE_SECONDS < _over(run, other)


def _over(run: Played, done: Sent) -> float:
    """When whoever had asked for it knew that it was done: with a repeat, if a worker has died."""
    same = [each for each in run.sent if each.key == done.key and each.run_id == done.run_id]
    return max((each.over for each in same if each.over is not None), default=done.at)


def _at_once(run: Played, one: str, other: str) -> bool:
    """Whether they are, or are below, two branches of one block or two items of one map."""
    for each in run.runs:
        sides = {
            child.id: {below.id for below in child.runs}
            for child in each.children
            if "/" in (child.record.branch or "") or child.record.item is not None
        }
        of_one = [name for name, ids in sides.items() if one in ids]
        of_other = [name for name, ids in sides.items() if other in ids]
        if of_one and of_other and of_one != of_other:
            return True
    return False


def _needs_undo_of(run: Played, step: StepRecord) -> bool:
    return _needs_undo(run.definition.step(step.step_id))


def _needs_undo(step: PlanStep) -> bool:
    return step.compensation is not None and step.call.effects is not Effects.NONE
