"""Every move that the tables lack is refused and changes nothing; generated from the tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.saga import Saga
from orchestrator.core.states import (
    FINAL,
    LINK_TRANSITIONS,
    RUN_TRANSITIONS,
    LinkStatus,
    RunStatus,
    check_link,
)
from orchestrator.errors import IllegalTransition
from tests.unit.core.plans import plan, step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS: list[e.Event] = [
    e.Resumed(), e.Began(), e.Withdrawn(), e.Landed(), e.NotLanded(reason="x"),
    e.InDoubt(reason="x"), e.NotNeeded(), e.Parked(until=NOW), e.Awaited(until=NOW),
    e.CancelRequested(),
    e.PauseRequested(), e.Unpaused(), e.Poisoned(claims=9), e.Distrusted(reason="x"), e.Retried(),
    e.Resolved(), e.Skipped(), e.Abandoned(), e.Restored(),
    e.Migrated(to="x", step=0, plan=plan(step("a"))),
]  # fmt: skip


def test_every_event_is_listed() -> None:
    kinds = {v for v in vars(e).values() if isinstance(v, type) and issubclass(v, e.Event)}
    assert {type(event) for event in EVENTS} == kinds - {e.Event}


def test_every_status_has_a_row() -> None:
    assert set(RUN_TRANSITIONS) == set(RunStatus)
    assert set(LINK_TRANSITIONS) == set(LinkStatus)


@pytest.mark.parametrize(
    ("status", "event"),
    [(s, ev) for s, ev in product(RunStatus, EVENTS) if type(ev) not in RUN_TRANSITIONS[s]],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_missing_run_move_is_refused(status: RunStatus, event: e.Event) -> None:
    saga = replace(Saga.new(plan(step("a"))), status=status)
    with pytest.raises(IllegalTransition):
        decide(saga, event, NOW)


@pytest.mark.parametrize(
    ("status", "event"),
    [(s, ev) for s, ev in product(LinkStatus, EVENTS) if type(ev) not in LINK_TRANSITIONS[s]],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_missing_link_move_is_refused(status: LinkStatus, event: e.Event) -> None:
    with pytest.raises(IllegalTransition):
        check_link(status, event)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_status_has_no_way_out(status: RunStatus) -> None:
    assert RUN_TRANSITIONS[status] == {}
