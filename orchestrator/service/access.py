"""Who asks over the network: keys are made, listed, revoked, and told from false ones."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import InvalidInput, NotAllowed, NotAuthenticated, Problem
from orchestrator.ports import AccessKey, AccessStore, NewAccessKey, Role

PREFIX = "ork"
"""Begins every key, so that scanners of repositories and logs can know one."""
SECRET_BYTES = 32
TRUSTED_SECONDS = 5.0
"""A key is asked for in the database at most so often: it may work so long after its revocation."""
MOST_TRUSTED = 10_000
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{32}})_([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who asks, and what is allowed to them."""

    name: str
    role: Role
    tenant: str | None  # the only one they reach; None: all

    def require(self, role: Role) -> None:
        """Raises NotAllowed unless they have this role."""
        if not self.role.covers(role):
            problem = Problem(place=f"key of {self.name}", found=self.role, wanted=role)
            raise NotAllowed("the key's role does not allow this", problems=[problem])

    def require_all_tenants(self) -> None:
        """Raises NotAllowed for who is bound to one: the thing asked for belongs to all."""
        if self.tenant is not None:
            problem = Problem(
                place=f"key of {self.name}", found=f"bound to tenant {self.tenant}",
                wanted="a key for all tenants",
            )  # fmt: skip
            raise NotAllowed("this concerns all tenants", problems=[problem])

    def tenant_of(self, wanted: str | None) -> str | None:
        """The tenant to look at: the one asked for, else the own. Raises NotAllowed."""
        if self.tenant is not None and wanted not in (None, self.tenant):
            problem = Problem(
                place=f"key of {self.name}",
                found=f"tenant {wanted}",
                wanted=f"tenant {self.tenant}",
            )
            raise NotAllowed("the key does not reach this tenant", problems=[problem])
        return wanted if self.tenant is None else self.tenant

    def sees(self, tenant: str) -> bool:
        """Whether things of this tenant exist for them."""
        return self.tenant in (None, tenant)


LOCAL = Principal(name="local", role=Role.ADMIN, tenant=None)
"""Who asks where no key is wanted: whoever is on this machine."""


class Access:
    """Keys. A key's secret is shown once and kept as a digest: 256 random bits need no slow one."""

    def __init__(
        self, store: AccessStore, *, new_id: Callable[[], str], monotonic: Callable[[], float]
    ) -> None:
        self._store, self._new_id, self._monotonic = store, new_id, monotonic
        self._trusted: dict[str, tuple[float, Principal]] = {}

    async def create(
        self, name: str, *, role: Role, tenant: str | None, lives_seconds: float | None, by: str
    ) -> tuple[AccessKey, str]:
        """A new key, and its text, which is nowhere kept. Raises InvalidInput."""
        if not name.strip():
            problem = Problem(place="name", found="nothing", wanted="whose key it is")
            raise InvalidInput("a key needs a name", problems=[problem])
        key_id, secret = self._new_id(), secrets.token_urlsafe(SECRET_BYTES)
        text = f"{PREFIX}_{key_id.replace('-', '')}_{secret}"
        key = await self._store.add_key(NewAccessKey(
            id=key_id, name=name.strip(), role=role, tenant=tenant, digest=_digest(text),
            created_by=by, lives_seconds=lives_seconds,
        ))  # fmt: skip
        return key, text

    async def list(self) -> Sequence[AccessKey]:
        """All keys, newest first."""
        return await self._store.keys()

    async def revoke(self, key_id: str, *, by: str) -> AccessKey:
        """It is good for nothing within TRUSTED_SECONDS. Raises Conflict, NotFound."""
        return await self._store.revoke_key(key_id, by=by)

    async def authenticate(self, text: str) -> Principal:
        """Whose key this is. Raises NotAuthenticated, with the same words whatever is wrong."""
        digest = _digest(text)
        until, known = self._trusted.get(digest, (0.0, None))
        if known is not None and self._monotonic() < until:
            return known
        self._trusted.pop(digest, None)
        found = _KEY.fullmatch(text)
        key = None if found is None else await self._store.usable_key(_dashed(found[1]))
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise NotAuthenticated("no such key, or it has expired or was revoked")
        principal = Principal(name=key.name, role=key.role, tenant=key.tenant)
        if len(self._trusted) >= MOST_TRUSTED:
            self._trusted.clear()
        self._trusted[digest] = (self._monotonic() + TRUSTED_SECONDS, principal)
        return principal


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _dashed(digits: str) -> str:
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts)
