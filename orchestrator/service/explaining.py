"""Tells the story of a run to whoever asks why it went so, from its audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.narrative import About, Told, tell
from orchestrator.ports import AuditRecord, RunRecord, RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """A run and its story."""

    run: RunRecord
    told: Told


class Explaining:
    """Stories of runs."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    async def explain(self, run_id: str) -> Explained:
        """From the whole audit of a run, whose id may be cut short. Raises NotFound."""
        run = await self._store.run(run_id)
        records = await self._store.audit(run.id)
        return Explained(run=run, told=story_of(run, records))


def story_of(run: RunRecord, records: Sequence[AuditRecord]) -> Told:
    """Told from all of its audit."""
    about = About(status=run.status, began=run.created_at, settled=run.settled_at)
    return tell(about, records)
