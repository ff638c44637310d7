"""Logging in with an identity provider (OpenID Connect Core, 3.1), for the console.

    begin   state, nonce and verifier are made, signed, and kept by the browser in a cookie
    end     the answer has to bring that state, from this issuer, for this browser, within minutes;
            its code is exchanged, and the ID token has to be signed, in time, for this client, and
            to hold that nonce

Role, tenant and name come from the ID token's claims, as of any token that is good here.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urlsplit

from orchestrator.errors import NotAuthenticated, Problem, Unavailable
from orchestrator.service.principal import Principal
from orchestrator.service.sessions import Sessions, Signed

if TYPE_CHECKING:  # they bring cryptography; most deployments have keys alone
    from orchestrator.service.issuer_keys import Provider
    from orchestrator.service.tokens import Tokens

SECONDS = 600.0
"""From the way there to the way back."""
_LOOPBACK = frozenset(("http", name) for name in ("localhost", "127.0.0.1", "::1"))


class Why(StrEnum):
    """Why a login was refused."""

    STATE = "state"  # not begun in this browser, or too long ago
    REFUSED = "refused"  # by the provider
    ISSUER = "issuer"  # another one answers
    TOKEN = "token"  # noqa: S105 - what is wrong: the answer or its ID token is not good


class LoginRefused(NotAuthenticated):
    """Nobody was logged in."""

    def __init__(self, why: Why, *problems: Problem) -> None:
        self.why = why
        super().__init__("the login was refused", problems=problems)


class Flow(Protocol):
    """The requests of a login, as the engine makes them."""

    def address(self, endpoint: str, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser."""

    async def id_token(
        self, endpoint: str, *, code: str, verifier: str, methods: Collection[str]
    ) -> str:
        """The ID token for a code. Raises NotAuthenticated, Unavailable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A login that has begun."""

    address: str  # where to send the browser
    state: str  # names this login, of which a browser may have several
    kept: str  # what the browser keeps, out of reach of scripts, until it comes back


class SignIn:
    """Sends people to the provider, and knows them when they come back."""

    def __init__(
        self,
        provider: Provider,
        tokens: Tokens,
        flow: Flow,
        sessions: Sessions,
        *,
        client_id: str,
        public_url: str,
        key: str,
        wall_seconds: Callable[[], float],
    ) -> None:
        """`tokens`: those whose audience is the client. `public_url`: where people reach us."""
        self._provider, self._tokens, self._flow = provider, tokens, flow
        self.public_url = public_url.rstrip("/")
        self.sessions = sessions
        self._client_id = client_id
        self._begun = Signed(key, purpose="login-begun", wall_seconds=wall_seconds)

    @property
    def issuer(self) -> str:
        """Its address, by which people know it."""
        return self._provider.issuer

    async def begin(self, *, then: str) -> Begun:
        """Start a login; `then` is given back at its end. Raises Unavailable."""
        endpoint = _endpoint(await self._provider.document(), "authorization_endpoint")
        state, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        verifier = secrets.token_urlsafe(48)
        told = {"state": state, "nonce": nonce, "verifier": verifier, "then": then}
        return Begun(
            address=self._flow.address(endpoint, state=state, nonce=nonce, verifier=verifier),
            state=state, kept=self._begun.dumps(told, seconds=SECONDS),
        )  # fmt: skip

    async def end(self, answer: Mapping[str, str], kept: str) -> tuple[Principal, str]:
        """Who has come back with this answer, and what was to follow.

        Raises LoginRefused; NotAllowed for who has no role or tenant here; Unavailable.
        """
        told = self._begun.loads(kept)
        state = answer.get("state", "")
        if told is None or not hmac.compare_digest(told["state"].encode(), state.encode()):
            raise _refused(Why.STATE, "state", "another, or none", "that of a login begun here")
        document = await self._provider.document()
        self._require_issuer(answer, document)
        code = answer.get("code", "")
        if answer.get("error") or not code:
            raise _refused(Why.REFUSED, "error", answer.get("error", "no code")[:100], "a code")
        try:
            text = await self._flow.id_token(
                _endpoint(document, "token_endpoint"), code=code, verifier=told["verifier"],
                methods=_texts(document.get("token_endpoint_auth_methods_supported")),
            )  # fmt: skip
            claims = await self._tokens.claims(text)
            self._require_ours(claims, told["nonce"])
            return self._tokens.principal(claims), told["then"]
        except LoginRefused:
            raise
        except NotAuthenticated as error:
            raise LoginRefused(Why.TOKEN, *error.problems) from error

    def _require_issuer(self, answer: Mapping[str, str], document: Mapping[str, Any]) -> None:
        """RFC 9207: whoever answers says who it is, where this provider does so."""
        says = document.get("authorization_response_iss_parameter_supported") is True
        found = answer.get("iss")
        if (found is None and says) or found not in (None, self._provider.issuer):
            raise _refused(Why.ISSUER, "iss", "another, or none", self._provider.issuer)

    def _require_ours(self, claims: Mapping[str, Any], nonce: str) -> None:
        found = claims.get("nonce")
        if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
            raise _refused(Why.TOKEN, "claim nonce", "another, or none", "that of this login")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self._client_id) != self._client_id:
            raise _refused(Why.TOKEN, "claim azp", "another, or none", "this client")

    async def farewell(self, *, path: str) -> str | None:
        """Where to send who logs out, so that the provider forgets them too; None: nowhere."""
        try:
            document = await self._provider.document()
            endpoint = _endpoint(document, "end_session_endpoint")
        except Unavailable:
            return None  # it has none, or is away: the session here has ended all the same
        told = {
            "client_id": self._client_id, "post_logout_redirect_uri": self.public_url + path,
        }  # fmt: skip
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(told)}"


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    if not isinstance(found, str):
        raise Unavailable("issuer", name, "its discovery document has none")
    parts = urlsplit(found)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in _LOOPBACK:
        raise Unavailable("issuer", name, f"it is not an https address: {found[:200]}")
    return found


def _texts(found: object) -> list[str]:
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _refused(why: Why, place: str, found: str, wanted: str) -> LoginRefused:
    return LoginRefused(why, Problem(place=f"login, {place}", found=found, wanted=wanted))
