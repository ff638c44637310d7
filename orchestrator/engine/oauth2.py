"""What is said to a token endpoint, and what it answers (RFC 6749, sections 2.3.1, 4.4, 5 and 6).

Nothing here sends or remembers anything. Descriptions of errors are not repeated: an endpoint may
put into them what it was sent.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.engine.auth import OAuth2
from orchestrator.errors import NotLanded
from orchestrator.telemetry.redact import remember

UNKNOWN_LIFE_SECONDS = 3600.0
"""Of a token whose endpoint does not say how long it lasts. When it ends sooner, a 401 says so."""
_TRY_LATER = frozenset({408, 425, 429})
_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """A token as it was issued."""

    token: str = field(repr=False)
    life_seconds: float
    refresh_token: str | None = field(default=None, repr=False)  # None: the old one goes on


class TokenRefused(NotLanded):
    """The endpoint issues no token for what it was shown; another try will not change that."""

    def __init__(self, reason: str, *, code: str) -> None:
        super().__init__(reason, retryable=False, settles_doubt=False)
        self.code = code  # "invalid_grant", or "" when it said none


class _Answer(msgspec.Struct):
    """What section 5.1 wants of an answer; anything else in it is passed over."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - required, but some leave it out
    expires_in: float | str | None = None  # some write the number as text
    refresh_token: str | None = None


class _Error(msgspec.Struct):
    """Section 5.2."""

    error: str


def address_of_endpoint(oauth: OAuth2) -> tuple[str, str]:
    """Base URL and target of its requests."""
    parts = urlsplit(oauth.token_url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}", f"{parts.path or '/'}{query}"


def token_request(
    oauth: OAuth2, *, client_id: str, client_secret: str, refresh_token: str | None
) -> FrozenRequest:
    """Ask for a token. The request holds secrets: it is sent once and kept nowhere."""
    form = {"grant_type": str(oauth.grant)}
    if refresh_token is not None:
        form["refresh_token"] = refresh_token
    if oauth.scopes:
        form["scope"] = " ".join(oauth.scopes)
    if oauth.audience:
        form["audience"] = oauth.audience
    headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
    ]
    if oauth.client_in_body:
        form |= {"client_id": client_id, "client_secret": client_secret}
    else:
        headers.append(("Authorization", _basic(client_id, client_secret)))
    _, target = address_of_endpoint(oauth)
    return FrozenRequest(
        method="POST", target=target, headers=tuple(headers), body=urlencode(form).encode()
    )


def issued(response: Response) -> Issued:
    """The token of an answer.

    Raises TokenRefused when there will be none, NotLanded (retryable) when there may be later.
    """
    if not 200 <= response.status < 300:
        raise _no_token(response)
    try:
        answer = msgspec.json.decode(response.body, type=_Answer)
        life = float(answer.expires_in or 0)
    except (msgspec.DecodeError, ValueError):
        raise NotLanded("its answer holds no token", retryable=True, settles_doubt=False) from None
    if answer.token_type.lower() != "bearer":
        raise TokenRefused("its tokens are of another type than Bearer", code="")
    if not re.fullmatch(r"[\x21-\x7e]+", answer.access_token):
        raise TokenRefused("its token cannot be sent in a header", code="")
    remember(answer.access_token)
    remember(answer.refresh_token or "")
    return Issued(
        token=answer.access_token, refresh_token=answer.refresh_token or None,
        life_seconds=life if 0 < life < 1e9 else UNKNOWN_LIFE_SECONDS,
    )  # fmt: skip


def _no_token(response: Response) -> NotLanded:
    code, status = _error_code(response), response.status
    said = f"it answered {status}" + (f" {code}" if code else "")
    later = status >= 500 or status in _TRY_LATER or code in _PASSING
    if not later:
        return TokenRefused(said, code=code)
    after = response.headers.get("retry-after", "")
    seconds = float(after) if re.fullmatch(r"[0-9]{1,5}", after) else None
    return NotLanded(said, retryable=True, settles_doubt=False, retry_after_seconds=seconds)


def _error_code(response: Response) -> str:
    try:
        code = msgspec.json.decode(response.body, type=_Error).error
    except msgspec.DecodeError:
        return ""
    return code if re.fullmatch(r"[a-z_]{1,40}", code) else ""


def _basic(client_id: str, client_secret: str) -> str:
    """Both encoded like a form first (section 2.3.1), so that a colon in the id does no harm."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
