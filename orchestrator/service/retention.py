"""Upkeep of the tables: partitions are made ahead, and what is old enough is given up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

import structlog

from orchestrator.errors import Unavailable
from orchestrator.ports.retention import RetentionStore, Retired
from orchestrator.service.archiving import Archiving

log = structlog.get_logger(__name__)

PASS_SECONDS = 3600.0
RUNS_AT_ONCE = 200
MOST_RUNS_IN_A_PASS = 100_000
"""Of one worker's pass, so that a first one over years of runs shares the database with others."""
REST_SECONDS = 0.02
"""Between two batches, in which others write."""


class Retention:
    """Deletes final runs, jobs and times of schedules of long ago. Everything else stays.

    With an archive runs go into it first, and only those go that are proved to be in it.
    """

    def __init__(self, store: RetentionStore, archiving: Archiving | None = None) -> None:
        self._store, self._archiving = store, archiving

    async def expired(self, *, older_than: timedelta) -> Retired:
        """What `retire` would delete now, as far as runs, jobs and partitions go."""
        return await self._store.count_expired(older_than_seconds=older_than.total_seconds())

    async def retire(self, *, older_than: timedelta, by: str, most: int | None = None) -> Retired:
        """Delete final runs that settled at least so long ago, all or `most` of them; then jobs.

        May be cut off at any moment and made again, also by several at once. What went is logged,
        with who wanted it. Raises Unavailable.
        """
        seconds = older_than.total_seconds()
        if self._archiving is None:
            done = await self._retire_runs(seconds, most)
        else:
            await self._archiving.archive(older_than=older_than, most=most)
            done = await self._archiving.retire(
                older_than=older_than, most=most, at_once=RUNS_AT_ONCE
            )
        more = most is not None and done.runs >= most
        done += await self._retire_jobs(seconds)
        done += await self._retire_firings(seconds)
        if not more:  # else runs that keep partitions from being dropped go in the next pass
            done += await self._store.retire_partitions(older_than_seconds=seconds)
        if done:
            log.warning(
                "runs.retired", by=by, older_than_days=older_than / timedelta(days=1),
                **{**asdict(done), "partitions": list(done.partitions)},
            )  # fmt: skip
        return done

    async def _retire_runs(self, seconds: float, most: int | None) -> Retired:
        done, more = Retired(), True
        while more and (most is None or done.runs < most):
            batch = await self._store.retire_runs(older_than_seconds=seconds, limit=RUNS_AT_ONCE)
            done += batch
            more = batch.runs == RUNS_AT_ONCE
            await asyncio.sleep(REST_SECONDS if more else 0)
        return done

    async def _retire_firings(self, seconds: float) -> Retired:
        gone = 0
        while batch := await self._store.retire_firings(older_than_seconds=seconds):
            gone += batch
            await asyncio.sleep(REST_SECONDS)
        return Retired(firings=gone)

    async def _retire_jobs(self, seconds: float) -> Retired:
        done = Retired()
        while batch := await self._store.retire_jobs(older_than_seconds=seconds):
            done += batch
            await asyncio.sleep(REST_SECONDS)
        return done


class Upkeep:
    """The pass that every worker makes once an hour, the first one when it starts."""

    def __init__(
        self,
        store: RetentionStore,
        archiving: Archiving | None = None,
        *,
        keep_for: timedelta | None,
        pass_every: float = PASS_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._retention = store, Retention(store, archiving)
        self._keep_for, self._pass_every, self._jitter = keep_for, pass_every, jitter

    async def run_passes(self) -> None:
        """One pass after the other, until cancelled."""
        while True:
            try:
                await self.one_pass()
            except Unavailable as error:
                log.warning("upkeep.postponed", why=str(error))
            except Exception:
                # A pass is repeatable, and the next one must come.
                log.exception("upkeep.failed")
            # Workers that started together shall not delete together for ever.
            await asyncio.sleep(self._pass_every * (0.5 + self._jitter()))

    async def one_pass(self) -> None:
        """Partitions ahead; then, if a time is set, what is older than it."""
        made = await self._store.make_partitions()
        if made:
            log.info("partitions.made", partitions=made)
        if self._keep_for is not None:
            await self._retention.retire(
                older_than=self._keep_for, by="upkeep", most=MOST_RUNS_IN_A_PASS
            )
