"""Workflows in Python as their authors write them: values, of which `builder` makes plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from orchestrator.core.plan import CompensationKind, OnCancel
from orchestrator.core.retry import RetryPolicy
from orchestrator.definitions.blocks import Fail
from orchestrator.definitions.maps import DEFAULT_PARALLEL, Each
from orchestrator.definitions.waiting import APPROVAL, SIGNAL, SLEEP, Asking

Function = Callable[..., Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step as its author wrote it; made by `step`."""

    function: Function
    id: str
    compensate: Function | None = None
    kind: CompensationKind = CompensationKind.REVERSE
    no_compensation: str | None = None
    pivot: bool = False
    with_: Mapping[str, Any] | None = None
    compensate_with: Mapping[str, Any] | None = None
    verify: Function | None = None
    verify_with: Mapping[str, Any] | None = None
    retry: RetryPolicy | None = None
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """A step that waits; made by `Workflow.wait_for`, `approval`, `sleep` and `until`."""

    id: str
    asking: Asking
    given: Mapping[str, Any]
    pivot: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Parallel:
    """Steps that begin at once; made by `Workflow.parallel`."""

    id: str
    branches: Mapping[str, Workflow]
    fail: Fail


@dataclass(frozen=True, kw_only=True, slots=True)
class ForEach:
    """A run of a workflow for each of many items; made by `Workflow.each`."""

    id: str
    workflow: Workflow
    each: Each
    with_: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A run of another workflow; made by `Workflow.child`."""

    id: str
    workflow: Workflow
    on_cancel: OnCancel | None  # None: it goes on by itself
    with_: Mapping[str, Any]
    retry: RetryPolicy | None = None
    pivot: bool = False


Item = Step | Wait | Parallel | ForEach | Child


def step(
    function: Function,
    *,
    id: str | None = None,  # noqa: A002 - the word that authors expect
    compensate: Function | None = None,
    kind: CompensationKind | str = CompensationKind.REVERSE,
    no_compensation: str | None = None,
    pivot: bool = False,
    with_: Mapping[str, Any] | None = None,
    compensate_with: Mapping[str, Any] | None = None,
    verify: Function | None = None,
    verify_with: Mapping[str, Any] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
) -> Step:
    """A step that calls a task.

    `compensate` undoes it, or `no_compensation` says why nothing can; `kind` is "reverse" or
    "follow-up". After the `pivot` a run only goes forward. `with_`, `compensate_with` and
    `verify_with` map parameters to values or runtime expressions (`$inputs.amount`,
    `$steps.charge.outputs.id`). `verify` is a task without effects that is asked when the step's
    outcome is unknown: it returns the step's result, or None when there is no effect.
    `timeout` in seconds.
    """
    name = id or str(getattr(function, "__name__", ""))
    return Step(
        function=function, id=name, compensate=compensate, kind=CompensationKind(kind),
        no_compensation=no_compensation, pivot=pivot, with_=with_, compensate_with=compensate_with,
        verify=verify, verify_with=verify_with, retry=retry, timeout=timeout,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow in the making. Immutable: each `step` gives a new one.

    `inputs` is a mapping of names to types (all required), a TypedDict, a dataclass, or a JSON
    schema. `outputs` maps names to runtime expressions. `deadline` in seconds from submission.
    `four_eyes`: decisions need a second person, of all runs or `{"when": CONDITION, "hours": N}`.
    `attributes`: by what its runs are looked up, `{"customer": "$inputs.customer_id"}`.
    `escalation`: how bad one is, `{"severity": "high", "minutes": 30}`, or a list with `when`.
    `budget`: what a run spends, `{"amount": "$inputs.amount", "currency": "EUR"}`, and `intent`: by
    what it is the same wish as another, `{"order": "$inputs.order_id"}`; for agents' policies.
    `slo`: what it promises, `{"success": {"target": 0.995}}`.
    """

    name: str
    inputs: Any = None
    outputs: Mapping[str, str] | None = None
    title: str = ""
    deadline: float | None = None
    lane: str = "default"
    four_eyes: bool | Mapping[str, Any] = False
    attributes: Mapping[str, str] | None = None
    escalation: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    budget: Mapping[str, Any] | None = None
    intent: Mapping[str, str] | None = None
    slo: Mapping[str, Any] | None = None
    steps: tuple[Item, ...] = ()

    def step(self, function: Function | Step, **options: Any) -> Workflow:
        """The workflow with one more step; options as of `orchestrator.step`."""
        added = function if isinstance(function, Step) else step(function, **options)
        return replace(self, steps=(*self.steps, added))

    def wait_for(
        self,
        signal: str,
        *,
        id: str | None = None,  # noqa: A002 - the word that authors expect
        timeout: float | str | None = None,
        default: Mapping[str, Any] | None = None,
    ) -> Workflow:
        """One step more, that waits until somebody sends the run this signal.

        Its outputs are the fields of what was sent. After `timeout` seconds without it the step has
        failed, or has `default` as its outputs. Both may be runtime expressions.
        """
        given = {"signal": signal, "timeout": timeout, "default": default}
        name = id or signal
        return replace(self, steps=(*self.steps, Wait(id=name, asking=SIGNAL, given=_said(given))))

    def approval(
        self,
        message: str,
        *,
        id: str = "approval",  # noqa: A002 - the word that authors expect
        show: Mapping[str, Any] | None = None,
        roles: Sequence[str] | None = None,
        timeout: float | str | None = None,
        remind: float | None = None,
        requester: bool = False,
        default: Mapping[str, Any] | None = None,
        pivot: bool = False,
    ) -> Workflow:
        """One step more, that waits until a person approves. A rejection fails the step.

        `show`: what they see beside the message, JSON with runtime expressions in it. `roles`: who
        may decide; with `requester` also whoever the run is for, through the agent that began it.
        After `timeout` seconds without a decision the step has failed, or `default` is
        its outputs; a reminder goes out every `remind` seconds. Outputs: decision, by, via, at (ISO
        8601), reason, data.
        """
        given = {
            "message": message, "show": show, "roles": None if roles is None else list(roles),
            "timeout": timeout, "remind": remind, "requester": requester or None,
            "default": default,
        }  # fmt: skip
        added = Wait(id=id, asking=APPROVAL, given=_said(given), pivot=pivot)
        return replace(self, steps=(*self.steps, added))

    def sleep(
        self,
        seconds: float | timedelta | str,
        *,
        id: str = "sleep",  # noqa: A002 - the word that authors expect
    ) -> Workflow:
        """One step more, that lets so much time pass, from when the run comes to it.

        May be a runtime expression (`$inputs.pause`). Nothing is held meanwhile, for up to ten
        years. Output: until, the time (ISO 8601) at which it was over.
        """
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        return self._asleep(id, {"for": given})

    def until(
        self,
        time: datetime | str,
        *,
        id: str = "until",  # noqa: A002 - the word that authors expect
    ) -> Workflow:
        """One step more, that waits until a time, which has its zone; none once it is over.

        A text is ISO 8601 or a runtime expression (`$inputs.at`). Output as of `sleep`.
        """
        given = time.isoformat() if isinstance(time, datetime) else time
        return self._asleep(id, {"until": given})

    def parallel(
        self,
        id: str,  # noqa: A002 - the word that authors expect
        branches: Mapping[str, Workflow],
        *,
        fail: Fail | str = Fail.FAST,
    ) -> Workflow:
        """One block more: branches by name that begin at once, each free to go on anywhere.

        Of the workflows given, only the steps count. They see the workflow's inputs and all steps
        before the block, and later steps see theirs; branches do not see each other. The block has
        failed where one of them has: `fast` cancels the others at their next boundary, with
        `collect` they go on to their ends; then everything that landed in it is undone, latest
        first across the branches.
        """
        return replace(
            self, steps=(*self.steps, Parallel(id=id, branches=dict(branches), fail=Fail(fail)))
        )

    def each(
        self,
        id: str,  # noqa: A002 - the word that authors expect
        workflow: Workflow,
        *,
        item: str,
        items: str | None = None,
        count: int | str | None = None,
        index: str | None = None,
        parallel: int = DEFAULT_PARALLEL,
        max_failures: int | str = 0,
        undo_parallel: int = 1,
        on_cancel: OnCancel | str = OnCancel.CANCEL,
        with_: Mapping[str, Any] | None = None,
    ) -> Workflow:
        """One step more: a run of `workflow` for each item, at most `parallel` at a time.

        `items` is a runtime expression of an array, or `count` says how many there are (a number or
        an expression), and each item is its number from 0. `item` and `index` name the inputs that
        are the item and its number; the other inputs are the same for all: those of `with_`, and
        else inputs and earlier outputs of their name. With more than `max_failures` failed items (a
        number, or a share as in "1%") the step has failed. What succeeded is undone latest first,
        `undo_parallel` at once. `on_cancel`: "cancel" or "wait". Outputs: total, succeeded, failed,
        outcome ("complete" or "partial").
        """
        given = {"items": items, "count": count}
        how = Each(
            over=_said(given), item=item, index=index, parallel=parallel,
            most_failures=max_failures, undo_parallel=undo_parallel, on_cancel=OnCancel(on_cancel),
        )  # fmt: skip
        added = ForEach(id=id, workflow=workflow, each=how, with_=dict(with_ or {}))
        return replace(self, steps=(*self.steps, added))

    def child(
        self,
        id: str,  # noqa: A002 - the word that authors expect
        workflow: Workflow,
        *,
        wait: bool = True,
        on_cancel: OnCancel | str = OnCancel.CANCEL,
        retry: RetryPolicy | None = None,
        pivot: bool = False,
        with_: Mapping[str, Any] | None = None,
    ) -> Workflow:
        """One step more: a run of `workflow`, whose end is waited for.

        Its inputs are those of `with_`, and else inputs and earlier outputs of their name. Outputs:
        those of that workflow, and `run`, its id. The step has failed where it did not succeed;
        a `retry` begins another run. What it did is undone in its place when this run turns back,
        so with a pivot of its own it has to be the `pivot`. `on_cancel`: "cancel" hands a cancel on
        to it, "wait" lets it end first, with "leave" it goes on by itself. Without `wait` it always
        does, is undone by nobody, and only its `run` is an output.
        """
        added = Child(
            id=id, workflow=workflow, with_=dict(with_ or {}), retry=retry, pivot=pivot,
            on_cancel=OnCancel(on_cancel) if wait else None,
        )  # fmt: skip
        return replace(self, steps=(*self.steps, added))

    def _asleep(self, name: str, given: Mapping[str, Any]) -> Workflow:
        return replace(self, steps=(*self.steps, Wait(id=name, asking=SLEEP, given=given)))


def begun_by(workflow: Workflow) -> Iterator[Workflow]:
    """Workflows of which its runs begin others, and what these begin, the innermost first."""
    for each in workflow.steps:
        if isinstance(each, ForEach | Child):
            yield from begun_by(each.workflow)
            yield each.workflow
        elif isinstance(each, Parallel):
            for branch in each.branches.values():
                yield from begun_by(branch)


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
