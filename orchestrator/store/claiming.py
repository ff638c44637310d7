"""Take runs over: the guarded claim, with everything that driving a run needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.core.plan import Plan
from orchestrator.core.states import RunStatus
from orchestrator.errors import Unavailable
from orchestrator.ports import ClaimedRun, RunRecord
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import DUE, STOPPED, TIMED
from orchestrator.store.transactions import Tx

_COLUMNS = {"run_id": "text", "epoch": "int", "unheard": "int"}


class Claiming(Part):
    """The claiming part of ports.RunStore.

    When the commit of a claim is not answered, the runs may be ours without anybody here driving
    them, and our heartbeat would keep them so for ever. Such hints are remembered, each with the
    number of times: the next claim that names them takes the run also from ourselves.

    On PostgreSQL the commit of a claim does not wait for the disk. Nothing leaves the process on
    the strength of a claim alone: an intent comes first, its commit waits, and what was written
    before it is on the disk then as well (docs/decisions/0009-claims-do-not-wait-for-the-disk.md).
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._unheard: dict[tuple[str, int, str], int] = {}
        self._take = self._sql(
            "WITH me AS MATERIALIZED"
            " (SELECT id FROM workers WHERE id = :owner AND {unsynced} {for_key_share}),"
            " mine AS MATERIALIZED (SELECT runs.id FROM runs"
            f" JOIN {self._dialect.batch(_COLUMNS)} AS b ON b.run_id = runs.id"
            " WHERE {few} AND EXISTS (SELECT 1 FROM me)"
            " AND ((runs.epoch = b.epoch AND runs.owner IS NULL"
            f" AND ({DUE} OR ({TIMED} AND wake_at <= {{now}})) AND NOT {STOPPED})"
            " OR (runs.owner = :owner AND runs.epoch > b.epoch"
            " AND runs.epoch <= b.epoch + b.unheard))"
            " ORDER BY runs.id {for_update_of_runs})"
            " UPDATE runs SET owner = :owner, epoch = epoch + 1, claims = claims + 1,"
            " started_at = COALESCE(started_at, {now}), audit_shift = 0, write_number = 0"
            " FROM mine WHERE runs.id = mine.id"
            f" RETURNING {rows.RUN}"
        )
        self._links = self._sql(
            f"SELECT {rows.LINK} FROM run_steps WHERE run_id IN"
            f" (SELECT b.wanted FROM {self._dialect.batch({'wanted': 'text'})} AS b)"
        )

    async def claim(self, hints: Sequence[tuple[str, int]], *, owner: str) -> list[ClaimedRun]:
        """Take each (run id, epoch) that is unowned, due, not paused and still at that epoch.

        One transaction. The rest is left out; a hint that is there twice counts once.
        """
        if not hints:
            return []
        keys = {(run_id, epoch, owner) for run_id, epoch in hints}
        try:
            claimed = await self._claim(keys, owner)
        except (Unavailable, TimeoutError):
            for key in keys:
                self._unheard[key] = self._unheard.get(key, 0) + 1
            raise
        for key in keys:
            self._unheard.pop(key, None)
        return claimed

    async def _claim(self, keys: set[tuple[str, int, str]], owner: str) -> list[ClaimedRun]:
        batch = codec.dump_batch([(key[0], key[1], self._unheard.get(key, 0)) for key in keys])
        if self._dialect.is_sqlite:
            return await self._db.write(lambda tx: self._claim_in(tx, batch, owner))
        # A round trip of its own. What else there is to read belongs to us from then on.
        answer = await self._db.write_rows(self._take, batch=batch, owner=owner)
        taken = [rows.run_of(row) for row in answer]
        plans = self._shared.known_plans({run.workflow_id for run in taken})
        if plans is not None and not any(_has_links(run) for run in taken):
            return _claimed(taken, plans, {})
        return await self._db.read(lambda tx: self._with_links(tx, taken))

    async def _claim_in(self, tx: Tx, batch: str, owner: str) -> list[ClaimedRun]:
        answer = await tx.rows(self._take, batch=batch, owner=owner)
        return await self._with_links(tx, [rows.run_of(row) for row in answer])

    async def _with_links(self, tx: Tx, taken: Sequence[RunRecord]) -> list[ClaimedRun]:
        plans = await self._shared.outlines(tx, {run.workflow_id for run in taken})
        return _claimed(taken, plans, await self._links_of(tx, taken))

    async def _links_of(
        self, tx: Tx, taken: Sequence[RunRecord]
    ) -> defaultdict[str, list[Sequence[Any]]]:
        """Rows of links by run."""
        links: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
        begun = [(run.id,) for run in taken if _has_links(run)]
        if begun:
            for row in await tx.rows(self._links, batch=codec.dump_batch(begun)):
                links[row[0]].append(row)
        return links


def _has_links(run: RunRecord) -> bool:
    """Nothing has happened yet to a pending run."""
    return run.status is not RunStatus.PENDING


def _claimed(
    taken: Sequence[RunRecord],
    plans: Mapping[str, Plan],
    links: Mapping[str, Sequence[Sequence[Any]]],
) -> list[ClaimedRun]:
    return [
        ClaimedRun(
            run=run,
            steps=rows.steps_of(plans[run.workflow_id], run.path, links.get(run.id, ())),
        )
        for run in taken
    ]
