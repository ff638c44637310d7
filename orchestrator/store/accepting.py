"""Accept runs in bulk: one INSERT of runs, one of their first audit records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from orchestrator.core import chain
from orchestrator.core.states import Direction
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import Accepted, NewRun, hop_id_of
from orchestrator.ports.records import PlaceInMap
from orchestrator.store import codec, writes
from orchestrator.store.attributes import INSERT as INSERT_ATTRIBUTES
from orchestrator.store.attributes import PAIR, Attributes
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import ANNOUNCED
from orchestrator.store.transactions import Tx

_COLUMNS = {
    "id": "text",
    "workflow_id": "text",
    "workflow": "text",
    "version": "int",
    "tenant": "text",
    "actor": "text",
    "lane": "text",
    "priority": "int",
    "idempotency_key": "text",
    "inputs_digest": "text",
    "inputs": "text",
    "hop_id": "text",
    "traceparent": "text",
    "tracestate": "text",
    "deadline_seconds": "real",
    "said": "text",  # the content of its first audit record, in hex
}
_PART = {"parent_id": "text", "depth": "int", "whole_id": "text", "map_id": "text", "item": "int"}
"""Columns of items of maps besides."""
_COPIED = ", ".join(name for name in _COLUMNS if name not in ("deadline_seconds", "said"))
ACCEPTED = "run.accepted"
MOST_CONFLICTS_SHOWN = 10
_MANY = 50
"""From so many on a round trip more costs less than the ids of all rows in an answer."""
# Statistics from when most runs were waiting would have PostgreSQL go through all runs instead of
# the partial index.
_BY_INDEX = text("SET LOCAL enable_seqscan = off")
_SAVE, _BACK = text("SAVEPOINT quick"), text("ROLLBACK TO quick")


class Accepting(Part):
    """The bulk part of ports.RunStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._attributes = Attributes(shared)
        deadline = self._dialect.later("{now}", "b.deadline_seconds")
        head = self._dialect.link_after("NULL", "b.id", self._dialect.entry_now("b.said"))

        def inserting(copied: str) -> str:
            return (
                f"INSERT INTO runs ({copied}, status, direction, step, epoch, claims, published_at,"
                " created_at, deadline_at, audit_seq, audit_head)"
                f" SELECT {', '.join('b.' + name for name in copied.split(', '))},"
                f" 'pending', 'forward', 0, 0, 0, {{now}}, {{now}}, {deadline}, 1, {head}"
            )

        insert = inserting(_COPIED)
        if_new = "ON CONFLICT DO NOTHING"
        with_audit = self._dialect.batch({**_COLUMNS, "accepted": "text"})
        one = (
            f"WITH b AS MATERIALIZED (SELECT * FROM {with_audit} AS given),"
            f" new AS ({insert} FROM b WHERE true {if_new} RETURNING runs.id, runs.audit_head),"
            " noted AS (INSERT INTO audit (run_id, seq, at, kind, actor, data, chain)"
            f" SELECT b.id, 1, {{now}}, '{ACCEPTED}', b.actor, b.accepted, new.audit_head"
            " FROM b JOIN new ON new.id = b.id)"
        )
        self._insert_one = self._sql(f"{one} SELECT id FROM new")
        self._insert_one_named = self._sql(
            f"{one}, named AS ({INSERT_ATTRIBUTES} SELECT b.id, a.name, a.value, b.tenant"
            f" FROM b JOIN new ON new.id = b.id CROSS JOIN"
            f" {self._dialect.batch(PAIR, 'attributes')} AS a)"
            " SELECT id FROM new"
        )
        self._insert = self._sql(
            f"{insert} FROM {self._dialect.batch(_COLUMNS)} AS b WHERE true {if_new}"
            " RETURNING runs.id"
        )
        self._insert_all = self._dialect.bulk(_COLUMNS, insert, tail=if_new)
        self._insert_items = self._dialect.bulk(
            {**_COLUMNS, **_PART}, inserting(f"{_COPIED}, {', '.join(_PART)}")
        )
        self._insert_audit = self._dialect.bulk(
            {"run_id": "text", "actor": "text", "data": "text"},
            "INSERT INTO audit (run_id, seq, at, kind, actor, data, chain)"
            f" SELECT b.run_id, 1, {{now}}, '{ACCEPTED}', b.actor, b.data, {writes.HEAD}",
        )
        self._backlog = self._sql(
            "SELECT tenant, count(*) FROM"
            f" (SELECT tenant FROM runs WHERE {ANNOUNCED} ORDER BY published_at LIMIT :most)"
            " AS waiting GROUP BY tenant"
        )
        keys = self._dialect.batch({"tenant": "text", "idempotency_key": "text"})
        self._holders = self._sql(
            "SELECT runs.tenant, runs.idempotency_key, runs.id, runs.workflow, runs.inputs_digest"
            f" FROM {keys} AS b JOIN runs"
            " ON runs.tenant = b.tenant AND runs.idempotency_key = b.idempotency_key"
        )

    async def accept(self, runs: Sequence[NewRun]) -> list[Accepted]:
        """Insert all in one transaction, `pending`, published_at = now, audit `run.accepted`.

        Raises Conflict, with nothing written, when a key is held by a run of another workflow or
        with other inputs; NotFound for a workflow version that does not exist.
        """
        if not runs or (len(runs) == 1 and await self._accept_one(runs[0])):
            return [Accepted(run_id=run.id, repeated=False) for run in runs]
        return await self._db.write(lambda tx: self.accept_in(tx, runs))

    async def backlog(self, most: int) -> Mapping[str, int]:
        """See RunStore."""

        async def count(tx: Tx) -> Sequence[Any]:
            if not self._dialect.is_sqlite:
                await tx.change(_BY_INDEX)
            return await tx.rows(self._backlog, most=most)

        return {row[0]: row[1] for row in await self._db.read(count)}

    async def _accept_one(self, run: NewRun) -> bool:
        """In one round trip, where it is not there yet and its version is known (PostgreSQL)."""
        if self._dialect.is_sqlite or self._shared.known_plans([run.workflow_id]) is None:
            return False
        told = accepted_told(run)
        batch = codec.dump_batch([(*_row(run, told), told)])
        if not run.attributes:
            return bool(await self._db.write_rows(self._insert_one, batch=batch))
        named = codec.dump_batch(run.attributes)
        return bool(
            await self._db.write_rows(self._insert_one_named, batch=batch, attributes=named)
        )

    async def accept_in(self, tx: Tx, runs: Sequence[NewRun]) -> list[Accepted]:
        """The same within a transaction."""
        await self._shared.plans(tx, {run.workflow_id for run in runs})
        # In order of keys, so that two overlapping submits wait for each other instead of both.
        ordered = sorted(runs, key=lambda run: (run.tenant, run.idempotency_key))
        told = {run.id: accepted_told(run) for run in runs}
        new = await self._insert_new(tx, [_row(run, told[run.id]) for run in ordered])
        audited = [(r.id, codec.storable(r.actor), told[r.id]) for r in runs if r.id in new]
        await tx.apply(self._insert_audit, audited)
        await self._attributes.insert_in(tx, [run for run in runs if run.id in new])
        if len(new) == len(runs):
            return [Accepted(run_id=run.id, repeated=False) for run in runs]
        return await self._answers(tx, runs, new)

    async def accept_items_in(self, tx: Tx, runs: Sequence[NewRun]) -> None:
        """Items of maps: new ones, whose keys are their ids."""
        told = {run.id: accepted_told(run) for run in runs}
        await tx.apply(self._insert_items, [(*_row(r, told[r.id]), *_part(r)) for r in runs])
        audited = [(run.id, codec.storable(run.actor), told[run.id]) for run in runs]
        await tx.apply(self._insert_audit, audited)
        await self._attributes.insert_in(tx, runs)

    async def _insert_new(self, tx: Tx, given: Sequence[tuple[Any, ...]]) -> set[str]:
        """Ids of those that were not there yet."""
        if self._dialect.is_sqlite or len(given) >= _MANY:
            # Quick, but it does not tell which rows were there already. Most often none was.
            await tx.change(_SAVE)
            if await tx.apply(self._insert_all, given) == len(given):
                return {row[0] for row in given}
            await tx.change(_BACK)
        return {row[0] for row in await tx.rows(self._insert, batch=codec.dump_batch(given))}

    async def _answers(self, tx: Tx, runs: Sequence[NewRun], new: set[str]) -> list[Accepted]:
        keys = codec.dump_batch([(run.tenant, run.idempotency_key) for run in runs])
        holders = {(row[0], row[1]): row for row in await tx.rows(self._holders, batch=keys)}
        answers, problems, seen = [], [], set[str]()
        for run in runs:
            holder = holders.get((run.tenant, run.idempotency_key))
            if holder is None or (holder[3], holder[4]) != (run.workflow, run.inputs_digest):
                problems.append(_conflict(run, holder))
                continue
            first = holder[2] == run.id and run.id in new and run.id not in seen
            seen.add(run.id)
            answers.append(Accepted(run_id=holder[2], repeated=not first))
        if problems:
            raise Conflict(
                "an idempotency key is in use for something else; nothing was accepted",
                problems=problems[:MOST_CONFLICTS_SHOWN],
            )
        return answers


