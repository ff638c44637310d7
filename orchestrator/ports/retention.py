"""What is kept no longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Retired:
    """What went, or would go. Rows that went with a dropped partition are not counted."""

    runs: int = 0
    steps: int = 0
    attempts: int = 0
    audit: int = 0
    escalations: int = 0
    jobs: int = 0
    job_items: int = 0
    firings: int = 0
    partitions: tuple[str, ...] = ()

    def __add__(self, other: Retired) -> Retired:
        return Retired(
            runs=self.runs + other.runs, steps=self.steps + other.steps,
            attempts=self.attempts + other.attempts, audit=self.audit + other.audit,
            escalations=self.escalations + other.escalations,
            jobs=self.jobs + other.jobs, job_items=self.job_items + other.job_items,
            firings=self.firings + other.firings,
            partitions=self.partitions + other.partitions,
        )  # fmt: skip

    def __bool__(self) -> bool:
        return self != Retired()


class RetentionStore(Protocol):
    """The part of the database that is made ahead and given up."""

    async def make_partitions(self) -> list[str]:
        """Partitions for the weeks to come, where missing; their names. Repeatable."""

    async def retire_runs(
        self, *, older_than_seconds: float, limit: int = 200, batch: str | None = None
    ) -> Retired:
        """Delete the oldest final runs that settled at least so long ago, in one transaction.

        With a `batch` (see archiving): those of its runs alone whose audit is as it was archived.

        With each go its links and escalations, and its attempts and audit, unless they are in a
        partition: those follow by `retire_partitions`. `limit` bounds the runs; fewer of them mean
        that no more are left. Runs that are not final are never touched.
        """

    async def retire_jobs(self, *, older_than_seconds: float, limit: int = 5000) -> Retired:
        """Delete what is kept of jobs that ended at least so long ago, in one transaction.

        A job goes with the last of its things, of which `limit` go at most. Nothing retired: no
        such job is left. Jobs that run or are paused are never touched.
        """

    async def retire_firings(self, *, older_than_seconds: float) -> int:
        """Forget what became of times of schedules so long ago, but for what goes on; how many.

        10,000 at most; none: no more are left.
        """

    async def retire_partitions(self, *, older_than_seconds: float) -> Retired:
        """Give up attempts and audit of deleted runs, where a partition's time has passed.

        One that no kept run needs is dropped; of the others the rows without a run are deleted, a
        bounded number in each transaction. One that is too busy to be dropped is left to the next
        call.
        """

    async def count_expired(self, *, older_than_seconds: float) -> Retired:
        """What these would do now, as far as runs, jobs and partitions go; changes nothing."""
