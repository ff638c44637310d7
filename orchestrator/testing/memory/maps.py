"""Maps over data, in memory; see `store.maps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core.events import CancelMode
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import Redelivery, WaitOutcome
from orchestrator.ports.children import NewChild
from orchestrator.ports.maps import (
    ITEMS_A_CHUNK,
    MAP_BEGUN,
    MAP_ENDED,
    MAP_STOPPED,
    MapItem,
    MapParent,
    MapRecord,
    MapTold,
    NewMap,
    answer_of,
    cancelled_where_it_stops,
    told_of_end,
    told_of_map,
    wanted_end,
    why_it_stops,
)
from orchestrator.store.codec import dump, load
from orchestrator.testing.memory import accepting
from orchestrator.testing.memory.accepting import note
from orchestrator.testing.memory.children import stand
from orchestrator.testing.memory.passing import Passing
from orchestrator.testing.memory.records import not_found, redelivery_of
from orchestrator.testing.memory.tables import MapItemRow, MapRow, MemoryDatabase, RunRow, WaitRow


class MemoryMaps(Passing):
    """Implements ports.maps.MapStore."""

    async def tell_map(self, map_id: str) -> MapTold | None:
        """See MapStore."""
        return await self._pass("tell_map", lambda: _tell(self.database, map_id))

    async def admit(self, map_id: str, *, at: int, items: Sequence[NewChild]) -> bool:
        """See MapStore."""
        return await self._pass("admit", lambda: _admit(self.database, map_id, at, items))

    async def stop_map(self, map_id: str, *, reason: str, cancel: CancelMode | None) -> None:
        """See MapStore."""
        await self._pass("stop_map", lambda: _stop(self.database, map_id, reason, cancel))

    async def map_leftovers(self, map_id: str) -> list[str]:
        """See MapStore."""
        return await self._pass(
            "map_leftovers", lambda: _leftovers(self.database, self.database.maps[map_id])
        )

    async def open_maps(self, *, limit: int = 100) -> list[str]:
        """See MapStore."""
        return await self._pass("open_maps", lambda: neglected(self.database)[:limit])

    async def map(self, map_id: str) -> MapRecord:
        """See MapStore."""
        return await self._pass(
            "map", lambda: _record(self.database, _found(self.database, map_id))
        )

    async def map_parent(self, map_id: str) -> MapParent:
        """See MapStore."""
        return await self._pass("map_parent", lambda: _parent(self.database, map_id))

    async def maps_of(self, run_id: str) -> list[MapRecord]:
        """See MapStore."""
        return await self._pass(
            "maps_of",
            lambda: [
                _record(self.database, row)
                for row in sorted(self.database.maps.values(), key=lambda row: row.id)
                if row.run_id == run_id
            ],
        )

    async def map_values(self, map_id: str, chunk: int) -> list[Any]:
        """See MapStore."""

        def work() -> list[Any]:
            row = self.database.maps.get(map_id)
            if row is None or chunk >= len(row.values):
                raise not_found("items of map", f"{map_id}, chunk {chunk}", "items that are kept")
            items: list[Any] = load(row.values[chunk])
            return items

        return await self._pass("map_values", work)

    async def map_items(
        self, map_id: str, *, outcome: ItemOutcome | None = None, after: int = -1, limit: int = 100
    ) -> list[MapItem]:
        """See MapStore."""

        def wanted(item: MapItemRow) -> bool:
            return item.index > after and outcome in (None, item.outcome)

        return await self._pass(
            "map_items", lambda: self._items(map_id, wanted, lambda item: item.index, limit)
        )

    async def map_to_undo(self, map_id: str, *, before: int | None, limit: int) -> list[MapItem]:
        """See MapStore."""

        def wanted(item: MapItemRow) -> bool:
            stands = item.outcome is ItemOutcome.SUCCEEDED
            return stands and (before is None or (item.place or 0) < before)

        return await self._pass(
            "map_to_undo",
            lambda: self._items(map_id, wanted, lambda item: -(item.place or 0), limit),
        )

    async def count_to_undo(self, map_id: str) -> int:
        """See MapStore."""
        return await self._pass("count_to_undo", lambda: self._count(map_id))

    def _count(self, map_id: str) -> int:
        row = self.database.maps.get(map_id)
        items = () if row is None else row.items.values()
        return sum(item.outcome is ItemOutcome.SUCCEEDED for item in items)

    def _items(
        self, map_id: str, wanted: Callable[[MapItemRow], bool],
        order: Callable[[MapItemRow], int], limit: int,
    ) -> list[MapItem]:  # fmt: skip
        row = self.database.maps.get(map_id)
        items = () if row is None else row.items.values()
        found = sorted((item for item in items if wanted(item)), key=order)[:limit]
        return [
            MapItem(
                index=item.index, run_id=item.run_id, outcome=item.outcome, place=item.place,
                cause=self.database.runs[item.run_id].cause,
            )
            for item in found
        ]  # fmt: skip


def begin(
    database: MemoryDatabase, parent: RunRow, wait: WaitRow, new: NewMap, now: datetime
) -> None:
    """Add the map of a wait; one without items is answered at once."""
    items = list(new.items or ())
    row = MapRow(
        id=wait.id, run_id=parent.id, step_id=wait.step_id, workflow_id=new.workflow_id,
        workflow=new.workflow, version=new.version, given=dump(new.given), undoes=new.undoes,
        counts=new.counts,
        values=[
            dump(items[start : start + ITEMS_A_CHUNK])
            for start in range(0, len(items), ITEMS_A_CHUNK)
        ],
    )  # fmt: skip
    database.maps[row.id] = row
    told = told_of_map(new, step_id=wait.step_id, map_id=wait.id)
    note(parent, MAP_BEGUN, by="engine", data=told, now=now)
    if not new.counts.total:
        _over(database, row)


def _tell(database: MemoryDatabase, map_id: str) -> MapTold | None:
    row = database.maps.get(map_id)
    if row is None:
        return None
    redelivery = None
    if row.is_open:
        _count_ends(database, row)
        redelivery = _over(database, row) if row.counts.is_over else None
    return MapTold(map=_record(database, row), redelivery=redelivery)


def _count_ends(database: MemoryDatabase, row: MapRow) -> None:
    ended = [item for item in row.items.values() if _has_ended(database, item)]
    ended.sort(key=lambda item: (database.runs[item.run_id].settled_at, item.index))
    found, before, succeeded = _record(database, row), row.counts, 0
    for item in ended:
        if database.runs[item.run_id].status is not wanted_end(found):
            item.outcome = ItemOutcome.FAILED
            continue
        item.outcome, succeeded = ItemOutcome.SUCCEEDED, succeeded + 1
        if row.undoes is None:
            item.place = before.succeeded + succeeded
        else:
            database.maps[row.undoes].items[item.index].outcome = ItemOutcome.UNDONE
    counts = before.ended(succeeded=succeeded, failed=len(ended) - succeeded)
    parent, now = database.runs[row.run_id], database.clock()
    overdue = parent.deadline_at is not None and parent.deadline_at <= now
    row.counts = counts.with_stop(why_it_stops(found, parent.status, overdue=overdue))
    if row.counts.stopped and not before.stopped:
        row.cancel = row.cancel or cancelled_where_it_stops(found, parent.status)
        told = {"step": row.step_id, "reason": row.counts.stopped}
        note(parent, MAP_STOPPED, by="engine", data=told, now=now)


def _over(database: MemoryDatabase, row: MapRow) -> Redelivery | None:
    row.is_open, now = False, database.clock()
    wait, parent = database.waits[row.id], database.runs[row.run_id]
    if wait.closed_at is not None:
        return None
    found = _record(database, row)
    wait.closed_at, wait.outcome, wait.answer = now, WaitOutcome.ANSWERED, dump(answer_of(found))
    note(parent, MAP_ENDED, by="engine", data=told_of_end(found), now=now)
    if parent.owner is None and parent.status is RunStatus.PAUSED:
        parent.wake_at = now
    if parent.owner is not None or parent.status is not RunStatus.WAITING:
        return None
    parent.published_at = parent.wake_at = now
    database.shelve(parent)
    return redelivery_of(parent, "answered", now)


def _admit(database: MemoryDatabase, map_id: str, at: int, items: Sequence[NewChild]) -> bool:
    row, now = _found(database, map_id), database.clock()
    if not row.is_open or row.counts.next != at or row.counts.room < len(items):
        return False
    accepting.accept(database, [item.run for item in items])
    for item in items:
        place, run = item.in_map, database.runs[item.run.id]
        row.items[place.index] = MapItemRow(index=place.index, run_id=run.id)
        if item.begins is not None:
            stand(database, run, item, item.begins, now)
        if item.refused is not None:
            assert item.begins is not None, "it says how it ends"
            run.settled_at, run.cancel, run.published_at = now, item.begins.saga.cancel, None
            note(run, f"run.{run.status}", by="engine", data=item.refused, now=now)
            database.shelve(run)
    row.counts = row.counts.begun(len(items))
    if row.undoes is not None:
        row.cursor = items[-1].in_map.place
    return True


def _stop(database: MemoryDatabase, map_id: str, reason: str, cancel: CancelMode | None) -> None:
    row = _found(database, map_id)
    if not row.is_open:
        return
    row.cancel = row.cancel or cancel
    if not row.counts.stopped:
        row.counts = row.counts.with_stop(reason)
        parent, told = database.runs[row.run_id], {"step": row.step_id, "reason": reason}
        note(parent, MAP_STOPPED, by="engine", data=told, now=database.clock())


def _leftovers(database: MemoryDatabase, row: MapRow) -> list[str]:
    runs = (
        database.runs[item.run_id] for _, item in sorted(row.items.items())
        if item.outcome is ItemOutcome.RUNNING
    )  # fmt: skip
    return [
        run.id for run in runs
        if run.status not in FINAL and run.status is not RunStatus.ESCALATED
        and run.cancel is None and run.cancel_wish is None
    ]  # fmt: skip


def neglected(database: MemoryDatabase) -> list[str]:
    """Maps that somebody has to look after, as `store.maps` finds them."""
    return sorted(row.id for row in database.maps.values() if _is_neglected(database, row))


def _is_neglected(database: MemoryDatabase, row: MapRow) -> bool:
    if not row.is_open:
        return False
    parent, counts = database.runs[row.run_id], row.counts
    overdue = parent.deadline_at is not None and parent.deadline_at <= database.clock()
    stops = not counts.stopped and why_it_stops(
        _record(database, row), parent.status, overdue=overdue
    )
    begins = counts.room > 0 and parent.status is not RunStatus.PAUSED
    untold = any(_has_ended(database, item) for item in row.items.values())
    left = row.cancel is not None and _leftovers(database, row)
    return bool(untold or counts.is_over or begins or stops or left)


def _has_ended(database: MemoryDatabase, item: MapItemRow) -> bool:
    is_untold = item.outcome is ItemOutcome.RUNNING
    return is_untold and database.runs[item.run_id].status in FINAL


def _found(database: MemoryDatabase, map_id: str) -> MapRow:
    row = database.maps.get(map_id)
    if row is None:
        raise not_found("map", map_id, "a map that is kept")
    return row


def _parent(database: MemoryDatabase, map_id: str) -> MapParent:
    run = database.runs[_found(database, map_id).run_id]
    return MapParent(
        id=run.id, tenant=run.tenant, actor=run.actor, priority=run.priority, depth=run.depth,
        whole_id=run.whole_id, deadline_at=run.deadline_at,
    )  # fmt: skip


def _record(database: MemoryDatabase, row: MapRow) -> MapRecord:
    return MapRecord(
        id=row.id, run_id=row.run_id, step_id=row.step_id, workflow_id=row.workflow_id,
        workflow=row.workflow, version=row.version, counts=row.counts, given=load(row.given),
        undoes=row.undoes, cursor=row.cursor, cancel=row.cancel, is_open=row.is_open,
        paused=database.runs[row.run_id].status is RunStatus.PAUSED,
    )  # fmt: skip
