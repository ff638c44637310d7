"""The public keys with which an identity provider signs: fetched, kept, renewed.

    known key, younger than FRESH_SECONDS    used
    known key, older                         fetched anew; if that fails, used for STALE_SECONDS
    unknown key                              fetched anew, at most every PAUSE_SECONDS

So a provider may rotate its keys at any time, may be away for a while, and is not asked for each
forged token. Whoever withdraws a key is obeyed within FRESH_SECONDS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from jwt import PyJWK, PyJWTError

from orchestrator.errors import NotAuthenticated, Problem, Unavailable

FRESH_SECONDS = 300.0
STALE_SECONDS = 86_400.0
PAUSE_SECONDS = 10.0
MOST_KEYS = 100
KINDS = frozenset({"RSA", "EC", "OKP"})
"""Of public keys; a shared secret is none."""
DISCOVERY = "/.well-known/openid-configuration"

Fetch = Callable[[str], Awaitable[bytes]]
"""The body behind a URL. Raises Unavailable."""


class Provider:
    """What an issuer says of itself: its discovery document, kept for FRESH_SECONDS."""

    def __init__(self, issuer: str, *, fetch: Fetch, monotonic: Callable[[], float]) -> None:
        self.issuer = issuer
        self._fetch, self._monotonic = fetch, monotonic
        self._document: Mapping[str, Any] | None = None
        self._fetched_at = float("-inf")

    async def document(self) -> Mapping[str, Any]:
        """It. Raises Unavailable, also for one that speaks for somebody else."""
        age = self._monotonic() - self._fetched_at
        if self._document is None or age > FRESH_SECONDS:
            self._document = await self._fetched()
            self._fetched_at = self._monotonic()
        return self._document

    async def _fetched(self) -> Mapping[str, Any]:
        where = self.issuer.rstrip("/") + DISCOVERY
        document = _json(await self._fetch(where), where)
        if document.get("issuer") != self.issuer:
            raise Unavailable("issuer", where, f"it speaks for {document.get('issuer')!r}")
        return document


class IssuerKeys:
    """Keys of one issuer, by id. `url` empty: where the issuer's discovery document says."""

    def __init__(
        self, issuer: str, url: str, *, fetch: Fetch, monotonic: Callable[[], float]
    ) -> None:
        self._issuer, self._url = issuer, url
        self._provider = Provider(issuer, fetch=fetch, monotonic=monotonic)
        self._fetch, self._monotonic = fetch, monotonic
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._turn = asyncio.Lock()

    async def key(self, key_id: str | None) -> PyJWK:
        """The key of this id; None: the only one, where the issuer has no other.

        Raises NotAuthenticated; Unavailable when the issuer is away.
        """
        found = self._known(key_id)
        if found is None or self._age() > FRESH_SECONDS:
            await self._renew(key_id)
            found = self._known(key_id)
        if found is None:
            given = "nothing" if key_id is None else key_id[:100]
            problem = Problem(
                place="token, header kid", found=given, wanted="the id of a key of the issuer"
            )
            raise NotAuthenticated("the token is not good", problems=[problem])
        return found

    def _known(self, key_id: str | None) -> PyJWK | None:
        """OpenID Connect Core, 10.1: of a single key a token need not say which it is."""
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    async def _renew(self, key_id: str | None) -> None:
        """One fetch for all who want it; those who waited look at what it brought."""
        async with self._turn:
            known = self._known(key_id) is not None
            if known and self._age() <= FRESH_SECONDS:
                return
            if self._monotonic() - self._asked_at < PAUSE_SECONDS and self._keys:
                return
            self._asked_at = self._monotonic()
            try:
                self._keys = keys_of(await self._fetch(await self._place()), self._issuer)
                self._fetched_at = self._monotonic()
            except Unavailable:
                if not known or self._age() > STALE_SECONDS:
                    raise

    async def _place(self) -> str:
        if self._url:
            return self._url
        url = (await self._provider.document()).get("jwks_uri")
        if not isinstance(url, str):
            raise Unavailable("issuer", self._issuer, "it names no jwks_uri")
        return url


def keys_of(body: bytes, where: str) -> Mapping[str, PyJWK]:
    """Public signing keys of a JWK set (RFC 7517), by id; others are left out."""
    listed = _json(body, where).get("keys")
    if not isinstance(listed, list):
        raise Unavailable("issuer", where, "its key set has no `keys`")
    found = {}
    for each in listed[:MOST_KEYS]:
        if _signs(each) and (key := _parsed(each)) is not None:
            found[each["kid"]] = key
    return found


def _signs(each: Any) -> bool:
    return (
        isinstance(each, dict)
        and isinstance(each.get("kid"), str)
        and each.get("kty") in KINDS
        and each.get("use", "sig") == "sig"
    )


def _parsed(each: Mapping[str, Any]) -> PyJWK | None:
    try:
        return PyJWK(dict(each))
    except PyJWTError:
        return None  # of a kind that is newer than this release


def _json(body: bytes, where: str) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Unavailable("issuer", where, f"its answer is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Unavailable("issuer", where, "its answer is no JSON object")
    return document
