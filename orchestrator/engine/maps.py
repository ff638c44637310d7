"""Runs for the items of maps: what begins when others have ended, and what a cancel does to them.

Whoever ends an item looks after its map: one at a time in a process, since those who come meanwhile
form the next batch. Each look counts the ends that nobody has counted, and begins as many items as
there is room for. Two processes may look at once: the map's row lets one of them begin what both
have prepared. Who dies in between is made good by the next end, or by the sweep (`look_after`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import orjson
import structlog

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Saga
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.engine.batching import Batcher
from orchestrator.engine.undoing import begin_undo_of, with_payloads
from orchestrator.errors import Conflict, RefusedError, Unavailable
from orchestrator.ports import (
    Beginning,
    Hint,
    NewChild,
    NewRun,
    Redelivery,
    RunFilter,
    RunRecord,
    RunStore,
)
from orchestrator.ports.maps import ITEMS_A_CHUNK, MapItem, MapParent, MapRecord, MapStore
from orchestrator.ports.records import PlaceInMap

log = structlog.get_logger(__name__)

MOST_KNOWN = 50
"""Maps of which a process keeps what does not change; a chunk of items of each."""


READS_AT_ONCE = 8
"""Of runs that are to be undone: other work needs connections, too."""


class _Store(MapStore, RunStore, Protocol):
    """What is needed of one."""


@dataclass(slots=True)
class _Known:
    """Of a map, what does not change."""

    parent: MapParent
    chunk: int = -1  # the one that is kept
    values: list[Any] = field(default_factory=list)


class Maps:
    """The maps of which one process ends items."""

    def __init__(
        self,
        store: _Store,
        programs: Programs,
        republish: Callable[[Sequence[Redelivery]], Awaitable[Any]],
        publish: Callable[[Hint], Awaitable[None]],
        *,
        new_id: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._programs = store, programs
        self._republish, self._publish = republish, publish
        self._new_id, self._now = new_id, now
        self._known: dict[str, _Known] = {}
        self._looks = Batcher(self._look_at, name="maps", largest=1000)

    async def told(self, map_id: str) -> None:
        """It has begun, or an item of it has ended. What cannot be done now the sweep does."""
        await self._looks.submit(map_id)

    async def look_after(self) -> int:
        """Do what whoever should have done it could not; how many maps were looked at."""
        found = await self._store.open_maps()
        for map_id in found:
            await self._looks.submit(map_id)
        return len(found)

    async def stop(self, run_id: str, *, reason: str, cancel: CancelMode | None) -> None:
        """Let no further items of a run's maps begin; `cancel`: how those that run are, if so."""
        for found in await self._store.maps_of(run_id):
            if found.is_open and found.undoes is None:
                await self._store.stop_map(found.id, reason=reason, cancel=cancel)
                await self.told(found.id)

    async def _look_at(self, map_ids: Sequence[str]) -> Sequence[None]:
        for map_id in dict.fromkeys(map_ids):
            try:
                await self._look(map_id)
            except Unavailable as error:
                log.warning("map.not_told", map=map_id, why=str(error))
        return [None] * len(map_ids)

    async def _look(self, map_id: str) -> None:
        """Count what has ended and begin what may, until there is nothing to do."""
        while True:
            told = await self._store.tell_map(map_id)
            if told is None:
                return
            found = told.map
            if told.redelivery is not None:
                await self._republish([told.redelivery])
            if not found.is_open:
                self._known.pop(map_id, None)
                return
            if found.cancel is not None:
                await self._cancel_running(found, found.cancel)
            if found.paused or not found.counts.room or await self._begin(found):
                return

    async def _begin(self, found: MapRecord) -> bool:
        """Begin as many as there is room for; False: look again, something has changed."""
        try:
            items = await self._next_items(found)
        except RefusedError as error:  # the version of its runs cannot be trusted any more
            mode = CancelMode.UNDO if found.undoes is None else None
            await self._store.stop_map(found.id, reason=str(error), cancel=mode)
            return False
        if not await self._store.admit(found.id, at=found.counts.next, items=items):
            return False
        begun = [item for item in items if item.refused is None]
        hints = [await self._hint(item) for item in begun]
        await asyncio.gather(*map(self._publish, hints))
        return len(begun) == len(items)

    async def _hint(self, item: NewChild) -> Hint:
        """The first wake-up of an item's run."""
        run = item.run
        if item.begins is not None:
            saga = item.begins.saga
        else:
            saga = Saga.new((await self._programs.trusted(run.workflow_id)).plan)
        return Hint.at(saga, run_id=run.id, epoch=0, lane=run.lane, urgent=run.priority > 0)

    async def _cancel_running(self, found: MapRecord, mode: CancelMode) -> None:
        for run_id in await self._store.map_leftovers(found.id):
            try:
                redelivery = await self._store.request_cancel(
                    run_id, mode=mode, reason=found.counts.stopped, by="engine"
                )
            except Conflict:  # it has ended meanwhile, or a person decides about it
                continue
            if redelivery is not None:
                await self._republish([redelivery])

    # --- the runs of items ------------------------------------------------------------------------

    async def _next_items(self, found: MapRecord) -> list[NewChild]:
        parent = (known := await self._what_is_known(found)).parent
        if found.undoes is not None:
            return await self._undos(found, found.undoes, parent)
        program = await self._programs.trusted(found.workflow_id)
        at, room = found.counts.next, found.counts.room
        values = await self._values(found, known, at, room)
        making = _Making(found, parent, program, self._now())
        return [making.item(index, value, self._new_id()) for index, value in enumerate(values, at)]

    async def _values(self, found: MapRecord, known: _Known, at: int, room: int) -> Sequence[Any]:
        if found.given["counted"]:
            return range(at, at + room)
        values: list[Any] = []
        while len(values) < room:
            chunk, first = divmod(at + len(values), ITEMS_A_CHUNK)
            if known.chunk != chunk:
                known.values = await self._store.map_values(found.id, chunk)
                known.chunk = chunk
            values += known.values[first : first + room - len(values)]
        return values

    async def _what_is_known(self, found: MapRecord) -> _Known:
        known = self._known.get(found.id)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[found.id] = _Known(await self._store.map_parent(found.id))
        return known

    async def _undos(self, found: MapRecord, undone: str, parent: MapParent) -> list[NewChild]:
        """Runs that undo items which succeeded, latest completion first."""
        items = await self._store.map_to_undo(undone, before=found.cursor, limit=found.counts.room)
        ids = tuple(item.run_id for item in items)
        runs = {run.id: run for run in await self._store.runs(RunFilter(ids=ids, limit=None))}
        made: list[NewChild] = []
        for start in range(0, len(items), READS_AT_ONCE):
            some = items[start : start + READS_AT_ONCE]
            made += await asyncio.gather(
                *(self._undo(found, parent, item, runs[item.run_id]) for item in some)
            )
        return made

    async def _undo(
        self, found: MapRecord, parent: MapParent, item: MapItem, old: RunRecord
    ) -> NewChild:
        run_id, place = self._new_id(), _place(found, parent, item.index, item.place)
        plan, depth = (await self._programs.trusted(old.workflow_id)).plan, parent.depth + 1
        try:
            with_payloads(old)
        except Conflict as error:
            new = _undoable(old, parent, run_id, place)
            begins, told = _refused(plan, CancelMode.STOP, str(error), self._now())
            return NewChild(run=new, depth=depth, answers=True, begins=begins, refused=told)
        steps = await self._store.steps(old.id)
        new, begins = begin_undo_of(old, steps, plan, parent, run_id=run_id, in_map=place)
        return NewChild(run=new, depth=depth, answers=True, begins=begins)


