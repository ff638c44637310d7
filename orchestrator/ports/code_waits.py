"""Runs whose next step is a function that the worker that had them does not have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from orchestrator.ports.hints import Redelivery


class CodeWait(msgspec.Struct, frozen=True, kw_only=True):
    """How many parked runs wait for one function."""

    code: str  # its registered name: "tasks.checkout.price", "tasks.checkout.price@2"
    runs: int
    since: datetime  # the longest of them


class CodeWaitStore(Protocol):
    """The part of the database that knows which runs wait for which code.

    A row is written before its run is parked and is only read while the run sleeps parked, so one
    that is left behind means nothing.
    """

    async def wait_for_code(self, run_id: str, code: str) -> None:
        """The run is about to be parked for want of this function."""

    async def take_coded(self, codes: Collection[str], *, limit: int) -> Sequence[Redelivery]:
        """Parked runs that wait for one of these: due from now on, and no longer waiting for it.

        Those that another worker takes at this moment are left out.
        """

    async def code_waits(self) -> Sequence[CodeWait]:
        """What parked runs wait for, by name."""

    async def code_wanted(self, run_id: str) -> str | None:
        """What one run waits for, if it does."""
