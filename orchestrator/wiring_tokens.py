"""The tokens that the settings allow, checked: a mistake here would let the wrong people in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import Role
from orchestrator.service.issuer_keys import IssuerKeys
from orchestrator.service.tokens import ALGORITHMS, TokenRules, Tokens
from orchestrator.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def open_tokens(settings: Settings) -> Tokens | None:
    """Of the identity provider that the settings name; None without one. Raises InvalidSetting."""
    rules = token_rules(settings)
    if rules is None:
        return None
    from orchestrator.engine.fetching import fetch  # noqa: PLC0415 -- its HTTP client is heavy

    keys = IssuerKeys(
        rules.issuer, settings.api_token_keys_url, fetch=fetch, monotonic=time.monotonic
    )
    return Tokens(rules, keys)


def token_rules(settings: Settings) -> TokenRules | None:
    """None without an issuer. Raises InvalidSetting."""
    if not settings.api_token_issuer:
        return None
    problems = [
        *_url("api_token_issuer", settings.api_token_issuer),
        *_url("api_token_keys_url", settings.api_token_keys_url or settings.api_token_issuer),
        *_wanted("api_token_audience", settings.api_token_audience, "what tokens are made out for"),
        *_wanted("api_token_role_claim", settings.api_token_role_claim, "the name of a claim"),
        *_wanted("api_token_name_claim", settings.api_token_name_claim, "the name of a claim"),
        *_algorithms(settings.api_token_algorithms),
        *_roles(settings.api_token_roles),
    ]
    if settings.api_auth == "none":
        problems.append(Problem(place="setting api_auth", found="none", wanted="keys"))
    if problems:
        raise InvalidSetting("tokens cannot be told from false ones", problems=problems)
    roles = settings.api_token_roles or {str(role): str(role) for role in Role}
    return TokenRules(
        issuer=settings.api_token_issuer, audience=settings.api_token_audience,
        algorithms=settings.api_token_algorithms, role_claim=settings.api_token_role_claim,
        roles={name: Role(role) for name, role in roles.items()},
        tenant_claim=settings.api_token_tenant_claim, name_claim=settings.api_token_name_claim,
    )  # fmt: skip


def _url(name: str, found: str) -> list[Problem]:
    parts = urlsplit(found)
    if parts.scheme == "https" and parts.hostname:
        return []
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return []
    return [Problem(place=f"setting {name}", found=found, wanted="an https address")]


def _wanted(name: str, found: str, wanted: str) -> list[Problem]:
    return [] if found else [Problem(place=f"setting {name}", found="nothing", wanted=wanted)]


def _algorithms(found: tuple[str, ...]) -> list[Problem]:
    wrong = [each for each in found if each not in ALGORITHMS] if found else ["nothing"]
    wanted = f"some of {', '.join(sorted(ALGORITHMS))}"
    return [
        Problem(place="setting api_token_algorithms", found=each, wanted=wanted) for each in wrong
    ]


def _roles(found: Mapping[str, str]) -> list[Problem]:
    wanted = " or ".join(Role)
    return [
        Problem(place=f"setting api_token_roles.{name}", found=role, wanted=wanted)
        for name, role in found.items()
        if role not in set(Role)
    ]
