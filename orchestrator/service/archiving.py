"""Ended runs into an archive, and out of the database once they are proved to be there.

    plan      which runs are together is committed before a file is begun
    write     table by table, in bounded pieces; the files are named by the batch
    read back the files as they lie there: their bytes, each run's chain, its head in the database
    manifest  last of all, in one piece; its digest is noted in the database
    delete    by retention: after another look at manifest and files, and only runs of which nothing
              has been said since they were planned

Whoever is cut off between two of these does no harm: the next pass takes the batch up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from orchestrator.core.chain import Breach, Story, breaches
from orchestrator.errors import InvalidInput, NotFound
from orchestrator.ports.archiving import Archive, ArchivingStore, Batch, BatchWriter, Manifest
from orchestrator.ports.retention import Retired
from orchestrator.ports.vouching import Signer

log = structlog.get_logger(__name__)

RUNS_PLANNED_AT_ONCE = 10_000
FEWEST_READ_AT_ONCE = 8
RUNS_READ_AT_ONCE = 200
"""At most; as many as their rows take about BYTES_READ_AT_ONCE in memory."""
BYTES_READ_AT_ONCE = 8 << 20
HOLD_SECONDS = 1800.0
"""Nobody else takes up a batch that was begun so long ago at most."""
BATCHES_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Archived:
    """What went into files."""

    runs: int = 0
    batches: int = 0
    bytes: int = 0

    def __add__(self, other: Archived) -> Archived:
        return Archived(
            runs=self.runs + other.runs, batches=self.batches + other.batches,
            bytes=self.bytes + other.bytes,
        )  # fmt: skip


class Archiving:
    """Writes batches, and deletes what they hold."""

    def __init__(self, store: ArchivingStore, archive: Archive, signer: Signer | None) -> None:
        self._store, self._archive, self._signer = store, archive, signer

    async def archive(self, *, older_than: timedelta, most: int | None = None) -> Archived:
        """Archive final runs that settled at least so long ago, all or about `most` of them.

        May be cut off at any moment and made again, also by several at once. Raises Unavailable.
        """
        await self._give_up_changed()
        done, planned = await self._write_planned(), 0
        while most is None or planned < most:
            found = await self._store.plan_batches(
                older_than_seconds=older_than.total_seconds(), most=RUNS_PLANNED_AT_ONCE
            )
            planned += found
            done += await self._write_planned()
            if found < RUNS_PLANNED_AT_ONCE:
                break
        if done.runs:
            log.info(
                "archive.written", archive=self._archive.address, runs=done.runs,
                batches=done.batches, bytes=done.bytes,
            )  # fmt: skip
        return done

    async def retire(self, *, older_than: timedelta, most: int | None, at_once: int) -> Retired:
        """Delete archived runs that settled so long ago, batch by batch, after a look at its files.

        A batch that is not as it was written is given up: its runs stay, and are archived anew.
        """
        done = Retired()
        async for batch in self.batches(kept=True):
            if most is not None and done.runs >= most:
                break
            done += await self._retire(batch, older_than.total_seconds(), at_once)
        return done

    async def batches(self, *, kept: bool = False) -> AsyncIterator[Batch]:
        """All that are written, by id; `kept`: those of which runs are still in the database."""
        after = ""
        while page := await self._store.archived_batches(
            kept=kept, after=after, most=BATCHES_AT_ONCE
        ):
            for batch in page:
                yield batch
            after = page[-1].id

    async def lost(self) -> Sequence[Breach]:
        """Batches that the database knows and that are not in the archive as they were written."""
        found: list[Breach] = []
        async for batch in self.batches():
            _, wrong = await asyncio.to_thread(_opened, self._archive, batch)
            found += [Breach(place=f"batch {batch.id}", seq=None, what=what) for what in wrong]
        return found

    # --- write ------------------------------------------------------------------------------------

    async def _write_planned(self) -> Archived:
        done = Archived()
        while (batch := await self._store.take_batch(hold_seconds=HOLD_SECONDS)) is not None:
            try:
                done += await self._write(batch)
            except BaseException:  # also what is cancelled: else it would be held for a while
                await self._store.release_batch(batch.id)
                raise
        return done

    async def _write(self, batch: Batch) -> Archived:
        tables = self._store.archived_tables
        writer = await asyncio.to_thread(self._archive.begin, batch, tables)
        try:
            await self._write_rows(batch, writer)
            files = await asyncio.to_thread(writer.close)
        finally:
            await asyncio.to_thread(writer.abandon)
        manifest = Manifest(
            batch=batch.id, tenant=batch.tenant, day=batch.day, schema=self._store.schema,
            older_until=await self._store.older_until(), heads=batch.heads, files=files,
        )  # fmt: skip
        wrong = await asyncio.to_thread(wrong_with, self._archive, manifest)
        if wrong:
            # Said of a run since (an erasure), or written by a disk that lies: planned anew.
            log.warning("archive.not_as_planned", batch=batch.id, why=wrong[:10])
            await self._give_up(batch)
            return Archived()
        digest = await asyncio.to_thread(
            self._archive.write_manifest, signed(manifest, self._signer)
        )
        if not await self._store.note_archived(batch.id, manifest=digest):
            await asyncio.to_thread(self._archive.remove, batch, tables)
            return Archived()
        size = sum(file.bytes for file in files.values())
        return Archived(runs=len(batch.heads), batches=1, bytes=size)

    async def _write_rows(self, batch: Batch, writer: BatchWriter) -> None:
        ids = batch.run_ids
        names = [table.name for table in self._store.archived_tables]
        # Versions of workflows belong to many runs: each is written once.
        of_each = [name for name in names if name != "workflows"]
        await self._copy(["workflows"], ids, writer)
        first, size = 0, FEWEST_READ_AT_ONCE
        while first < len(ids):
            taken = await self._copy(of_each, ids[first : first + size], writer)
            first += size
            size = _next_size(size, taken)

    async def _copy(self, tables: Sequence[str], ids: Sequence[str], writer: BatchWriter) -> int:
        """About how many bytes the rows took."""
        found = await self._store.rows_of(tables, ids)
        for name, rows in found.items():
            await asyncio.to_thread(writer.add, name, rows)
        return sum(
            len(value)
            for rows in found.values() for row in rows for value in row
            if isinstance(value, str | bytes)
        )  # fmt: skip

    # --- give up ----------------------------------------------------------------------------------

    async def _give_up_changed(self) -> None:
        for name in await self._store.changed_batches():
            batch = await self._store.batch(name)
            if batch is not None:
                await self._give_up(batch)

    async def _give_up(self, batch: Batch) -> None:
        """Its files go with it, unless they are all that is left of some of its runs."""
        if await self._store.give_up_batch(batch.id):
            tables = self._store.archived_tables
            await asyncio.to_thread(self._archive.remove, batch, tables)

    # --- delete -----------------------------------------------------------------------------------

    async def _retire(self, batch: Batch, seconds: float, at_once: int) -> Retired:
        spoilt = await asyncio.to_thread(_spoilt, self._archive, batch)
        if spoilt:
            log.error("archive.spoilt", archive=self._archive.address, batch=batch.id, why=spoilt)
            await self._give_up(batch)
            return Retired()
        done = Retired()
        while True:
            gone = await self._store.retire_runs(
                older_than_seconds=seconds, limit=at_once, batch=batch.id
            )
            done += gone
            if gone.runs < at_once:
                return done


def _next_size(size: int, taken: int) -> int:
    """How many runs to read at once, after so many took so many bytes."""
    if taken > BYTES_READ_AT_ONCE:
        return max(size // 2, 1)
    return min(size * 2, RUNS_READ_AT_ONCE) if taken * 2 <= BYTES_READ_AT_ONCE else size


def signed(manifest: Manifest, signer: Signer | None) -> Manifest:
    """With a signature of this key, if there is one, and no other."""
    bare = replace(manifest, key_id=None, signature=None)
    if signer is None:
        return bare
    return replace(bare, key_id=signer.key_id, signature=signer.sign(bare.text()))


def _opened(archive: Archive, batch: Batch) -> tuple[Manifest | None, list[str]]:
    """The manifest of a batch, or why it is not the one that was written."""
    try:
        manifest, digest = archive.manifest(batch.tenant, batch.day, batch.id)
    except (NotFound, InvalidInput) as error:
        return None, [error.message]
    if digest != batch.manifest:
        return None, [f"the manifest is not the one that was written ({digest})"]
    return manifest, []


def _spoilt(archive: Archive, batch: Batch) -> list[str]:
    manifest, wrong = _opened(archive, batch)
    return wrong if manifest is None else archive.differences(manifest)


def wrong_with(archive: Archive, manifest: Manifest) -> list[str]:
    """What is not as it should be in a batch, by its files as they lie there."""
    found = archive.differences(manifest)
    return found or [f"{each.place}: {each.what}" for each in broken(archive, manifest)]


def broken(
    archive: Archive, manifest: Manifest, *, seen: Callable[[Story], None] = lambda story: None
) -> Sequence[Breach]:
    """What is wrong with the runs of a batch, read from its files: their chains and their heads.

    `seen` hears of each run's story. Raises NotFound, InvalidInput for files that are not there or
    cannot be read.
    """
    wanted = {each.run_id: (each.seq, each.head) for each in manifest.heads}
    found: list[Breach] = []
    for story in archive.stories(manifest):
        seen(story)
        found += breaches(story)
        seq, head = story.claimed or (0, None)
        if wanted.pop(story.run_id, None) != (seq, head or b""):
            what = "its head is not the one that the manifest says"
            found.append(Breach(place=f"run {story.run_id}", seq=seq, what=what))
    found += [
        Breach(place=f"run {each}", seq=None, what="the manifest names it, and it is in no file")
        for each in sorted(wanted)
    ]
    return found
