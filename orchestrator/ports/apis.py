"""How APIs may be used: what operators have changed at run time, and what the files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec

from orchestrator.errors import Problem

HOLD = "hold"
"""The override that lets nothing leave; not a field of the files."""


class ApiChangeKind(StrEnum):
    """What an operator did."""

    SET = "set"
    RESET = "reset"  # overrides were taken back
    HOLD = "hold"  # nothing leaves any more
    RELEASE = "release"


class ApiSetting(msgspec.Struct, frozen=True, kw_only=True):
    """One overridden field."""

    value: Any  # as in a file
    change: int  # version of the change that set it


class ApiOverride(msgspec.Struct, frozen=True, kw_only=True):
    """What is overridden of one API now; empty after a reset."""

    api: str
    version: int  # of its latest change; 1, 2, … by API
    settings: Mapping[str, ApiSetting]  # by field: "rate", "weights.acme"; HOLD
    changed_at: datetime

    @property
    def held(self) -> bool:
        """Whether nothing may leave."""
        return HOLD in self.settings

    def values(self) -> dict[str, Any]:
        """The overridden fields, without the hold."""
        return {name: each.value for name, each in self.settings.items() if name != HOLD}


class NewApiChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change to be made. `before` and `after`: what held, and holds, of the changed fields."""

    api: str
    expected_version: int  # 0: there has been no change yet
    kind: ApiChangeKind
    by: str
    reason: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    settings: Mapping[str, ApiSetting]  # all that is overridden from now on


class ApiChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that was made; kept for ever."""

    api: str
    version: int
    kind: ApiChangeKind
    at: datetime
    by: str
    reason: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class ApiStore(Protocol):
    """The part of the database that says what operators have changed."""

    async def api_overrides(self) -> list[ApiOverride]:
        """Of every API that was ever changed, by name."""

    async def change_api(self, change: NewApiChange) -> ApiOverride:
        """Make a change and record it, in one transaction.

        Raises Conflict when the API is not at `expected_version` any more.
        """

    async def api_changes(self, api: str, *, limit: int = 50) -> list[ApiChange]:
        """What was changed, newest first."""


class ApiField(msgspec.Struct, frozen=True, kw_only=True):
    """One field of an API as it holds now, but for a hold."""

    name: str
    value: Any
    origin: str  # "default", a file and line, a variable of the environment; "override"


class ApiFiles(Protocol):
    """The folder of API configurations, as this process finds it now."""

    def names(self) -> list[str]:
        """All APIs with a valid file."""

    def problems(self) -> Sequence[Problem]:
        """What is wrong with the files."""

    def check(self, api: str, overrides: Mapping[str, Any]) -> None:
        """Raises InvalidSetting, naming all that is wrong, if these do not go with the file."""

    def fields(self, api: str, overrides: Mapping[str, Any]) -> list[ApiField]:
        """What holds, and where it comes from. No header's value, no secret's reference."""

    def file_of(self, api: str) -> tuple[Path, str]:
        """The API's file and what stands in it; where it would be, and "", when there is none."""

    def check_file(self, path: Path, text: str) -> None:
        """Raises InvalidSetting, naming all that is wrong, if a file could not say this."""

    def open_connections(self) -> int:
        """Connections that one process may have open to all APIs with a file together."""
