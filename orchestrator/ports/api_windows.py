"""What all workers saw of APIs: one record for each operation, stretch of time and worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from orchestrator.core.windows import Window

MERGED = ""
"""Stands for the worker of a record that several were merged into."""


class ApiWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker saw of one operation from `began` on: for five minutes, or for an hour."""

    api: str
    operation: str  # method and path as documented: "POST /charges/{id}"
    began: datetime
    worker: str  # MERGED: all of them
    window: Window


class ApiWindowStore(Protocol):
    """The part of the database that keeps them."""

    async def write_api_windows(self, windows: Sequence[ApiWindow]) -> None:
        """Each in place of what its worker has written of the same before. May be repeated."""

    async def api_windows(self, *, seconds: float, api: str | None = None) -> list[ApiWindow]:
        """Those that began so long ago or later, by the database's clock; oldest first."""

    async def merge_api_windows(self, *, older_than_seconds: float, keep_seconds: float) -> int:
        """Make one record of an hour of all that are so old, and delete what is older still.

        How many went. What is counted stays the same; may be cut off, repeated, and done by several
        at once.
        """
