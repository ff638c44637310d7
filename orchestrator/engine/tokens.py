"""Tokens from token endpoints: fetched once for all workers, renewed before they expire.

    renew ─► ask the store ─┬─ another token is there ──► use it
                            ├─ it is our turn (lock) ───► fetch, share, give the lock back
                            └─ somebody else fetches ───► go on with the old one; without one, ask
                                                          again soon
    the store is away, or there is no key to seal with ─► fetch for this process alone

A token is renewed in the last fifth of its life, at most a minute before its end, or up to half of
that earlier: each process begins at another moment, so that mostly one asks and the others find its
token. A refresh token that comes with it is shared and kept like it; until it is shared, this
process alone knows it and uses it first.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256

import msgspec
import structlog

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.engine.auth import Grant, OAuth2, Place, Static
from orchestrator.engine.credentials import Credential, Source, StaticSource
from orchestrator.engine.oauth2 import (
    Issued,
    TokenRefused,
    address_of_endpoint,
    issued,
    token_request,
)
from orchestrator.engine.sealing import Sealer
from orchestrator.engine.secret import Secret
from orchestrator.errors import InDoubt, NoCredential, NotLanded, Unavailable
from orchestrator.ports import SharedToken, SharedTokens, Turn
from orchestrator.telemetry.redact import remember

log = structlog.get_logger(__name__)

LOCK_SECONDS = 10.0
FETCH_SHARE = 0.8  # of that time: a living holder is through before others may begin
LONGEST_MARGIN_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 1.0  # while somebody else renews and the old token is still good
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25  # while there is no token to go on with
BETWEEN_REFUSALS_SECONDS = 5.0
"""An API that refuses a new token as well would have one fetched for each call."""
KEEP_REFRESH_TOKEN_SECONDS = 400 * 86400.0
_CANNOT_BE_HAD = "no token can be had from its endpoint"

Ask = Callable[[str, FrozenRequest, Callable[[], bool]], Awaitable[Response]]
"""Sends a request to a base URL, under the API's egress rules. Raises NotLanded, InDoubt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharing:
    """How the workers share tokens."""

    store: SharedTokens
    sealer: Sealer
    lock_seconds: float = LOCK_SECONDS


@dataclass(frozen=True, slots=True)
class _Held:
    """A token in this process."""

    issued: Issued
    version: str
    shared: bool  # whether the others can find it