def _row(run: NewRun, told: str) -> tuple[Any, ...]:
    actor = codec.storable(run.actor)
    return (
        run.id, run.workflow_id, run.workflow, run.version, run.tenant, actor, run.lane,
        run.priority, run.idempotency_key, run.inputs_digest, codec.dump_payload(run.inputs),
        hop_id_of(run.id, (0, Direction.FORWARD)), run.traceparent, run.tracestate,
        run.deadline_seconds,
        chain.content(ACCEPTED, actor, told).hex(),
    )  # fmt: skip


def _part(run: NewRun) -> tuple[Any, ...]:
    """In order of _PART."""
    place = run.in_map
    assert place is not None, "only of items"
    return place.parent_id, place.depth, place.whole_id, place.map_id, place.index


def accepted_told(run: NewRun) -> str:
    """The first record of a run."""
    told: dict[str, Any] = {
        "workflow": run.workflow, "version": run.version, "tenant": run.tenant,
        "idempotency_key": run.idempotency_key, "inputs_digest": run.inputs_digest,
        "deadline_seconds": run.deadline_seconds,
    }  # fmt: skip
    if run.attributes:
        told |= attributes_told(run.attributes)
    if run.in_map is not None:
        told["of"] = item_told(run.in_map)
    if run.looked:
        told["looked"] = run.looked
    if run.alias:
        told["alias"] = run.alias
    return codec.dump(told)


def item_told(place: PlaceInMap) -> dict[str, Any]:
    """What the audit says of an item when it begins."""
    return {"run": place.parent_id, "step": place.step, "item": place.index}


def attributes_told(attributes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What the audit says of them: names, since values may be what has to be erased one day."""
    digest = hashlib.sha256(codec.dump(dict(attributes)).encode()).hexdigest()
    return {"attributes": [name for name, _ in attributes], "attributes_digest": digest}


def _conflict(run: NewRun, holder: Sequence[Any] | None) -> Problem:
    wanted = f"workflow {run.workflow} with inputs digest {run.inputs_digest[:12]}"
    if holder is None:
        return Problem(place=f"run {run.id}", found="the id of another run", wanted="a new id")
    found = f"run {holder[2]} of workflow {holder[3]} with inputs digest {holder[4][:12]}"
    return Problem(
        place=f"idempotency key {run.idempotency_key!r} of tenant {run.tenant!r}",
        found=found,
        wanted=wanted,
    )
