"""Waiting runs that go on by another version of their workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from orchestrator.core.saga import Saga
from orchestrator.ports.hints import Redelivery
from orchestrator.ports.jobs import JobItem
from orchestrator.ports.records import LinkWrite, RunRecord

MIGRATED = "run.migrated"
"""Audit kind, with the event of the journal."""


class RunMove(msgspec.Struct, frozen=True, kw_only=True):
    """What is written of a run that is moved. Only if it still is as it was read."""

    run: RunRecord  # as it was read: nobody had it, and it waited
    workflow_id: str  # the definition by which it goes on
    version: int
    saga: Saga  # after the move
    links: tuple[LinkWrite, ...]  # that changed with it
    ahead: int  # what was prepared of links from this position on is forgotten
    keeps: bool  # what it waits for is waited for as before
    inputs: Mapping[str, Any]  # with the defaults that the version fills in
    by: str
    data: Mapping[str, Any]  # of the audit record


class MovingStore(Protocol):
    """The part of the database that moves runs."""

    async def migrate_run(self, move: RunMove, *, item: JobItem | None = None) -> Redelivery | None:
        """Move it: row, links, what it waits for and one audit record, in one transaction.

        Returns what to publish; None where it goes on waiting. With `item`, it is done for a job in
        the same transaction, once. Raises Conflict when something has happened to the run since it
        was read, when a worker has it, it is to be cancelled or a person has to approve its begin;
        JobHeld, NotFound.
        """
