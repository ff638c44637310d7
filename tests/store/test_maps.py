"""Maps over data: begun with a wait, items begun and counted once, answered at the last end."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.maps import Counts, ItemOutcome
from orchestrator.core.states import RunStatus
from orchestrator.ports import (
    Asks,
    Awaiting,
    ClaimedRun,
    NewChild,
    NewRun,
    Store,
)
from orchestrator.ports.maps import ITEMS_A_CHUNK, MapRecord, NewMap
from orchestrator.ports.records import PlaceInMap
from tests.store.making import ME, SURVEYED, claimed, new_id, write
from tests.store.test_waiting import wait


async def mapped(
    store: Store, items: list[Any], *, undoes: str | None = None, step: int = 0, **counts: Any
) -> tuple[ClaimedRun, MapRecord]:
    """A run asleep at a map of which nothing has begun."""
    (run,) = await claimed(store)
    given = {"arguments": {}, "as": "n", "index": None, "counted": False}
    new = NewMap(
        workflow_id=run.run.workflow_id, workflow=run.run.workflow, version=run.run.version,
        counts=Counts(total=len(items), **{"parallel": 2, **counts}), given=given, items=items,
        undoes=undoes,
    )  # fmt: skip
    opens = wait(run, asks=Asks.MAP, signal=None, asked={"items": len(items)})
    sleeps = write(run, status=RunStatus.WAITING, wake_at=await store.now(), release=True)
    (found,) = await store.await_answers([Awaiting(wait=opens, write=sleeps, map=new)])
    assert found is not None
    return run, await store.map(found.wait.id)


def item(run: ClaimedRun, found: MapRecord, index: int, place: int | None = None) -> NewChild:
    run_id = new_id()
    of = PlaceInMap(
        map_id=found.id, index=index, step="s", parent_id=run.run.id, depth=1,
        whole_id=run.run.id, place=place,
    )  # fmt: skip
    made = NewRun(
        id=run_id, workflow_id=run.run.workflow_id, workflow=run.run.workflow,
        version=run.run.version, inputs={"n": index}, inputs_digest="of an item",
        idempotency_key=run_id, tenant=run.run.tenant, in_map=of,
    )  # fmt: skip
    return NewChild(run=made, depth=1, answers=True)


async def begin(store: Store, run: ClaimedRun, found: MapRecord, *indexes: int) -> list[str]:
    items = [item(run, found, index) for index in indexes]
    assert await store.admit(found.id, at=indexes[0], items=items)
    return [each.run.id for each in items]


async def end(store: Store, run_id: str, status: RunStatus, cause: str = "") -> None:
    (taken,) = await store.claim([(run_id, 0)], owner=ME)
    await store.record([write(taken, status=status, cause=cause, release=True)])


async def told(store: Store, found: MapRecord) -> MapRecord:
    answer = await store.tell_map(found.id)
    assert answer is not None
    return answer.map


async def test_items_are_kept_in_chunks_and_begun_once(store: Store) -> None:
    run, found = await mapped(store, list(range(ITEMS_A_CHUNK + 1)))
    assert await store.map_values(found.id, 0) == list(range(ITEMS_A_CHUNK))
    assert await store.map_values(found.id, 1) == [ITEMS_A_CHUNK]
    assert await store.open_maps() == [found.id], "items may begin"
    assert (await store.survey(SURVEYED)).mapped
    a, _ = await begin(store, run, found, 0, 1)
    assert await store.open_maps() == []
    assert not (await store.survey(SURVEYED)).mapped
    assert not await store.admit(found.id, at=0, items=[item(run, found, 0)]), "it has begun"
    assert not await store.admit(found.id, at=2, items=[item(run, found, 2)]), "two run already"
    one = await store.run(a)
    assert (one.map_id, one.item, one.parent_id, one.whole_id, one.depth) == (
        found.id, 0, run.run.id, run.run.id, 1,
    )  # fmt: skip
    first = (await store.audit(a))[0]
    assert first.data["of"] == {"run": run.run.id, "step": "s", "item": 0}
    shown = await store.map_items(found.id)
    assert [(each.index, each.outcome) for each in shown] == [(0, "running"), (1, "running")]
    assert (await store.map(found.id)).counts.next == 2


async def test_ends_are_counted_once_and_numbered_as_they_came(store: Store) -> None:
    run, found = await mapped(store, list("abc"), parallel=3, most_failures=1)
    a, b, c = await begin(store, run, found, 0, 1, 2)
    await end(store, c, RunStatus.SUCCEEDED)
    await end(store, b, RunStatus.COMPENSATED, "422")
    assert await store.open_maps() == [found.id], "nobody has counted them"
    counts = (await told(store, found)).counts
    assert (counts.running, counts.succeeded, counts.failed) == (1, 1, 1)
    assert (await told(store, found)).counts == counts
    assert await store.open_maps() == []
    await end(store, a, RunStatus.SUCCEEDED)
    answer = await store.tell_map(found.id)
    assert answer is not None
    assert answer.redelivery is not None
    assert (answer.redelivery.run_id, answer.map.is_open) == (run.run.id, False)
    again = await store.tell_map(found.id)
    assert again is not None
    assert again.redelivery is None
    (closed,) = await store.waits_of(run.run.id)
    assert closed.answer is not None
    assert (closed.answer["succeeded"], closed.answer["accepted"]) == (2, True)
    places = {each.index: each.place for each in await store.map_items(found.id)}
    assert places == {0: 2, 1: None, 2: 1}
    failed = await store.map_items(found.id, outcome=ItemOutcome.FAILED)
    assert [(each.index, each.cause) for each in failed] == [(1, "422")]
    undone = [each.index for each in await store.map_to_undo(found.id, before=None, limit=9)]
    assert (undone, await store.count_to_undo(found.id)) == ([0, 2], 2)
    assert [each.index for each in await store.map_to_undo(found.id, before=2, limit=9)] == [2]
    kinds = [each.kind for each in await store.audit(run.run.id)]
    assert [kind for kind in kinds if kind.startswith("map.")] == ["map.begun", "map.ended"]


async def test_too_many_failures_stop_it_and_what_runs_is_to_be_cancelled(store: Store) -> None:
    run, found = await mapped(store, list("abc"))
    a, b = await begin(store, run, found, 0, 1)
    assert await store.map_leftovers(found.id) == [a, b]
    await end(store, a, RunStatus.COMPENSATED, "422")
    stopped = await told(store, found)
    assert (stopped.counts.stopped, stopped.cancel) == (
        "1 of 3 items failed, at most 0 may", CancelMode.UNDO,
    )  # fmt: skip
    assert await store.map_leftovers(found.id) == [b]
    assert await store.open_maps() == [found.id], "one is to be cancelled"
    await store.request_cancel(b, mode=CancelMode.UNDO, reason="no", by="engine")
    assert await store.map_leftovers(found.id) == []
    assert await store.open_maps() == []
    assert not await store.admit(found.id, at=2, items=[item(run, found, 2)])
    await end(store, b, RunStatus.COMPENSATED, "cancelled")
    assert not (await told(store, found)).is_open
    (closed,) = await store.waits_of(run.run.id)
    assert closed.answer is not None
    assert (closed.answer["begun"], closed.answer["accepted"]) == (2, False)


async def test_one_that_is_stopped_from_outside_begins_no_more(store: Store) -> None:
    run, found = await mapped(store, list("ab"), parallel=1)
    (a,) = await begin(store, run, found, 0)
    await store.stop_map(found.id, reason="no", cancel=None)
    await store.stop_map(found.id, reason="another", cancel=None)
    stopped = await store.map(found.id)
    assert (stopped.counts.stopped, stopped.counts.room, stopped.cancel) == ("no", 0, None)
    await end(store, a, RunStatus.SUCCEEDED)
    assert not (await told(store, found)).is_open


async def test_one_without_items_is_answered_at_once(store: Store) -> None:
    run, found = await mapped(store, [])
    assert not found.is_open
    (closed,) = await store.waits_of(run.run.id)
    assert not closed.is_open
    assert await store.open_maps() == []


async def test_what_is_undone_is_marked_where_it_was_done(store: Store) -> None:
    run, found = await mapped(store, list("a"))
    (a,) = await begin(store, run, found, 0)
    await end(store, a, RunStatus.SUCCEEDED)
    await told(store, found)
    undoing_run, undoing = await mapped(store, ["a"], undoes=found.id, parallel=1)
    again = item(undoing_run, undoing, 0, place=1)
    assert await store.admit(undoing.id, at=0, items=[again])
    assert (await store.map(undoing.id)).cursor == 1
    await end(store, again.run.id, RunStatus.COMPENSATED)
    assert (await told(store, undoing)).counts.succeeded == 1
    assert [each.outcome for each in await store.map_items(found.id)] == ["undone"]
    assert await store.count_to_undo(found.id) == 0


async def test_it_goes_no_further_than_the_deadline_and_the_end_of_its_run(store: Store) -> None:
    run, found = await mapped(store, list("ab"), parallel=1)
    parent = await store.map_parent(found.id)
    assert (parent.id, parent.tenant) == (run.run.id, run.run.tenant)
    assert [each.id for each in await store.maps_of(run.run.id)] == [found.id]
    assert not found.paused
    (taken,) = await store.claim([(run.run.id, run.run.epoch)], owner=ME)
    ended = write(taken, status=RunStatus.ABANDONED, release=True)
    await store.record([replace(ended, withdraws=True)])
    assert await store.open_maps() == [found.id]
    over = await told(store, found)
    assert (over.is_open, over.counts.stopped) == (False, "the run ended abandoned")
