"""Objectives counted in the tables equal what the audit of each run says, told in other words.

The engine, the API and the database are real; the runs' times are then spread over days.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.slo import (
    DAY,
    MINUTE,
    Count,
    Objective,
    ObjectiveKind,
    window_start,
)
from orchestrator.ports import AuditRecord, RunFilter
from orchestrator.service.slos import SloWatch
from orchestrator.store.partitions import first_id
from tests.integration.engine.house import House, new_id
from tests.integration.engine.world import Fate, Kind, shop_plan

RUNS = 15
WORKFLOW = "order"
PLAN = shop_plan([(Kind.UNKEYED, Kind.KEYED), (Kind.KEYED, Kind.KEYED)])
SUCCESS = Objective(workflow=WORKFLOW, kind=ObjectiveKind.SUCCESS, target=0.9)
ALL = (
    SUCCESS,
    replace(SUCCESS, kind=ObjectiveKind.LATENCY, seconds=60.0),
    replace(SUCCESS, kind=ObjectiveKind.COMPENSATION, least_bad=2),
    replace(SUCCESS, kind=ObjectiveKind.FRESHNESS, seconds=3600.0),
)
LIVES: tuple[dict[str, list[Fate]], ...] = (
    {},
    {"s2": [Fate.REFUSED]},
    {"s1": [Fate.REFUSED]},
    {"s2": [Fate.REFUSED], "s1.undo": [Fate.REFUSED]},
    {"s1": [Fate.UNSEEN]},
)
Event = tuple[ObjectiveKind, datetime, bool]


def watch(house: House) -> SloWatch:
    declared = {WORKFLOW: {each.kind: each for each in ALL}}
    return SloWatch(house.store, lambda: declared, new_id=new_id)


async def live(house: House, rng: random.Random) -> None:
    """Some runs, spread over the last four days."""
    for at in range(RUNS):
        order = new_id()
        house.retire()  # nobody renews the lease of a worker that lives for long
        for name, fates in LIVES[at % len(LIVES)].items():
            house.shop.will(order, name, *fates)
        run_id = await house.submit(PLAN, order)
        if rng.random() < 0.15:
            wish = await house.store.request_cancel(
                run_id, mode=CancelMode.UNDO, reason="not wanted", by="ada"
            )
            await house.redeliverer.publish([wish] if wish else [])
        await house.settle(run_id)
        if rng.random() < 0.6:
            house.retire()
            await house.decide_truthfully(run_id, order)
        await spread(house, run_id, rng)


async def spread(house: House, run_id: str, rng: random.Random) -> None:
    """Let it have happened some time ago, and have taken longer.

    Moved to the middle of a minute: the audit and the row are of the same second, not of the same
    moment.
    """
    now = await house.store.now()
    back = rng.choice([2, 20, 90, 300, 1000, 5000]) * MINUTE + now.second - 30
    lasted = rng.choice([0, 30, 90])
    shift = house.store._database.dialect

    async def move(table: str, column: str, seconds: int, where: str) -> None:
        moved = shift.sql(f"UPDATE {table} SET {column} = {shift.later(column, f'-{seconds}')}"
                          f" WHERE {where}").text  # fmt: skip
        await house.execute(moved, id=run_id)

    await move("runs", "settled_at", back, "id = :id")
    await move("runs", "created_at", back + lasted, "id = :id")
    await move("audit", "at", back, "run_id = :id AND kind <> 'run.accepted'")
    await move("audit", "at", back + lasted, "run_id = :id AND kind = 'run.accepted'")
    for column in ("opened_at", "closed_at"):
        await move("escalations", column, back, "run_id = :id")
    for each in await house.store.escalations_of(run_id):
        aged = first_id(each.opened_at) + each.id[13:]
        await house.execute("UPDATE escalations SET id = :new WHERE id = :id", id=each.id, new=aged)


def events_of(audit: Sequence[AuditRecord], now: datetime) -> Iterator[Event]:
    """What a run's audit says for each objective."""
    endings = ("run.succeeded", "run.compensated", "run.abandoned")
    kinds = [each.kind for each in audit]
    first = next((r for r in audit if r.kind in (*endings, "run.escalated")), None)
    if first is not None and (first.kind == "run.succeeded" or "run.cancelled" not in kinds
                              or first.kind == "run.escalated"):  # fmt: skip
        yield ObjectiveKind.SUCCESS, first.at, first.kind == "run.succeeded"
    if kinds[-1] == "run.succeeded":
        in_time = audit[-1].at - audit[0].at <= timedelta(seconds=60)
        yield ObjectiveKind.LATENCY, audit[-1].at, in_time
    stopped = [at for at, kind in enumerate(kinds) if kind == "run.escalated"]
    going_back = [at for at in stopped if kinds[at - 1].startswith("undo.")]
    if going_back:
        yield ObjectiveKind.COMPENSATION, audit[going_back[0]].at, False
    elif kinds[-1] == "run.compensated" and "undo.landed" in kinds:
        yield ObjectiveKind.COMPENSATION, audit[-1].at, True
    for at in stopped:
        decided = next((r.at for r in audit[at:] if r.kind.startswith("operator.")), None)
        due = audit[at].at + timedelta(hours=1)
        if decided is not None and decided <= due:
            yield ObjectiveKind.FRESHNESS, decided, True
        elif due < now:
            yield ObjectiveKind.FRESHNESS, due, False


