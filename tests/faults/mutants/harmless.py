"""What looks like a fault and is none: the design forgives it, and so must the judge.

Each of these takes away one of two guards, or costs only time. That they are not caught shows that
the judge does not cry wolf; why they break nothing is said by each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.engine.driver import RunDriver
from orchestrator.service.redelivery import Redeliverer
from tests.faults.mutants.engine import publishing_first
from tests.faults.mutants.patching import replaced, sql, strike
from tests.faults.mutants.planting import World, harmless

SQL = World.SQL_STORM


@harmless()
def published_before_the_commit() -> Iterator[None]:
    """A hint that comes before its release is refused at the claim; the sweep gives another."""
    with publishing_first():
        yield


@harmless()
def every_wake_up_twice() -> Iterator[None]:
    """Wake-ups given twice: the second finds the epoch moved on, or the run owned."""

    async def publish(self: Redeliverer, redeliveries: Any) -> int:
        strike()
        return await original(self, [*redeliveries, *redeliveries])

    original = Redeliverer.publish
    with replaced(Redeliverer, "publish", publish):
        yield


@harmless()
def request_made_anew() -> Iterator[None]:
    """Each attempt's request is made again: a program is pure, so the bytes are the same."""

    def prepared(self: RunDriver, at: Any) -> Any:
        link = self._run.ledger.link(at)
        if link.request is None:
            return original(self, at)
        strike()
        return self._program.prepare(*at, self._run.facts)

    original = RunDriver._prepared
    with replaced(RunDriver, "_prepared", prepared):
        yield


@harmless(world=SQL)
def recovered_without_a_new_epoch() -> Iterator[None]:
    """The old owner is refused by its name, and the next claim moves the epoch on anyway."""
    with sql("owner = NULL, epoch = epoch + 1", "owner = NULL, epoch = epoch"):
        yield


@harmless(world=World.SQL_ICE)
def fence_without_the_epoch() -> Iterator[None]:
    """The owner's name alone fences: a worker that was declared dead claims nothing any more."""
    guard = "runs.id = b.run_id AND COALESCE(runs.owner = b.owner, false)"
    with sql(f"{guard} AND runs.epoch = b.epoch", guard):
        yield


@harmless(world=SQL)
def claimed_with_a_stale_hint() -> Iterator[None]:
    """Any hint may wake a run that is due and that nobody owns: the claim fences, not the hint."""
    with sql("runs.epoch = b.epoch AND runs.owner IS NULL", "runs.owner IS NULL"):
        yield


@harmless(world=SQL)
def heartbeat_that_revives() -> Iterator[None]:
    """A worker that was declared dead is entered again and not told: its old epochs stay stale."""
    with sql(
        "UPDATE workers SET heartbeat_at = {now}, active_runs = :active_runs,"
        " reserved = :reserved WHERE id = :id RETURNING id",
        "INSERT INTO workers (id, name, pid, started_at, heartbeat_at, active_runs, reserved,"
        " version) VALUES (:id, 'revived', 0, {now}, {now}, :active_runs, :reserved, '')"
        " ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at RETURNING id",
    ):
        yield