class _Making:
    """Makes the runs of some items of one map."""

    def __init__(
        self, found: MapRecord, parent: MapParent, program: Program, now: datetime
    ) -> None:
        self._found, self._parent, self._program, self._now = found, parent, program, now
        self._deadline = _deadline(program.plan, parent, now)

    def item(self, index: int, value: Any, run_id: str) -> NewChild:
        """The run of one item; where its inputs are refused one that ends as it begins."""
        found, plan, given = self._found, self._program.plan, self._found.given
        inputs = {**given["arguments"], given["as"]: value}
        if given.get("index") is not None:
            inputs[given["index"]] = index
        begins = refused = None
        try:
            inputs = dict(self._program.check_inputs(inputs))
            attributes = self._program.attributes.of(inputs, {})
        except RefusedError as error:
            begins, refused = _refused(plan, CancelMode.UNDO, str(error), self._now)
            attributes = ()
        new = NewRun(
            id=run_id, workflow_id=found.workflow_id, workflow=found.workflow,
            version=found.version, inputs=inputs,
            inputs_digest=hashlib.sha256(orjson.dumps(inputs)).hexdigest(),
            idempotency_key=run_id, tenant=self._parent.tenant, actor=self._parent.actor,
            lane=plan.lane, priority=self._parent.priority, deadline_seconds=self._deadline,
            attributes=attributes, in_map=_place(found, self._parent, index, None),
        )  # fmt: skip
        return NewChild(
            run=new, depth=self._parent.depth + 1, answers=True, begins=begins, refused=refused
        )


def _place(found: MapRecord, parent: MapParent, index: int, place: int | None) -> PlaceInMap:
    return PlaceInMap(
        map_id=found.id, index=index, step=found.step_id, parent_id=parent.id,
        depth=parent.depth + 1, whole_id=parent.whole_id or parent.id, place=place,
    )  # fmt: skip


def _deadline(plan: Plan, parent: MapParent, now: datetime) -> float | None:
    """Seconds from now: the workflow's own, but never later than that of the parent."""
    until = parent.deadline_at
    left = None if until is None else max((until - now).total_seconds(), 0.001)
    given = (plan.deadline_seconds, left)
    return min((each for each in given if each is not None), default=None)


def _refused(
    plan: Plan, mode: CancelMode, why: str, now: datetime
) -> tuple[Beginning, Mapping[str, Any]]:
    """A run that ends as it begins, since nothing can be made of it; with what is told of it."""
    event = e.CancelRequested(mode=mode, reason=why)
    decision = decide(Saga.new(plan), event, now)
    told = {"cause": why, "events": journal.entries([(event, now, decision.command)], now)}
    return Beginning(saga=decision.saga, links=()), told


def _undoable(old: RunRecord, parent: MapParent, run_id: str, place: PlaceInMap) -> NewRun:
    """Of an item whose payloads were erased: it says no more than which one it was."""
    return NewRun(
        id=run_id, workflow_id=old.workflow_id, workflow=old.workflow, version=old.version,
        inputs=old.inputs, inputs_digest=hashlib.sha256(old.id.encode()).hexdigest(),
        idempotency_key=run_id, tenant=old.tenant, actor=parent.actor, lane=old.lane,
        in_map=place,
    )  # fmt: skip
