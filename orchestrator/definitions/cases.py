"""Several calls that may undo a step, made equal in all that the core decides by.

Which of them it will be is known from how the step went, when it is undone; the core, the gate and
the recovery look at a call before that. So what they look at is the same for all, and the most
careful of what was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.plan import Call, Compensation, CompensationKind, Effects
from orchestrator.core.retry import RetryPolicy
from orchestrator.definitions.cursor import Cursor

_MOST_CAREFUL = (Effects.UNKEYED, Effects.KEYED, Effects.NONE)
Case = tuple[Cursor, Call, CompensationKind]
"""Where it stands, what it calls, and how it makes good."""


def compensation_of_cases(cases: Sequence[Case]) -> Compensation:
    """The cases in their order; what cannot be made equal is noted at its place."""
    said = [(at, call) for at, call, _ in cases if _calls_something(call)]
    for at, call in said[1:]:
        first = said[0][1]
        if (call.api, call.task_name) != (first.api, first.task_name):
            wanted = f"an operation of {first.api}, as in the first case"
            at.bad(wanted, found=f"{call.task_name or 'one'} of {call.api}")
        if (call.verify is None) is not (first.verify is None):
            at.bad("an x-verify in each case, or in none", found="some with and some without")
    for at, call, _ in cases[:-1]:
        if "onlyIf" not in call.template:
            wanted = "onlyIf in every case but the last: the first that holds counts"
            at.bad(wanted, found="no onlyIf, so that no case after it has its turn")
    kinds = {kind for _, _, kind in cases}
    kind = CompensationKind.FOLLOW_UP if CompensationKind.FOLLOW_UP in kinds else cases[0][2]
    calls = _equal([call for _, call, _ in cases])
    return Compensation(call=calls[0], kind=kind, otherwise=tuple(calls[1:]))


def _calls_something(call: Call) -> bool:
    """Also false of one that could not be read, which is noted already."""
    return call.template.get("kind") not in ("nothing", "unread")


def _equal(calls: Sequence[Call]) -> list[Call]:
    said = [call for call in calls if _calls_something(call)]
    if not said:
        return list(calls)
    seconds = [call.timeout_seconds for call in said]
    longest = max((one for one in seconds if one is not None), default=None)
    return [
        replace(
            call, api=said[0].api, task_name=said[0].task_name,
            effects=min((one.effects for one in said), key=_MOST_CAREFUL.index),
            timeout_seconds=None if None in seconds else longest,
            retry=min((one.retry for one in said), key=_patience),
        )
        for call in calls
    ]  # fmt: skip


def _patience(policy: RetryPolicy) -> tuple[int, float]:
    return policy.max_attempts, policy.first_delay_seconds
