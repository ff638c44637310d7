"""Aliases of versions: which there are, and who has set them to what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from orchestrator.core.aliases import Offered


class AliasRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias of a workflow names now."""

    workflow: str
    alias: str
    version: int
    share: float  # percent of the runs that name no version; 0 but for `canary`
    at: datetime  # since when
    by: str
    reason: str


class NewAliasChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of an alias. `version` None: that there be none."""

    workflow: str
    alias: str
    version: int | None
    share: float = 0.0
    by: str
    reason: str = ""


class AliasChange(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to an alias; kept for ever."""

    workflow: str
    alias: str
    version: int | None  # None: it was removed
    share: float
    at: datetime
    by: str
    reason: str


class AliasStore(Protocol):
    """The part of the database that knows aliases."""

    async def offered(self, name: str) -> Offered:
        """The latest version and what the aliases name, by one statement.

        Raises NotFound that names what exists.
        """

    async def change_alias(self, change: NewAliasChange) -> None:
        """Set or remove an alias and note who did, in one transaction.

        Raises NotFound for a version that does not exist, Conflict where nothing can be removed.
        """

    async def aliases(self, name: str) -> Sequence[AliasRecord]:
        """Of one workflow, by name; empty for an unknown one."""

    async def alias_changes(self, name: str, *, limit: int) -> Sequence[AliasChange]:
        """What was done to the aliases of one workflow, newest first."""