async def recomputed(house: House, now: datetime) -> list[dict[int, Count]]:
    events: list[Event] = []
    ids = [run.id for run in await house.store.runs(RunFilter(limit=10_000))]
    for run_id in ids:
        events += events_of(await house.store.audit(run_id), now)
    found = []
    for objective in ALL:
        counts = {}
        for seconds in objective.windows:
            since = window_start(now, seconds)
            told = Counter(
                good for kind, at, good in events
                if kind is objective.kind and at.timestamp() >= since
            )  # fmt: skip
            counts[seconds] = Count(good=told[True], bad=told[False])
        found.append(counts)
    return found


async def test_what_is_counted_is_what_the_audit_says(house: House) -> None:
    await _counted_is_audited(house)


@pytest.mark.postgres
async def test_what_is_counted_is_what_the_audit_says_on_a_server(postgres_house: House) -> None:
    await _counted_is_audited(postgres_house)


async def _counted_is_audited(house: House) -> None:
    rng = random.Random(8)
    passes = watch(house)
    for _ in range(2):  # what was counted is added to, and nothing counts twice
        await live(house, rng)
        await house.execute("DELETE FROM slo_marks")  # the past has changed
        await passes.one_pass()
        await passes.one_pass()
        now, counted = await house.store.event_counts(ALL)
        assert [dict(each) for each in counted] == await recomputed(house, now)
    of_a_month = [counts[30 * DAY] for counts in counted]
    assert all(count.good and count.bad for count in of_a_month), of_a_month
    await _goes_on(house, passes)


async def _goes_on(house: House, passes: SloWatch) -> None:
    """From the mark on, and once more without the runs themselves."""
    _, before = await house.store.event_counts(ALL)
    house.retire()
    await house.settle(await house.submit(PLAN, new_id()))
    await passes.one_pass()
    _, after = await house.store.event_counts(ALL)
    assert after[0][5 * MINUTE].good == before[0][5 * MINUTE].good + 1
    await house.execute("DELETE FROM escalations WHERE closed_at IS NOT NULL")
    await house.execute(
        "DELETE FROM runs WHERE id NOT IN (SELECT run_id FROM escalations) AND status <> 'running'"
    )
    await passes.one_pass()
    _, left = await house.store.event_counts(ALL)
    assert left[0][30 * DAY].total > 10, "counts outlive the runs"