class TokenSource(Source):
    """The token of one configuration entry."""

    def __init__(self, name: str, oauth: OAuth2, ask: Ask, sharing: Sharing | None) -> None:
        super().__init__(name)
        self.ask = ask
        self._oauth, self._sharing = oauth, sharing
        self._key = _key(name, oauth)
        self._held: _Held | None = None
        self._unshared_refresh_token: str | None = None
        self._spends_refresh_token = False  # its answer is not safe yet
        self._renewed_after_refusal_at = float("-inf")

    def _may_ask_again(self, now: float) -> bool:
        if self._current is not None and self._current.version == self._worked:
            return True  # it has ended, however new it is
        return now >= self._renewed_after_refusal_at + BETWEEN_REFUSALS_SECONDS

    async def aclose(self) -> None:
        """End a renewal under way; one that may use up a refresh token gets its answer first."""
        if self._renewing is not None and self._spends_refresh_token:
            await asyncio.wait([self._renewing], timeout=LOCK_SECONDS)
        await super().aclose()

    async def _renew(self) -> None:
        try:
            await self._find()
        finally:
            self._spends_refresh_token = False

    async def _find(self) -> None:
        if self._sharing is None:
            await self._fetch_alone()
            return
        pause, patience = FIRST_PAUSE_SECONDS, time.monotonic() + 3 * self._sharing.lock_seconds
        owner = secrets.token_hex(16)
        while True:
            asked_at = time.monotonic()
            try:
                taken = await self._take(self._sharing, owner)
            except Unavailable as error:
                log.warning("credential.not_shared", entry=self.name, why=str(error))
                await self._fetch_alone()
                return
            if await self._took(self._sharing, taken, owner, asked_at):
                return
            if time.monotonic() > patience:
                why = f"credential {self.name}: another worker has been fetching it for too long"
                raise NoCredential(why, retryable=True)
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - spreads, hides nothing
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _take(self, sharing: Sharing, owner: str) -> SharedToken:
        known = self._held.version if self._held is not None and self._held.shared else ""
        return await sharing.store.take(
            self._key, owner=owner, known=known, refused=bool(known) and known == self._refused,
            lock_seconds=sharing.lock_seconds,
        )  # fmt: skip

    async def _took(
        self, sharing: Sharing, taken: SharedToken, owner: str, asked_at: float
    ) -> bool:
        """Act on the store's answer; False: ask again soon."""
        theirs = self._opened(sharing, taken)
        if taken.turn is Turn.FETCH:
            await self._fetch_for_all(sharing, taken, theirs, owner, asked_at)
            return True
        if taken.turn is Turn.USE and theirs is None:  # sealed with a key that we do not have
            await self._fetch_alone()
            return True
        if theirs is not None and taken.valid_seconds > 0:
            self._hold(theirs, asked_at + taken.valid_seconds)
            if taken.turn is Turn.WAIT:
                self._look_again()
            return True
        if self._current is not None and time.monotonic() < self._good_until:
            self._look_again()
            return True
        return False

    def _opened(self, sharing: Sharing, taken: SharedToken) -> _Held | None:
        value = sharing.sealer.open(self._key, taken.sealed) if taken.sealed else None
        try:
            issued = msgspec.convert(value, Issued)
        except msgspec.ValidationError:  # nothing, or what another release has written
            return None
        remember(issued.token)
        return _Held(issued, taken.version, shared=True)

    def _look_again(self) -> None:
        self._renew_at = min(time.monotonic() + LOOK_AGAIN_SECONDS, self._good_until)

    # --- fetching ---------------------------------------------------------------------------------

    async def _fetch_alone(self) -> None:
        """For this process only."""
        found, began_at = await self._fetch(None, time.monotonic() + LOCK_SECONDS * FETCH_SHARE)
        self._hold_new(found, began_at)

    async def _fetch_for_all(
        self, sharing: Sharing, taken: SharedToken, theirs: _Held | None, owner: str,
        locked_at: float,
    ) -> None:  # fmt: skip
        refresh_token = None if theirs is None else theirs.issued.refresh_token
        try:
            found, began_at = await self._fetch(
                refresh_token, locked_at + sharing.lock_seconds * FETCH_SHARE
            )
        except BaseException:
            await _quietly(sharing.store.release(self._key, owner=owner))
            raise
        # At hand before it is shared: whatever happens then, this process has it.
        held = self._hold_new(found, began_at)
        left = began_at + found.life_seconds - time.monotonic()
        keep = KEEP_REFRESH_TOKEN_SECONDS if found.refresh_token else max(left, 1.0)
        try:
            shared = await sharing.store.put(
                self._key, owner=owner, base=taken.version, version=held.version,
                sealed=sharing.sealer.seal(self._key, msgspec.to_builtins(found)),
                valid_seconds=max(left, 0.0), keep_seconds=keep,
            )  # fmt: skip
        except Unavailable as error:
            log.warning("credential.not_shared", entry=self.name, why=str(error))
            return
        if shared:
            self._held, self._unshared_refresh_token = replace(held, shared=True), None

    async def _fetch(
        self, shared_refresh_token: str | None, deadline: float
    ) -> tuple[Issued, float]:
        """A new token and when it was asked for. Raises NoCredential, which names it."""

        def may_leave() -> bool:
            # Late (the process was held up), somebody else may have the lock.
            return time.monotonic() < deadline

        try:
            client_id, client_secret, first = await asyncio.to_thread(self._secrets)
            tries = self._refresh_tokens(shared_refresh_token, first)
            self._spends_refresh_token = tries != [None]
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                return await self._first_that_works(tries, client_id, client_secret, may_leave)
        except TimeoutError:
            why = f"credential {self.name}: {_CANNOT_BE_HAD}: no answer in time"
            raise NoCredential(why, retryable=True) from None
        except InDoubt as error:  # perhaps a token got lost on its way: nobody can use it
            why = f"credential {self.name}: {_CANNOT_BE_HAD}: {error.reason}"
            raise NoCredential(why, retryable=True) from None
        except NotLanded as error:
            why = f"credential {self.name}: {_CANNOT_BE_HAD}: {error.reason}"
            raise NoCredential(
                why, retryable=error.retryable,
                retry_after_seconds=error.retry_after_seconds,
            ) from None  # fmt: skip

    async def _first_that_works(
        self, refresh_tokens: list[str | None], client_id: str, client_secret: str,
        may_leave: Callable[[], bool],
    ) -> tuple[Issued, float]:  # fmt: skip
        base, _ = address_of_endpoint(self._oauth)
        while True:
            refresh_token = refresh_tokens.pop(0)
            request = token_request(
                self._oauth, client_id=client_id, client_secret=client_secret,
                refresh_token=refresh_token,
            )  # fmt: skip
            began_at = time.monotonic()
            try:
                found = issued(await self.ask(base, request, may_leave))
            except TokenRefused as error:
                if error.code == "invalid_grant" and refresh_tokens:
                    continue
                raise
            log.info("credential.renewed", entry=self.name, life_seconds=found.life_seconds)
            if self._oauth.grant is not Grant.REFRESH_TOKEN:
                return replace(found, refresh_token=None), began_at
            return replace(found, refresh_token=found.refresh_token or refresh_token), began_at

    def _secrets(self) -> tuple[str, str, str | None]:
        """Client id, client secret and the first refresh token. Blocks. Raises InvalidSetting."""
        oauth = self._oauth
        client_id = (
            oauth.client_id.read() if isinstance(oauth.client_id, Secret) else oauth.client_id
        )
        first = None if oauth.refresh_token is None else oauth.refresh_token.read()
        return client_id, oauth.client_secret.read(), first

    def _refresh_tokens(self, shared: str | None, first: str | None) -> list[str | None]:
        """Which to try, best first; the configured one is the last, and may be new."""
        if self._oauth.grant is not Grant.REFRESH_TOKEN:
            return [None]
        own = None if self._held is None else self._held.issued.refresh_token
        known = (self._unshared_refresh_token, shared, own, first)
        return list(dict.fromkeys(token for token in known if token))

    def _hold_new(self, found: Issued, began_at: float) -> _Held:
        """A token that this process has fetched, and nobody else knows yet."""
        if self._refused:
            self._renewed_after_refusal_at = time.monotonic()
        held = _Held(found, secrets.token_hex(16), shared=False)
        self._hold(held, began_at + found.life_seconds)
        self._unshared_refresh_token = found.refresh_token
        return held

    def _hold(self, held: _Held, good_until: float) -> None:
        if held.version != self._refused:
            self._refused = ""
        self._held = held
        margin = min(LONGEST_MARGIN_SECONDS, held.issued.life_seconds / 5)
        renew_at = good_until - margin * (1 + random.random() / 2)  # noqa: S311 - spreads
        credential = Credential(
            name=self.name, place=Place.HEADER, key="Authorization",
            text=f"Bearer {held.issued.token}", version=held.version,
        )  # fmt: skip
        self._have(credential, renew_at=renew_at, good_until=good_until)


