"""Who asks over the network: keys are made, listed, revoked, and told from false ones."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidInput, NotAuthenticated, Problem
from orchestrator.ports import AccessKey, AccessStore, NewAccessKey, Role
from orchestrator.service.gathering import Gathered
from orchestrator.service.principal import Principal

if TYPE_CHECKING:
    from orchestrator.service.tokens import Tokens  # brings cryptography; most have keys alone

PREFIX = "ork"
"""Begins every key, so that scanners of repositories and logs can know one."""
SECRET_BYTES = 32
TRUSTED_SECONDS = 5.0
"""A key is asked for in the database at most so often: it may work so long after its revocation."""
MOST_TRUSTED = 10_000
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{32}})_([A-Za-z0-9_-]{{43}})")


class Access:
    """Keys, and an identity provider's tokens where one is known.

    A key's secret is shown once and kept as a digest: 256 random bits need no slow one.
    """

    def __init__(
        self, store: AccessStore, *, new_id: Callable[[], str], monotonic: Callable[[], float],
        tokens: Tokens | None = None,
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._store, self._new_id, self._monotonic = store, new_id, monotonic
        self._trusted: dict[str, tuple[float, Principal]] = {}
        self._usable = Gathered(self._read_usable)

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
        """Whose key or token this is. Raises NotAuthenticated, NotAllowed, Unavailable.

        Of a key it says the same words whatever is wrong.
        """
        if self._tokens is not None and not text.startswith(f"{PREFIX}_"):
            return await self._tokens.authenticate(text)
        digest = _digest(text)
        until, known = self._trusted.get(digest, (0.0, None))
        if known is not None and self._monotonic() < until:
            return known
        self._trusted.pop(digest, None)
        found = _KEY.fullmatch(text)
        key = None if found is None else await self._usable_key(_dashed(found[1]))
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise NotAuthenticated("no such key, or it has expired or was revoked")
        principal = Principal(name=key.name, role=key.role, tenant=key.tenant)
        if len(self._trusted) >= MOST_TRUSTED:
            self._trusted.clear()
        self._trusted[digest] = (self._monotonic() + TRUSTED_SECONDS, principal)
        return principal

    async def _usable_key(self, key_id: str) -> AccessKey | None:
        return (await self._usable.of(key_id)).get(key_id)

    async def _read_usable(self, key_ids: Collection[str]) -> Mapping[str, AccessKey]:
        return {key.id: key for key in await self._store.usable_keys(key_ids)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _dashed(digits: str) -> str:
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts)
