"""Tokens of an identity provider (JWT, RFC 7519, as OpenID Connect has them), and who shows them.

The signature is looked at first, with keys of the issuer alone and algorithms that were chosen
here: what a forged token says about itself is neither believed nor repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt

from orchestrator.errors import NotAllowed, NotAuthenticated, Problem
from orchestrator.ports import Role
from orchestrator.service.issuer_keys import IssuerKeys
from orchestrator.service.principal import Principal

LEEWAY_SECONDS = 30.0
"""Clocks of issuer and this machine may differ by so much."""
LONGEST = 16_384
ALL_TENANTS = "*"
ALGORITHMS = frozenset({
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
})  # fmt: skip
"""That may be allowed: with a public key. None that a reader of it could sign with."""
_WANTED = ["exp", "iat", "iss", "aud", "sub"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRules:
    """Which tokens are good, and what is read from them. Claims may be paths: realm_access.roles"""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    role_claim: str
    roles: Mapping[str, Role]  # by what stands in that claim
    tenant_claim: str  # "": every token reaches all tenants
    name_claim: str


class Tokens:
    """Tells good tokens from others."""

    def __init__(self, rules: TokenRules, keys: IssuerKeys) -> None:
        self._rules, self._keys = rules, keys

    async def authenticate(self, text: str) -> Principal:
        """Who shows this. Raises NotAuthenticated, NotAllowed; Unavailable without keys."""
        return self.principal(await self.claims(text))

    async def claims(self, text: str) -> Mapping[str, Any]:
        """What a good token says. Raises NotAuthenticated; Unavailable without keys."""
        header = self._header(text)
        key = await self._keys.key(header.get("kid"))
        try:
            claims: Mapping[str, Any] = jwt.decode(
                text, key, algorithms=[header["alg"]], audience=self._rules.audience,
                issuer=self._rules.issuer, leeway=LEEWAY_SECONDS, options={"require": _WANTED},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            _refuse(error)
        return claims

    def _header(self, text: str) -> Mapping[str, str]:
        """Its header; only what is allowed in it is looked at."""
        if len(text) > LONGEST:
            raise _not_good("token", f"{len(text)} characters", f"at most {LONGEST}")
        try:
            header = jwt.get_unverified_header(text)
        except jwt.PyJWTError:
            raise _not_good("token", "something else", "a signed JWT") from None
        if header.get("alg") not in self._rules.algorithms:
            found = str(header.get("alg"))[:20]
            raise _not_good("token, header alg", found, " or ".join(self._rules.algorithms))
        if not isinstance(header.get("kid", ""), str):
            raise _not_good("token, header kid", "no text", "the id of the issuer's key")
        return header

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """Whom they name. Raises NotAuthenticated without a name, NotAllowed."""
        rules = self._rules
        name = _at(claims, rules.name_claim)
        if not isinstance(name, str) or not name.strip():
            raise _not_good(f"token, claim {rules.name_claim}", "nothing", "whose token it is")
        given = _at(claims, rules.role_claim)
        listed = given if isinstance(given, list) else [given]
        named = [each for each in listed if isinstance(each, str)]
        roles = [rules.roles[each] for each in named if each in rules.roles]
        if not roles:
            problem = Problem(
                place=f"token, claim {rules.role_claim}",
                found=", ".join(named)[:200] or "nothing",
                wanted=" or ".join(rules.roles),
            )
            raise NotAllowed("the token gives no role here", problems=[problem])
        return Principal(
            name=name.strip()[:200], role=max(roles, key=list(Role).index),
            tenant=self._tenant(claims),
        )  # fmt: skip

    def _tenant(self, claims: Mapping[str, Any]) -> str | None:
        claim = self._rules.tenant_claim
        if not claim:
            return None
        tenant = _at(claims, claim)
        if not isinstance(tenant, str) or not tenant:
            wanted = f"a tenant, or {ALL_TENANTS} for all of them"
            problem = Problem(place=f"token, claim {claim}", found="nothing", wanted=wanted)
            raise NotAllowed("the token reaches no tenant", problems=[problem])
        return None if tenant == ALL_TENANTS else tenant


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name (some are URLs), else what the path leads to; None: nothing."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _refuse(error: jwt.PyJWTError) -> NoReturn:
    """Claims are named only where the signature was good: PyJWT checks it before them."""
    match error:
        case jwt.ExpiredSignatureError():
            raise _not_good("token, claim exp", "a time that is over", "one to come") from None
        case jwt.ImmatureSignatureError():
            raise _not_good("token, claims nbf and iat", "a time to come", "one past") from None
        case jwt.InvalidAudienceError():
            raise _not_good("token, claim aud", "another", "this deployment's") from None
        case jwt.InvalidIssuerError():
            raise _not_good("token, claim iss", "another", "this deployment's") from None
        case jwt.MissingRequiredClaimError():
            raise _not_good(f"token, claim {error.claim}", "nothing", "this claim") from None
        case _:
            raise _not_good("token", "a wrong signature or claim", "the issuer's own") from None


def _not_good(place: str, found: str, wanted: str) -> NotAuthenticated:
    problem = Problem(place=place, found=found, wanted=wanted)
    return NotAuthenticated("the token is not good", problems=[problem])