async def _quietly(releasing: Awaitable[None]) -> None:
    """Without the store the lock expires by itself."""
    try:
        await releasing
    except Unavailable as error:
        log.warning("credential.lock_left", why=str(error))


def _key(name: str, oauth: OAuth2) -> str:
    """The store's name for what this configuration gets: another one gets another token."""
    client = oauth.client_id if isinstance(oauth.client_id, str) else oauth.client_id.reference
    parts = [oauth.token_url, client, oauth.audience, oauth.grant, *sorted(oauth.scopes)]
    if oauth.refresh_token is not None:
        parts.append(oauth.refresh_token.reference)
    digest = sha256("\n".join(parts).encode()).hexdigest()[:16]
    return f"{name.replace(': ', ':')}:{digest}"


class TokenDesk:
    """The sources of this process, kept when configurations are read again."""

    def __init__(self, sharing: Sharing | None = None) -> None:
        self._sharing = sharing
        self._sources: dict[tuple[str, OAuth2], TokenSource] = {}
        self._has_said = False

    def source(self, name: str, form: Static | OAuth2, ask: Ask) -> Source:
        """The source of an entry whose token endpoint is asked this way from now on."""
        if isinstance(form, Static):
            return StaticSource(name, form)
        self._say_once()
        found = self._sources.get((name, form))
        if found is None:
            found = self._sources[name, form] = TokenSource(name, form, ask, self._sharing)
        found.ask = ask
        return found

    def _say_once(self) -> None:
        if self._sharing is None and not self._has_said:
            self._has_said = True
            log.warning(
                "credentials.in_memory", why="setting credentials_key is empty",
                then="each worker fetches tokens of its own; refresh tokens end with it",
            )  # fmt: skip

    async def aclose(self) -> None:
        """End what is being fetched."""
        for source in self._sources.values():
            await source.aclose()
