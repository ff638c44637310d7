"""Looking at runs: ids as people type them, filters, pages."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest

from orchestrator.core.states import DUE, SETTLED, RunStatus
from orchestrator.errors import NotFound
from orchestrator.ports import Progress, RunFilter, Store
from orchestrator.store import finding, open_store
from tests.store.making import (
    accepted,
    attempt,
    audit,
    claimed,
    escalated,
    new_id,
    new_run,
    published,
    write,
)


async def test_a_run_by_the_beginning_or_end_of_its_id(store: Store) -> None:
    one, two = await accepted(store, 2)
    for part in (one.id, one.id[-6:], one.id[-12:], one.id[1:], one.id.upper(), f" {one.id} "):
        assert (await store.run(part)).id == one.id, part
    distinct = next(n for n in range(36) if one.id[n] != two.id[n]) + 1
    assert (await store.run(one.id[: max(distinct, 6)])).id == one.id


async def test_parts_that_fit_several_or_none(store: Store) -> None:
    one, two = await accepted(store, 2)
    with pytest.raises(NotFound, match="several fit") as several:
        await store.run(one.id[:6])
    assert one.id in str(several.value)
    assert two.id in str(several.value)
    for part in ("", "abc", one.id[-5:], "%%%%%%", "______", "zzzzzz", "ffffff", new_id()):
        with pytest.raises(NotFound):
            await store.run(part)


async def test_pages_newest_first(store: Store) -> None:
    made = sorted((run.id for run in await accepted(store, 7)), reverse=True)
    seen: list[str] = []
    before = None
    while page := await store.runs(RunFilter(limit=3, before=before)):
        seen += [run.id for run in page]
        before = page[-1].id
    assert seen == made


async def test_filters(store: Store) -> None:
    version = await published(store)
    acme = new_run(version, tenant="acme")
    await store.accept([acme, new_run(version)])
    (done,) = await claimed(store)
    await store.record([write(done, status=RunStatus.SUCCEEDED, release=True)])

    async def found(**which: object) -> set[str]:
        return {run.id for run in await store.runs(RunFilter(**which))}

    assert await found(tenant="acme") == {acme.id}
    assert await found(status=frozenset({RunStatus.SUCCEEDED})) == {done.run.id}
    assert len(await found(status=frozenset({RunStatus.SUCCEEDED, RunStatus.PENDING}))) == 3
    assert await found(status=frozenset()) == set()
    assert len(await found(workflow="order")) == 3
    assert await found(workflow="order", tenant="nobody") == set()
    assert await found(limit=0) == set()


async def test_by_the_time_of_acceptance(store: Store) -> None:
    old = await accepted(store, 2)
    await asyncio.sleep(0.002)  # an id's time has whole milliseconds
    between = await store.now()
    await asyncio.sleep(0.002)
    new = await accepted(store, 3)

    async def found(**which: object) -> set[str]:
        return {run.id for run in await store.runs(RunFilter(**which))}

    for more in ({}, {"tenant": "default"}, {"status": frozenset({RunStatus.PENDING})}):
        assert await found(since=between, **more) == {run.id for run in new}
        assert await found(until=between, **more) == {run.id for run in old}
        assert await found(since=between, until=between, **more) == set()
    assert await found(until=between, before=max(run.id for run in old)) == {
        min(run.id for run in old)
    }


async def test_attempts_oldest_first(store: Store) -> None:
    (run,) = await claimed(store)
    made = [attempt(number=n) for n in (1, 2, 3)]
    await store.record([write(run, attempts=tuple(made))])
    assert await store.attempts(run.run.id) == made


async def test_steps_of_an_unknown_run(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.steps(new_id())
    assert await store.attempts(new_id()) == []
    assert await store.audit(new_id()) == []


async def test_final_runs_accepted_earlier_are_left_out_of_a_count(store: Store) -> None:
    old = await claimed(store, 2)
    await store.record([write(run, status=RunStatus.SUCCEEDED, release=True) for run in old])
    await escalated(store)
    await asyncio.sleep(0.002)  # an id's time has whole milliseconds
    since = await store.now()
    await asyncio.sleep(0.002)
    new = await claimed(store, 3)
    await store.record([write(run, status=RunStatus.SUCCEEDED, release=True) for run in new[:2]])
    open_ones = {RunStatus.ESCALATED: 1, new[2].run.status: 1}
    assert await store.count_by_status() == {RunStatus.SUCCEEDED: 4, **open_ones}
    assert await store.count_by_status(since=since) == {RunStatus.SUCCEEDED: 2, **open_ones}


async def test_runs_of_any_statuses_newest_first(store: Store) -> None:
    expected: dict[RunStatus, list[str]] = {status: [] for status in RunStatus}
    for status in RunStatus:
        for release in (True, False):
            (run,) = await claimed(store)
            timed = status in (RunStatus.WAITING, RunStatus.PARKED)
            until = await store.now() + timedelta(hours=1) if timed else None
            released = release or status in SETTLED
            hinted = released and status in DUE
            await store.record(
                [write(run, status=status, release=released, wake_at=until, hinted=hinted)]
            )
            expected[status].insert(0, run.run.id)
    for size in (1, 2, len(RunStatus)):
        for statuses in itertools.combinations(RunStatus, size):
            wanted = sorted((i for s in statuses for i in expected[s]), reverse=True)
            found = await store.runs(RunFilter(status=frozenset(statuses)))
            assert [run.id for run in found] == wanted
            page = RunFilter(
                status=frozenset(statuses), before=wanted[0], limit=1, tenant="default"
            )
            assert [run.id for run in await store.runs(page)] == wanted[1:2]
    assert await store.runs(RunFilter(status=frozenset())) == []
    counts = {status: len(found) for status, found in expected.items()}
    assert await store.count_by_status() == counts


async def test_by_its_end_only_a_new_or_an_unfinished_run_is_found(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "NEWEST", 3)
    store = open_store(url)
    done, held, waits, owned = await claimed(store, 4)
    until = await store.now() + timedelta(hours=1)
    await store.record([
        write(done, status=RunStatus.SUCCEEDED, release=True),
        write(held, status=RunStatus.PAUSED, release=True),
        write(waits, status=RunStatus.WAITING, wake_at=until, release=True),
    ])  # fmt: skip
    (due,) = await accepted(store)
    await accepted(store, 3)
    for run_id in (held.run.id, waits.run.id, owned.run.id, due.id):
        assert (await store.run(run_id[-8:])).id == run_id
    with pytest.raises(NotFound):
        await store.run(done.run.id[-8:])
    assert (await store.run(done.run.id)).id == done.run.id
    await store.close()


async def test_a_server_says_how_many_connections_it_allows(url: str) -> None:
    opened = open_store(url)
    room = await opened.room()
    await opened.close()
    if url.startswith("sqlite"):
        assert room is None
        return
    assert room is not None
    assert 0 < room.in_use < room.allowed
    assert room.per_worker == 13


async def test_audit_in_parts(store: Store) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, audit=tuple(audit(seq) for seq in range(2, 6)))])
    whole = await store.audit(run.run.id)
    assert [record.seq for record in whole] == [1, 2, 3, 4, 5]
    assert await store.audit(run.run.id, after=2) == whole[2:]
    assert await store.audit(run.run.id, after=1, limit=2) == whole[1:3]
    assert await store.audit(run.run.id, after=5) == []


async def test_progress_of_many_in_one_question(store: Store) -> None:
    first, second = await claimed(store, 2)
    await store.record([write(first, status=RunStatus.COMPENSATING, audit=(audit(2),))])
    unknown = new_id()
    found = await store.progress([first.run.id, second.run.id, unknown])
    assert found == {
        first.run.id: Progress(status=RunStatus.COMPENSATING, audit_seq=2),
        second.run.id: Progress(status=second.run.status, audit_seq=1),
    }
    assert await store.progress([]) == {}
