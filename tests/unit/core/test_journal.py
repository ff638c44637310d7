"""The journal says what was decided; a program that would decide otherwise is found out."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.saga import Perform, Saga
from orchestrator.core.states import Direction, RunStatus

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
EXAMPLES: dict[str, Any] = {
    "reason": "because", "jitter": 0.25, "until": NOW, "mode": e.CancelMode.STOP, "claims": 9,
    "retry_after_seconds": 1.5, "accepted": False, "retryable": True, "settles_doubt": True,
    "landed": False, "most_attempts": 3, "to": "an-id", "step": 2, "keeps": True,
    "moves": (e.Move(), e.Move(to=1), e.Move(to=0, via=(1, 1), limit=2, after_seconds=0.5)),
}  # fmt: skip


def plan(steps: int = 2) -> Plan:
    def call(label: str) -> Call:
        return Call(label=label, api="shop", effects=Effects.KEYED, template={})

    return Plan(
        workflow="w",
        steps=tuple(
            PlanStep(id=f"s{n}", call=call(f"s{n}"), compensation=Compensation(call=call(f"u{n}")))
            for n in range(steps)
        ),
    )


@pytest.mark.parametrize("kind", journal.EVENTS.values())
def test_every_event_comes_back_as_it_was(kind: type[e.Event]) -> None:
    kept = [field.name for field in fields(kind) if field.name != "plan"]  # named by `to`
    event = kind(**{name: EXAMPLES[name] for name in kept})
    assert journal.event_of(journal.entry(event, NOW, None)) == event
    shortest = {f.name: EXAMPLES[f.name] for f in fields(kind) if f.name in ("reason", "until")}
    if kind not in (e.Poisoned, e.Migrated):
        event = kind(**shortest)
        assert journal.event_of(journal.entry(event, NOW, None)) == event


def played() -> tuple[Saga, list[dict[str, Any]]]:
    """A run that fails at its second step, and its journal."""
    saga, entries, now = Saga.new(plan()), [], NOW
    story: list[e.Event] = [
        e.Resumed(), e.Began(), e.Landed(), e.Began(),
        e.NotLanded(reason="busy", retryable=True, jitter=0.5), e.Resumed(), e.Began(),
        e.NotLanded(reason="no", settles_doubt=True), e.Began(), e.Landed(),
    ]  # fmt: skip
    for event in story:
        decision = decide(saga, event, now)
        entries.append(journal.entry(event, now, decision.command))
        saga, now = decision.saga, now + timedelta(seconds=1)
    return saga, entries


def test_a_replay_ends_where_the_run_ended() -> None:
    saga, entries = played()
    assert saga.status is RunStatus.COMPENSATED
    assert journal.replay(plan(), entries) == saga


def test_another_decision_is_named() -> None:
    _, entries = played()
    entries[2] = {**entries[2], "then": journal.in_words(Perform(step=1, direction=_BACK))}
    with pytest.raises(journal.ReplayDiffers, match=r"event 3 .*'perform 1 forward'.*backward"):
        journal.replay(plan(), entries)


def test_a_missing_event_is_noticed() -> None:
    _, entries = played()
    del entries[2]
    with pytest.raises(Exception, match=r"event 3|pending|started"):
        journal.replay(plan(), entries)


_BACK = Direction.BACKWARD


def test_an_event_of_its_records_time_is_told_without_it() -> None:
    event, later = e.Landed(reason="200 OK"), NOW + timedelta(microseconds=1)
    decided = [(e.Began(), NOW, None), (event, later, Perform(step=1, direction=_BACK))]
    told = journal.entries(decided, later)
    assert told == [
        {"event": "Began", "at": NOW.isoformat()},
        {"event": "Landed", "reason": "200 OK", "then": "perform 1 backward"},
    ]
    whole = journal.of_record(later, {"events": told})
    assert [journal.event_of(each) for each in whole] == [e.Began(), event]
    assert [each["at"] for each in whole] == [NOW.isoformat(), later.isoformat()]
    assert [each["then"] for each in whole] == ["", "perform 1 backward"]
    assert journal.of_record(NOW, {}) == []
