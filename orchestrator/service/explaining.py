"""Tells the stories of runs to whoever asks why they went so, from their audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from orchestrator.core.doubles import Double, RunCalls, doubles
from orchestrator.core.narrative import About, Told, tell
from orchestrator.ports import AuditRecord, RunFilter, RunRecord, RunStore

MOST_TOGETHER = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """A run and its story."""

    run: RunRecord
    told: Told


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """The stories of several runs, newest first, and what was done in them more than once."""

    stories: Sequence[Explained]
    doubles: Sequence[Double]
    more: bool  # there are older runs, which were not looked at


class Explaining:
    """Stories of runs."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    async def explain(self, run_id: str) -> Explained:
        """From the whole audit of a run, whose id may be cut short. Raises NotFound."""
        run = await self._store.run(run_id)
        records = await self._store.audit(run.id)
        return Explained(run=run, told=story_of(run, records))

    async def explain_all(self, which: RunFilter, *, most: int = MOST_TOGETHER) -> Together:
        """The newest of these runs, so many at most, each told and held against the others."""
        found = await self._store.runs(structs.replace(which, limit=most + 1))
        stories, compared = [], []
        for run in found[:most]:
            records = await self._store.audit(run.id)
            told = story_of(run, records)
            stories.append(Explained(run=run, told=told))
            compared.append(_compared(run, records, told))
        return Together(stories=stories, doubles=doubles(compared), more=len(found) > most)


def _compared(run: RunRecord, records: Sequence[AuditRecord], told: Told) -> RunCalls:
    accepted = records[0].data if records else {}
    return RunCalls(
        run_id=run.id, workflow=run.workflow, tenant=run.tenant, actor=run.actor,
        key=run.idempotency_key, submitted_at=run.created_at, calls=told.calls,
        # Without a digest it is like no other.
        inputs_digest=accepted.get("inputs_digest", run.id),
    )  # fmt: skip


def story_of(run: RunRecord, records: Sequence[AuditRecord]) -> Told:
    """Told from all of its audit."""
    about = About(status=run.status, began=run.created_at, settled=run.settled_at)
    return tell(about, records)
