"""What each choice of a person leads to, told before it is chosen."""

from __future__ import annotations

import pytest

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.plan import Effects
from orchestrator.core.previewing import preview
from orchestrator.core.saga import Escalate, Finish, Perform, Saga
from orchestrator.core.states import RunStatus
from orchestrator.errors import IllegalTransition
from tests.unit.core.plans import step
from tests.unit.core.test_saga import NOW, REFUSED, TIMEOUT, Run, started


def stuck_undo() -> Saga:
    """Three steps, of which the third fails; the undo of the second cannot be done."""
    run = started(step("a"), step("b"), step("c")).lands().lands().attempt(REFUSED)
    run.attempt(REFUSED)
    assert isinstance(run.command, Escalate)
    return run.saga


def told(saga: Saga, event: e.Event) -> tuple[list[str], RunStatus, tuple[str, ...]]:
    seen = preview(saga, event, NOW)
    return [link.label for link in seen.links], seen.status, seen.standing


@pytest.mark.parametrize(
    ("event", "labels", "status", "standing"),
    [
        (e.Retried(), ["b.undo", "a.undo"], RunStatus.COMPENSATED, ()),
        (e.Resolved(), ["a.undo"], RunStatus.COMPENSATED, ()),
        (e.Skipped(), ["a.undo"], RunStatus.COMPENSATED, ("b",)),
        (e.Abandoned(), [], RunStatus.ABANDONED, ("a", "b")),
    ],
)
def test_a_stuck_undo(
    event: e.Event, labels: list[str], status: RunStatus, standing: tuple[str, ...]
) -> None:
    assert told(stuck_undo(), event) == (labels, status, standing)


def test_what_cannot_be_chosen() -> None:
    with pytest.raises(IllegalTransition):
        preview(stuck_undo(), e.Resolved(landed=False), NOW)


def in_doubt(*, verify: bool = False) -> Saga:
    run = started(step("a"), step("b", Effects.UNKEYED, verify=verify, attempts=1), step("c"))
    run.lands().attempt(TIMEOUT)
    assert isinstance(run.command, Escalate)
    return run.saga


def test_a_forward_step_in_doubt() -> None:
    saga = in_doubt()
    assert told(saga, e.Resolved()) == (["c"], RunStatus.SUCCEEDED, ("a", "b", "c"))
    assert told(saga, e.Resolved(landed=False)) == (["a.undo"], RunStatus.COMPENSATED, ())
    assert told(saga, e.Retried()) == (["b", "c"], RunStatus.SUCCEEDED, ("a", "b", "c"))


def test_what_can_be_asked_is_asked_first() -> None:
    seen = preview(in_doubt(verify=True), e.Retried(), NOW)
    assert [(link.label, link.asks) for link in seen.links] == [("b", True), ("c", False)]


def test_what_has_no_effect_stands_for_nothing() -> None:
    run = started(step("look", Effects.NONE, undo=None), step("a"), step("c"))
    run.lands().lands().attempt(REFUSED).attempt(REFUSED)
    assert told(run.saga, e.Abandoned())[2] == ("a",)


@pytest.mark.parametrize("event", [e.Retried(), e.Resolved(), e.Skipped()])
def test_a_run_that_goes_well_does_as_it_was_told(event: e.Event) -> None:
    saga = stuck_undo()
    labels, status, _ = told(saga, event)
    run = Run(saga.plan)
    run.saga, run.command = (d := decide(saga, event, NOW)).saga, d.command
    done = []
    while isinstance(run.command, Perform):
        done.append(run.saga.call(run.command.step, run.command.direction).label)
        run.lands()
    assert isinstance(run.command, Finish)
    assert (done, run.saga.status) == (labels, status)
