"""Maps over data: which items may begin, which have ended, and when all of it is over.

The row of a map is the truth about it; its lock comes first, then that of the run that waits. Ends
are counted many at a time, by a transaction of its own: a final run does not change any more, so
whoever counts its end, and when, counts it once (`map_items.outcome`). What nobody has counted, or
begun, is found by going through the few items that run (`open_maps`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.maps import Counts, ItemOutcome
from orchestrator.core.states import RunStatus
from orchestrator.ports import Redelivery, WaitRecord
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
from orchestrator.store import codec, rows
from orchestrator.store.children import Children
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.tables import UNENDED
from orchestrator.store.transactions import Tx

_FINAL = "standing IN ('abandoned', 'compensated', 'succeeded')"
_MAP = (
    "m.id, m.run_id, m.step_id, m.workflow_id, m.workflow, m.version, m.given, m.undoes, m.cursor,"
    " m.total, m.next, m.running, m.succeeded, m.failed, m.parallel, m.most_failures,"
    " m.stopped, m.cancel, m.closed_at, runs.status, runs.deadline_at <= {now}"
)
_FROM = "FROM maps AS m JOIN runs ON runs.id = m.run_id"
_ITEM = "x.item, x.run_id, x.outcome, x.place, COALESCE(runs.cause, '')"
_ITEMS = "FROM map_items AS x LEFT JOIN runs ON runs.id = x.run_id WHERE x.map_id = :map_id"
_OVERDUE = 20
_STATUS = 19
_NEW = {
    "id": "text", "run_id": "text", "step_id": "text", "workflow_id": "text", "workflow": "text",
    "version": "int", "given": "text", "undoes": "text", "total": "int", "parallel": "int",
    "most_failures": "int",
}  # fmt: skip


class Maps(Part):
    """Implements ports.maps.MapStore."""

    def __init__(self, shared: Shared, children: Children) -> None:
        super().__init__(shared)
        self._children, self._notes = children, Notes(shared)
        self._add = self._dialect.bulk(
            _NEW,
            "INSERT INTO maps (id, run_id, step_id, workflow_id, workflow, version, given, undoes,"
            " total, parallel, most_failures, next, running, succeeded, failed, stopped)"
            " SELECT b.id, b.run_id, b.step_id, b.workflow_id, b.workflow, b.version, b.given,"
            " b.undoes, b.total, b.parallel, b.most_failures, 0, 0, 0, 0, ''",
        )  # fmt: skip
        self._add_values = self._dialect.bulk(
            {"map_id": "text", "chunk": "int", "items": "text"},
            "INSERT INTO map_values (map_id, chunk, items) SELECT b.map_id, b.chunk, b.items",
        )
        self._add_items = self._dialect.bulk(
            {"map_id": "text", "item": "int", "run_id": "text"},
            "INSERT INTO map_items (map_id, item, run_id, outcome)"
            " SELECT b.map_id, b.item, b.run_id, 'running'",
        )
        self._read = self._sql(f"SELECT {_MAP} {_FROM} WHERE m.id = :map_id")
        self._lock = self._sql(f"SELECT {_MAP} {_FROM} WHERE m.id = :map_id {{for_update_of_maps}}")
        self._of_run = self._sql(f"SELECT {_MAP} {_FROM} WHERE m.run_id = :run_id ORDER BY m.id")
        self._parent = self._sql(
            "SELECT runs.id, runs.tenant, runs.actor, runs.priority, COALESCE(runs.depth, 0),"
            f" runs.whole_id, runs.deadline_at {_FROM} WHERE m.id = :map_id"
        )
        self._ended = self._sql(
            "SELECT x.item, runs.status FROM map_items AS x {by_outcome}"
            " JOIN runs ON runs.id = x.run_id"
            f" WHERE x.map_id = :map_id AND x.outcome = 'running' AND runs.{_FINAL}"
            " ORDER BY runs.settled_at, x.item"
        )
        self._count = self._dialect.bulk(
            {"map_id": "text", "item": "int", "outcome": "text", "place": "int"},
            "UPDATE map_items SET outcome = b.outcome, place = COALESCE(b.place, map_items.place)",
            where="map_items.map_id = b.map_id AND map_items.item = b.item",
        )
        self._keep = self._sql(
            "UPDATE maps SET next = :next, running = :running, succeeded = :succeeded,"
            " failed = :failed, stopped = :stopped, cancel = :cancel, cursor = :cursor"
            " WHERE id = :map_id"
        )
        self._close = self._sql("UPDATE maps SET closed_at = {now} WHERE id = :map_id")
        self._answer = self._sql(
            "UPDATE waits SET closed_at = {now}, outcome = 'answered', answer = :answer"
            " WHERE id = :map_id AND closed_at IS NULL RETURNING id"
        )
        self._lock_run = self._sql("SELECT id FROM runs WHERE id = :run_id {for_update}")
        self._wake = self._sql(rows.waking(self._dialect))
        self._stop = self._sql(
            "UPDATE maps SET stopped = CASE WHEN stopped = '' THEN :reason ELSE stopped END,"
            " cancel = COALESCE(cancel, :cancel) WHERE id = :map_id AND closed_at IS NULL"
        )
        going = (
            f"x.map_id = {{}} AND x.outcome = 'running' AND runs.{UNENDED}"
            " AND runs.status <> 'escalated' AND runs.cancel IS NULL AND runs.cancel_wish IS NULL"
        )
        of_run = "FROM map_items AS x {by_outcome} JOIN runs ON runs.id = x.run_id WHERE"
        self._going = self._sql(
            f"SELECT x.run_id {of_run} {going.format(':map_id')} ORDER BY x.item"
        )
        neglected = (
            "FROM maps AS m {join_then} runs ON runs.id = m.run_id WHERE m.closed_at IS NULL AND ("
            f" EXISTS (SELECT 1 {of_run.replace('runs ON runs', 'runs AS r ON r')}"
            f" x.map_id = m.id AND x.outcome = 'running' AND r.{_FINAL})"
            " OR (m.running = 0 AND (m.next = m.total OR m.stopped <> ''))"
            " OR (m.stopped = '' AND (m.running < m.parallel AND m.next < m.total"
            f" AND runs.status <> 'paused' OR runs.{_FINAL}"
            " OR (m.undoes IS NULL AND runs.deadline_at <= {now})))"
            " OR (m.cancel IS NOT NULL AND EXISTS (SELECT 1 FROM map_items AS x {by_outcome}"
            " JOIN runs AS r"
            " ON r.id = x.run_id WHERE"
            f" {going.format('m.id').replace('runs.', 'r.')}))"
            ")"
        )
        self._neglected = self._sql(f"SELECT m.id {neglected} ORDER BY m.id LIMIT :most")
        self.looks = {"mapped": f"SELECT 1 {neglected}"}
        self._values = self._sql(
            "SELECT items FROM map_values WHERE map_id = :map_id AND chunk = :chunk"
        )
        page = f"SELECT {_ITEM} {_ITEMS} AND x.item > :after"
        tail = "ORDER BY x.item LIMIT :most"
        self._page = self._sql(f"{page} {tail}")
        self._page_of = self._sql(f"{page} AND x.outcome = :outcome {tail}")
        self._standing = self._sql(
            f"SELECT {_ITEM} {_ITEMS} AND x.outcome = 'succeeded' AND x.place < :before"
            " ORDER BY x.place DESC LIMIT :most"
        )
        self._count_standing = self._sql(
            "SELECT count(*) FROM map_items WHERE map_id = :map_id AND outcome = 'succeeded'"
        )

    # --- its beginning ----------------------------------------------------------------------------

    async def begin_in(self, tx: Tx, new: NewMap, wait: WaitRecord) -> None:
        """Insert the map of a wait whose run is locked. One without items is answered at once."""
        counts = new.counts
        given = codec.dump_payload(new.given)
        row = (
            wait.id, wait.run_id, wait.step_id, new.workflow_id, new.workflow, new.version,
            given, new.undoes,
            counts.total, counts.parallel, counts.most_failures,
        )  # fmt: skip
        await tx.apply(self._add, [row])
        items = new.items or ()
        for chunk, start in enumerate(range(0, len(items), ITEMS_A_CHUNK)):
            part = codec.dump_payload(items[start : start + ITEMS_A_CHUNK])
            await tx.apply(self._add_values, [(wait.id, chunk, part)])
        data = told_of_map(new, step_id=wait.step_id, map_id=wait.id)
        await self._notes.note(tx, wait.run_id, MAP_BEGUN, by="engine", data=data)
        if not counts.total:
            await self._over(tx, await self._map_in(tx, wait.id))

    async def admit(self, map_id: str, *, at: int, items: Sequence[NewChild]) -> bool:
        """See MapStore."""

        async def work(tx: Tx) -> bool:
            found = await self._locked(tx, map_id)
            counts = found.counts
            if counts.next != at or counts.room < len(items) or not found.is_open:
                return False
            await self._children.begin_items_in(tx, items)
            begun = [(map_id, each.in_map.index, each.run.id) for each in items]
            await tx.apply(self._add_items, begun)
            cursor = items[-1].in_map.place if found.undoes is not None else None
            await self._kept(tx, found, counts.begun(len(items)), found.cancel, cursor)
            return True

        return await self._db.write(work)

    # --- its end ----------------------------------------------------------------------------------

    async def tell_map(self, map_id: str) -> MapTold | None:
        """See MapStore."""
        return await self._db.write(self._telling(map_id))

    def _telling(self, map_id: str) -> Callable[[Tx], Awaitable[MapTold | None]]:
        async def work(tx: Tx) -> MapTold | None:
            row = await tx.row(self._lock, map_id=map_id)
            if row is None:
                return None
            found = _map_of(row)
            if not found.is_open:
                return MapTold(map=found, redelivery=None)
            found = await self._with_ends(tx, found, row)
            if not found.counts.is_over:
                return MapTold(map=found, redelivery=None)
            redelivery = await self._over(tx, found)
            return MapTold(map=replace(found, is_open=False), redelivery=redelivery)

        return work

    async def _with_ends(self, tx: Tx, found: MapRecord, row: Sequence[Any]) -> MapRecord:
        """The map as it stands, once ends were counted, and it was seen whether it goes on."""
        ended = await tx.rows(self._ended, map_id=found.id)
        wanted, before = wanted_end(found), found.counts
        good = [item for item, status in ended if status == wanted]
        counts = before.ended(succeeded=len(good), failed=len(ended) - len(good))
        places = {item: before.succeeded + n for n, item in enumerate(good, 1)}
        is_undo = found.undoes is not None
        told = [
            (found.id, item, _outcome(item in places), None if is_undo else places.get(item))
            for item, _ in ended
        ]
        await tx.apply(self._count, told)
        if is_undo:
            undone = [(found.undoes, item, str(ItemOutcome.UNDONE), None) for item in good]
            await tx.apply(self._count, undone)
        stopped = counts.stopped or why_it_stops(found, row[_STATUS], overdue=bool(row[_OVERDUE]))
        counts = counts.with_stop(stopped)
        cancel = found.cancel
        if stopped and not before.stopped:
            cancel = cancel or cancelled_where_it_stops(found, row[_STATUS])
            data = {"step": found.step_id, "reason": stopped}
            await self._notes.note(tx, found.run_id, MAP_STOPPED, by="engine", data=data)
        if (counts, cancel) == (before, found.cancel):
            return found
        await self._kept(tx, found, counts, cancel, None)
        return replace(found, counts=counts, cancel=cancel)

    async def _kept(
        self, tx: Tx, found: MapRecord, counts: Counts, cancel: CancelMode | None,
        cursor: int | None,
    ) -> None:  # fmt: skip
        await tx.change(
            self._keep, map_id=found.id, next=counts.next, running=counts.running,
            succeeded=counts.succeeded, failed=counts.failed,
            stopped=codec.storable(counts.stopped), cancel=None if cancel is None else str(cancel),
            cursor=found.cursor if cursor is None else cursor,
        )  # fmt: skip

    async def _over(self, tx: Tx, found: MapRecord) -> Redelivery | None:
        """Answer the wait, and wake its run."""
        await tx.change(self._close, map_id=found.id)
        await tx.row(self._lock_run, run_id=found.run_id)
        answer = codec.dump_payload(answer_of(found))
        answered = await tx.row(self._answer, map_id=found.id, answer=answer)
        if answered is None:  # nobody waits any more
            return None
        data = told_of_end(found)
        await self._notes.note(tx, found.run_id, MAP_ENDED, by="engine", data=data)
        row = await tx.row(self._wake, run_id=found.run_id)
        if row is None or row[rows.REDELIVERY_WIDTH] == RunStatus.PAUSED:
            return None
        return rows.redelivery_of(row, "answered")

    async def stop_map(self, map_id: str, *, reason: str, cancel: CancelMode | None) -> None:
        """See MapStore."""

        async def work(tx: Tx) -> None:
            found = await self._locked(tx, map_id)
            mode = None if cancel is None else str(cancel)
            reason_ = codec.storable(reason)
            if not await tx.change(self._stop, map_id=map_id, reason=reason_, cancel=mode):
                return
            if not found.counts.stopped:
                data = {"step": found.step_id, "reason": reason}
                await self._notes.note(tx, found.run_id, MAP_STOPPED, by="engine", data=data)

        await self._db.write(work)

    # --- look -------------------------------------------------------------------------------------

    async def map_leftovers(self, map_id: str) -> list[str]:
        """See MapStore."""
        return [row[0] for row in await self._db.rows(self._going, map_id=map_id)]

    async def open_maps(self, *, limit: int = 100) -> list[str]:
        """See MapStore."""
        return [row[0] for row in await self._db.rows(self._neglected, most=limit)]

    async def map(self, map_id: str) -> MapRecord:
        """See MapStore."""
        return await self._db.read(lambda tx: self._map_in(tx, map_id))

    async def map_parent(self, map_id: str) -> MapParent:
        """See MapStore."""
        row = await self._db.row(self._parent, map_id=map_id)
        if row is None:
            raise not_found("map", map_id, "a map that is kept")
        return MapParent(
            id=row[0], tenant=row[1], actor=row[2], priority=row[3], depth=row[4],
            whole_id=row[5], deadline_at=codec.instant_optional(row[6]),
        )  # fmt: skip

    async def maps_of(self, run_id: str) -> list[MapRecord]:
        """See MapStore."""
        return [_map_of(row) for row in await self._db.rows(self._of_run, run_id=run_id)]

    async def map_values(self, map_id: str, chunk: int) -> list[Any]:
        """See MapStore."""
        row = await self._db.row(self._values, map_id=map_id, chunk=chunk)
        if row is None:
            raise not_found("items of map", f"{map_id}, chunk {chunk}", "items that are kept")
        items: list[Any] = codec.load(row[0])
        return items

    async def map_items(
        self, map_id: str, *, outcome: ItemOutcome | None = None, after: int = -1, limit: int = 100
    ) -> list[MapItem]:
        """See MapStore."""
        known = {"map_id": map_id, "after": after, "most": limit}
        found = (
            await self._db.rows(self._page, **known)
            if outcome is None
            else await self._db.rows(self._page_of, outcome=str(outcome), **known)
        )
        return [_item_of(row) for row in found]

    async def map_to_undo(self, map_id: str, *, before: int | None, limit: int) -> list[MapItem]:
        """See MapStore."""
        last = _BEHIND_ALL if before is None else before
        found = await self._db.rows(self._standing, map_id=map_id, before=last, most=limit)
        return [_item_of(row) for row in found]

    async def count_to_undo(self, map_id: str) -> int:
        """See MapStore."""
        number: int = (await self._db.row(self._count_standing, map_id=map_id))[0]
        return number

    async def _locked(self, tx: Tx, map_id: str) -> MapRecord:
        row = await tx.row(self._lock, map_id=map_id)
        if row is None:
            raise not_found("map", map_id, "a map that is kept")
        return _map_of(row)

    async def _map_in(self, tx: Tx, map_id: str) -> MapRecord:
        row = await tx.row(self._read, map_id=map_id)
        if row is None:
            raise not_found("map", map_id, "a map that is kept")
        return _map_of(row)


_BEHIND_ALL = 2**31 - 1


def _outcome(succeeded: bool) -> str:
    return str(ItemOutcome.SUCCEEDED if succeeded else ItemOutcome.FAILED)


def _map_of(row: Sequence[Any]) -> MapRecord:
    """From the columns _MAP."""
    counts = Counts(
        total=row[9], next=row[10], running=row[11], succeeded=row[12], failed=row[13],
        parallel=row[14], most_failures=row[15], stopped=row[16],
    )  # fmt: skip
    return MapRecord(
        id=row[0], run_id=row[1], step_id=row[2], workflow_id=row[3], workflow=row[4],
        version=row[5], given=codec.load(row[6]), undoes=row[7], cursor=row[8], counts=counts,
        cancel=None if row[17] is None else CancelMode(row[17]), is_open=row[18] is None,
        paused=row[_STATUS] == RunStatus.PAUSED,
    )  # fmt: skip


def _item_of(row: Sequence[Any]) -> MapItem:
    """From the columns _ITEM."""
    return MapItem(
        index=row[0], run_id=row[1], outcome=ItemOutcome(row[2]), place=row[3], cause=row[4]
    )
