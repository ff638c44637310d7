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


class IssuerKeys:
    """Keys of one issuer, by id. `url` empty: where the issuer's discovery document says."""

    def __init__(
        self, issuer: str, url: str, *, fetch: Fetch, monotonic: Callable[[], float]
    ) -> None:
        self._issuer, self._url = issuer, url
        self._fetch, self._monotonic = fetch, monotonic
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._turn = asyncio.Lock()

    async def key(self, key_id: str) -> PyJWK:
        """The key of this id. Raises NotAuthenticated; Unavailable when the issuer is away."""
        found = self._keys.get(key_id)
        if found is None or self._age() > FRESH_SECONDS:
            await self._renew(key_id)
            found = self._keys.get(key_id)
        if found is None:
            problem = Problem(
                place="token, header kid", found=key_id[:100], wanted="a key of the issuer"
            )
            raise NotAuthenticated("the token is not good", problems=[problem])
        return found

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    async def _renew(self, key_id: str) -> None:
        """One fetch for all who want it; those who waited look at what it brought."""
        async with self._turn:
            known = key_id in self._keys
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
        where = self._issuer.rstrip("/") + DISCOVERY
        document = _json(await self._fetch(where), where)
        if document.get("issuer") != self._issuer:
            raise Unavailable("issuer", where, f"it speaks for {document.get('issuer')!r}")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise Unavailable("issuer", where, "it names no jwks_uri")
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
