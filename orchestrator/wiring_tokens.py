"""The tokens of the identity provider that the settings name, and logging in there."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSetting, Problem
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.service.signing_in import SignIn
    from orchestrator.service.tokens import TokenRules, Tokens

BACK = "/console-signed-in"


def open_tokens(settings: Settings) -> Tokens | None:
    """None without an issuer. Raises InvalidSetting."""
    if not settings.api_token_issuer:
        return None
    from orchestrator.token_rules import token_rules  # noqa: PLC0415 - see _tokens

    return _tokens(settings, token_rules(settings))


def open_sign_in(settings: Settings) -> SignIn | None:
    """None without a client at the provider. Raises InvalidSetting."""
    if not settings.api_login_client_id:
        return None
    _check(settings)
    # Authlib beside the rest, which most deployments do not load.
    from orchestrator.engine.code_flow import CodeFlow  # noqa: PLC0415 - see above
    from orchestrator.engine.fetching import fetch  # noqa: PLC0415 - see above
    from orchestrator.service.issuer_keys import Provider  # noqa: PLC0415 - see above
    from orchestrator.service.sessions import Sessions  # noqa: PLC0415 - see above
    from orchestrator.service.signing_in import SignIn  # noqa: PLC0415 - see above
    from orchestrator.token_rules import token_rules  # noqa: PLC0415 - see above

    client_id = settings.api_login_client_id
    key = _secret("session_key", settings.session_key) or secrets.token_urlsafe(48)
    public_url = settings.public_address.rstrip("/")
    return SignIn(
        Provider(settings.api_token_issuer, fetch=fetch, monotonic=time.monotonic),
        _tokens(settings, replace(token_rules(settings), audience=client_id)),
        CodeFlow(
            client_id, _secret("api_login_client_secret", settings.api_login_client_secret),
            scopes=settings.api_login_scopes, back_to=public_url + BACK,
        ),
        Sessions(key, seconds=settings.api_login_hours * 3600, wall_seconds=time.time),
        client_id=client_id, public_url=public_url, key=key, wall_seconds=time.time,
    )  # fmt: skip


def _tokens(settings: Settings, rules: TokenRules) -> Tokens:
    # Cryptography and an HTTP client, which most deployments do not load.
    from orchestrator.engine.fetching import fetch  # noqa: PLC0415 - see above
    from orchestrator.service.issuer_keys import IssuerKeys  # noqa: PLC0415 - see above
    from orchestrator.service.tokens import Tokens  # noqa: PLC0415 - see above

    keys = IssuerKeys(
        rules.issuer, settings.api_token_keys_url, fetch=fetch, monotonic=time.monotonic
    )
    return Tokens(rules, keys)


def _check(settings: Settings) -> None:
    problems = []
    if not settings.api_token_issuer:
        wanted = "the identity provider of api_login_client_id"
        problems.append(Problem(place="setting api_token_issuer", found="nothing", wanted=wanted))
    if "openid" not in settings.api_login_scopes:
        found = " ".join(settings.api_login_scopes) or "nothing"
        problems.append(
            Problem(place="setting api_login_scopes", found=found, wanted="openid among them")
        )
    if problems:
        raise InvalidSetting("nobody could log in at the provider", problems=problems)


def _secret(name: str, reference: str) -> str | None:
    """What the reference leads to; None where there is none. Raises InvalidSetting."""
    if not reference:
        return None
    from orchestrator.engine.secret import Secret, checked_reference  # noqa: PLC0415 - see above

    try:
        return Secret(reference=checked_reference(reference)).read()
    except ValueError as error:
        problem = Problem(place=f"setting {name}", found="a text", wanted=str(error))
        raise InvalidSetting("the settings are not valid", problems=[problem]) from None
