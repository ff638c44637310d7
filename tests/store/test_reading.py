"""Looking at runs: ids as people type them, filters, pages."""

from __future__ import annotations

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.errors import NotFound
from orchestrator.ports import RunFilter, Store
from tests.store.making import accepted, attempt, claimed, new_id, new_run, published, write


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
