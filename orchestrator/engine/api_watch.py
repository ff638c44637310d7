"""Keeps a worker's `ApiBook` as the files and the operators want it, without a restart.

Every few seconds it reads the folder (a share tells nobody that a file has changed) and asks the
database for the overrides, one small query. A content that has just changed is read again a moment
later and only then believed: an editor may be in the middle of writing it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.api_files import ApiFolder, Broken
from orchestrator.errors import Unavailable
from orchestrator.ports import ApiOverride, ApiStore

log = structlog.get_logger(__name__)

SETTLE_SECONDS = 0.2  # between the two readings of a changed content


class ApiWatch:
    """The watcher of one worker process."""

    def __init__(
        self, folder: ApiFolder, store: ApiStore, book: ApiBook, *, every_seconds: float
    ) -> None:
        self._folder, self._store, self._book = folder, store, book
        self._every_seconds = every_seconds
        self._overrides: Mapping[str, ApiOverride] = {}
        self._told: set[tuple[str, str]] = set()  # what is broken, by its digest
        self._missing: set[Path] = set()

    async def run_passes(self) -> None:
        """One look after the other, until cancelled."""
        while True:
            await asyncio.sleep(self._every_seconds)
            try:
                await self.look()
            except Unavailable as error:
                log.warning("apis.overrides_unknown", why=str(error))
            except Exception:
                # What was wrong may be over by the next look, and that must come.
                log.exception("apis.watch_failed")

    async def look(self) -> list[str]:
        """Take over what has changed; the names of the APIs. Raises Unavailable.

        The files are taken over although the database is away.
        """
        await self._read_files()
        try:
            found = await self._store.api_overrides()
            self._overrides = {each.api: each for each in found}
        finally:
            changed = self._book.take(self._folder.configs(self._overrides))
            self._tell(changed)
        return changed

    async def _read_files(self) -> None:
        contents = await asyncio.to_thread(self._folder.read)
        if not self._folder.differs(contents):
            return
        await asyncio.sleep(SETTLE_SECONDS)
        if await asyncio.to_thread(self._folder.read) == contents:
            self._folder.take(contents)

    def _tell(self, changed: list[str]) -> None:
        for api in changed:
            override = self._overrides.get(api)
            log.info(
                "api.changed", api=api, held=self._book.now(api).held,
                overridden=sorted(override.values()) if override is not None else [],
            )  # fmt: skip
        broken = self._folder.broken()
        for each in broken:
            if (each.of, each.digest) not in self._told:
                _tell_broken(each)
        self._told = {(each.of, each.digest) for each in broken}
        missing = set(self._folder.missing())
        for path in missing - self._missing:
            log.warning("api.file_missing", file=str(path), so="what it said last holds on")
        self._missing = missing


def _tell_broken(broken: Broken) -> None:
    for problem in broken.problems:
        log.error(
            "api.not_taken_over", what=broken.of, place=problem.place, found=problem.found,
            wanted=problem.wanted, so="what was valid last holds on",
        )  # fmt: skip
