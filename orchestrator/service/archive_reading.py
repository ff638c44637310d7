"""What an archive says by itself: whether it is as it was written, and what happened to a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.chain import Breach
from orchestrator.core.narrative import About, Told, tell
from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import AuditRecord
from orchestrator.ports.archiving import Archive, ArchivedRun, Manifest, day_of
from orchestrator.ports.vouching import Keys
from orchestrator.service.archiving import broken
from orchestrator.service.auditing import ChainsSeen

AuditOf = Callable[[Sequence[Any]], list[AuditRecord]]
"""The records of a stored row: seq, at, kind, actor, data."""


@dataclass(kw_only=True)
class ArchiveVerification(ChainsSeen):
    """Those of an archive."""

    batches: int = 0
    unsigned_batches: int = 0  # or by a key that is not known here
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedStory:
    """A run of an archive, and what happened to it."""

    run: Mapping[str, Any]  # its row
    batch: str
    told: Told


class ArchiveReading:
    """Reads an archive; asks no database."""

    def __init__(self, archive: Archive, audit_of: AuditOf) -> None:
        self._archive, self._audit_of = archive, audit_of

    async def verify(
        self, keys: Keys, *, seen: Callable[[int], None] = lambda runs: None
    ) -> ArchiveVerification:
        """All of it: signatures, bytes, each run's chain. `seen` hears of the runs done so far.

        Raises Unavailable, and InvalidInput for a manifest that is none.
        """
        return await asyncio.to_thread(self._verify, keys, seen)

    def _verify(self, keys: Keys, seen: Callable[[int], None]) -> ArchiveVerification:
        found = ArchiveVerification()
        for manifest in self._archive.manifests():
            found.batches += 1
            found.note(self._look(manifest, keys, found))
            seen(found.runs)
        return found

    def _look(self, manifest: Manifest, keys: Keys, found: ArchiveVerification) -> Sequence[Breach]:
        place = f"batch {manifest.batch}"
        confirmed = keys.confirms(manifest)
        found.unsigned_batches += confirmed is None
        wrong = ["the signature is not of this manifest"] if confirmed is False else []
        found.bytes += sum(file.bytes for file in manifest.files.values())
        wrong += self._archive.differences(manifest)
        if wrong:  # nothing that stands in its files is what was written
            return [Breach(place=place, seq=None, what=what) for what in wrong]
        try:
            return broken(self._archive, manifest, seen=found.see)
        except (NotFound, InvalidInput) as error:
            return [Breach(place=place, seq=None, what=error.message)]

    async def explain(self, run_id: str) -> ArchivedStory:
        """What happened to a run, told from its audit. Raises NotFound, Unavailable."""
        manifest, found = await asyncio.to_thread(self._find, run_id)
        run = found.run
        records = [
            record
            for row in found.audit
            for record in self._audit_of([row[name] for name in _AUDIT])
        ]
        about = About(
            status=RunStatus(run["status"]), began=run["created_at"], settled=run["settled_at"]
        )
        return ArchivedStory(run=run, batch=manifest.batch, told=tell(about, records))

    def _find(self, run_id: str) -> tuple[Manifest, ArchivedRun]:
        """In the batch that knows most of it: what was said of it later is in a later one."""
        known = [
            (each.seq, manifest)
            for manifest in self._archive.manifests(day=_day_of(run_id))
            for each in manifest.heads
            if each.run_id == run_id
        ]
        if not known:
            problem = Problem(
                place=self._archive.address, found=f"no run {run_id}",
                wanted="the whole id of a run that was archived",
            )  # fmt: skip
            raise NotFound(f"the archive has no run {run_id}", problems=[problem])
        manifest = max(known, key=lambda each: each[0])[1]
        return manifest, self._archive.run(manifest, run_id)


_AUDIT = ("seq", "at", "kind", "actor", "data")


def _day_of(run_id: str) -> str:
    try:
        return day_of(run_id)
    except (ValueError, OverflowError, OSError):
        problem = Problem(place="RUN", found=run_id, wanted="the whole id of a run")
        raise InvalidInput("that is no run's id", problems=[problem]) from None
