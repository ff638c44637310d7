"""What the settings say of tokens, checked: a mistake here would let the wrong people in."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import Role
from orchestrator.service.tokens import ALGORITHMS, TokenRules
from orchestrator.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def token_rules(settings: Settings) -> TokenRules:
    """Of the issuer that is named. Raises InvalidSetting."""
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
