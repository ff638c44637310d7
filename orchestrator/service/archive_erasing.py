"""Takes the payloads of a run out of an archive, where the archive is all that is left of it.

Files are never changed: those of the run's batch are written once more, beside the old ones and
without what is to go, then the manifest is replaced, and then the old files go. Each record keeps
its digest in the place of its data, as in the database (see core/chain), and one more says who has
erased them and why. Cut off before the manifest, nothing has happened but files that nobody names;
after it the same command once more removes the old files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from orchestrator.core import chain
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem
from orchestrator.ports.archiving import (
    Archive,
    ArchivedRun,
    ArchivingStore,
    Head,
    Manifest,
    Row,
    day_of,
    micros_of,
)
from orchestrator.ports.vouching import Signer
from orchestrator.service.archiving import signed, wrong_with

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveErased:
    """What was done."""

    run: str
    batches: int  # that were written anew
    records: int  # of its audit that have lost their details


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    run_id: str
    by: str
    reason: str
    at: datetime


class ArchiveErasing:
    """Erases runs that are in the archive alone."""

    def __init__(self, store: ArchivingStore, archive: Archive, signer: Signer | None) -> None:
        self._store, self._archive, self._signer = store, archive, signer

    async def erase(self, run_id: str, *, by: str, reason: str) -> ArchiveErased:
        """Erase a run's payloads in each batch that has it. May be repeated.

        Raises NotFound, InvalidInput for what is no id, Conflict for a run that is in the database
        as well, or whose batch is not as it was written, and Unavailable.
        """
        if await self._store.has_run(run_id):
            raise _still_here(run_id)
        wish = _Wish(run_id=run_id, by=by, reason=reason, at=await self._store.now())
        known = await asyncio.to_thread(self._with, run_id)
        done = ArchiveErased(run=run_id, batches=0, records=0)
        for manifest in known:
            digest, records = await asyncio.to_thread(self._erase, manifest, wish)
            await self._store.note_archived(manifest.batch, manifest=digest)
            done = replace(
                done, batches=done.batches + bool(records), records=done.records + records
            )
        if done.records:
            log.warning("archive.erased", run=run_id, by=by, records=done.records)
        return done

    def _with(self, run_id: str) -> Sequence[Manifest]:
        try:
            day = day_of(run_id)
        except (ValueError, OverflowError, OSError):
            problem = Problem(place="RUN", found=run_id, wanted="the whole id of a run")
            raise InvalidInput("that is no run's id", problems=[problem]) from None
        found = [
            manifest for manifest in self._archive.manifests(day=day)
            if any(each.run_id == run_id for each in manifest.heads)
        ]  # fmt: skip
        if not found:
            problem = Problem(
                place=self._archive.address, found=f"no run {run_id}", wanted="one that is archived"
            )
            raise NotFound(f"the archive has no run {run_id}", problems=[problem])
        return found

    def _erase(self, manifest: Manifest, wish: _Wish) -> tuple[str, int]:
        """The digest of the batch's manifest now, and how many records have lost their details."""
        wrong = self._archive.differences(manifest)
        if wrong:
            raise _not_whole(manifest, wrong)
        found = self._archive.run(manifest, wish.run_id)
        records = sum(chain.number_of(each["kind"]) for each in found.audit if _has_data(each))
        if not records:
            self._archive.sweep(manifest)  # somebody may have been cut off just before that
            return self._archive.manifest(manifest.tenant, manifest.day, manifest.batch)[1], 0
        erasure = _Erasure(found, wish, self._store.erasure_data(wish.reason, records))
        files = self._archive.rewrite(
            manifest, lambda table, row: erasure.of(table, row, self._store.erased_columns)
        )
        heads = [erasure.head if each.run_id == wish.run_id else each for each in manifest.heads]
        new = signed(replace(manifest, files=files, heads=heads), self._signer)
        wrong = wrong_with(self._archive, new)
        if wrong:
            self._archive.discard(files)
            raise _not_whole(manifest, wrong)
        digest = self._archive.write_manifest(new)
        self._archive.sweep(new)
        return digest, records


class _Erasure:
    """What becomes of each row of a batch."""

    def __init__(self, found: ArchivedRun, wish: _Wish, data: str) -> None:
        run = found.run
        seq = run["audit_seq"] + 1
        said = chain.content(chain.ERASED, wish.by, data)
        link = chain.link(run["audit_head"], wish.run_id, chain.entry(micros_of(wish.at), said))
        self.head = Head(run_id=wish.run_id, seq=seq, head=link)
        self._run_id, self._maps, self._last = wish.run_id, found.maps, run["audit_seq"]
        self._record = {
            "run_id": wish.run_id, "seq": seq, "at": wish.at, "kind": chain.ERASED,
            "actor": wish.by, "data": data, "chain": link,
        }  # fmt: skip

    def of(
        self, table: str, row: Row, erased: Mapping[str, Mapping[str, Any] | None]
    ) -> Iterator[Row]:
        """What stands in the place of a row: nothing, itself, or itself without payloads."""
        if not self._is_its(table, row):
            yield row
        elif table == "audit":
            yield from self._of_audit(row)
        elif table == "runs":
            new = {"audit_seq": self.head.seq, "audit_head": self.head.head}
            yield {**row, **(erased["runs"] or {}), **new}
        elif table not in erased:
            yield row
        elif (columns := erased[table]) is not None:
            yield {**row, **columns}

    def _is_its(self, table: str, row: Row) -> bool:
        if table == "map_values":
            return row["map_id"] in self._maps
        return bool(row.get("id" if table == "runs" else "run_id") == self._run_id)

    def _of_audit(self, row: Row) -> Iterator[Row]:
        if _has_data(row):
            data = chain.erased(row["kind"], row["actor"], row["data"])
            yield {**row, "data": data}
        else:
            yield row
        if row["seq"] == self._last:
            yield self._record


def _has_data(row: Row) -> bool:
    return row["kind"] != chain.ERASED and chain.erased_content(row["data"]) is None


def _still_here(run_id: str) -> Conflict:
    problem = Problem(
        place=f"run {run_id}", found="one that is in the database as well",
        wanted="one that is in the archive alone: `orchestrator audit erase` erases it there, and"
        " its batch is written anew before it is deleted",
    )  # fmt: skip
    return Conflict("the run is not erased in the archive", problems=[problem])


def _not_whole(manifest: Manifest, wrong: Sequence[str]) -> Conflict:
    problems = [
        Problem(place=f"batch {manifest.batch}", found=what, wanted="what was written")
        for what in wrong[:10]
    ]
    return Conflict("the run's batch is not as it was written", problems=problems)
