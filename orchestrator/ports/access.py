"""Who may ask what over the network: keys, and what each of them is good for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec


class Role(StrEnum):
    """What a key is good for; each role may do what those before it may."""

    VIEWER = "viewer"  # look
    SUBMITTER = "submitter"  # start runs: programs and agents
    OPERATOR = "operator"  # cancel runs, decide on escalations, hold and release APIs
    APPROVER = "approver"  # answer what runs ask people, where these do not say who may
    ADMIN = "admin"  # change how APIs are used

    def covers(self, other: Role) -> bool:
        """Whether this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept: its secret only as a SHA-256 digest."""

    id: str
    name: str  # whose it is; becomes the actor of what is done with it
    role: Role
    tenant: str | None  # the only tenant it reaches; None: all of them
    digest: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class NewAccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be kept."""

    id: str
    name: str
    role: Role
    tenant: str | None
    digest: str
    created_by: str
    lives_seconds: float | None  # from the database's now; None: until it is revoked


class AccessStore(Protocol):
    """Keys. A revoked one keeps its row: what was done with it stays explained."""

    async def add_key(self, key: NewAccessKey) -> AccessKey:
        """Keep it, with the database's time."""

    async def keys(self) -> Sequence[AccessKey]:
        """All of them, newest first."""

    async def usable_keys(self, key_ids: Collection[str]) -> Sequence[AccessKey]:
        """Those of them that are there, and have neither expired nor been revoked by now."""

    async def revoke_key(self, key_id: str, *, by: str) -> AccessKey:
        """From now on it is good for nothing. Raises Conflict when it is revoked, NotFound."""
