"""The `security` of an operation and the schemes behind it, in OpenAPI 2.0, 3.0 and 3.1.

What this cannot read is a demand that nothing satisfies, with the reason: whether it matters
depends on how the API is configured, which is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.core.demands import Demand, DemandKind, Security, security_from_json
from orchestrator.core.plan import Call, Plan

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of a header or cookie
_PLACES = ("header", "query", "cookie")
_CLIENT_FLOWS = ("clientCredentials", "application")  # 3.x, 2.0
_REFRESHED_FLOWS = ("authorizationCode", "password", "accessCode", "clientCredentials")

SchemeOf = Callable[[str], Any]
"""What the document says of a scheme's name, references followed; None: nothing."""


def security_of(said: Any, scheme_of: SchemeOf) -> Security | None:
    """What one operation demands. None: the document says nothing about it."""
    if not isinstance(said, list):
        return None
    return tuple(
        tuple(_demand(str(name), scopes, scheme_of(str(name))) for name, scopes in item.items())
        for item in said if isinstance(item, Mapping)
    )  # fmt: skip


def _demand(name: str, scopes: Any, scheme: Any) -> Demand:
    if not isinstance(scheme, Mapping):
        return _unsupported(name, "the document has no security scheme of this name")
    match scheme.get("type"):
        case "apiKey":
            return _api_key(name, scheme)
        case "basic":
            return Demand(scheme=name, kind=DemandKind.BASIC)
        case "http":
            return _http(name, scheme)
        case "oauth2":
            return _oauth2(name, scopes, scheme)
        case "mutualTLS":
            return Demand(scheme=name, kind=DemandKind.MUTUAL_TLS)
        case "openIdConnect":
            return _unsupported(
                name, "OpenID Connect signs in people; wanted oauth2 with client credentials, or "
                "auth: {oauth2: …} in the API's configuration",
            )  # fmt: skip
        case other:
            return _unsupported(name, f"type {other!r} is none that we know")


def _api_key(name: str, scheme: Mapping[str, Any]) -> Demand:
    place, key = scheme.get("in"), scheme.get("name")
    if place not in _PLACES or not isinstance(key, str) or not _NAME.fullmatch(key):
        return _unsupported(name, f"an apiKey in {place!r} by the name {key!r}")
    return Demand(scheme=name, kind=DemandKind.API_KEY, place=str(place), name=key)


def _http(name: str, scheme: Mapping[str, Any]) -> Demand:
    kind = str(scheme.get("scheme", "")).lower()  # the names of HTTP's schemes know no case
    if kind in ("basic", "bearer"):
        return Demand(scheme=name, kind=DemandKind(kind))
    return _unsupported(name, f"HTTP scheme {kind or 'without a name'}; wanted basic or bearer")


def _oauth2(name: str, scopes: Any, scheme: Mapping[str, Any]) -> Demand:
    flows = scheme.get("flows")
    if not isinstance(flows, Mapping):  # 2.0 has one flow, in the scheme itself
        flows = {str(scheme.get("flow")): scheme}
    return Demand(
        scheme=name, kind=DemandKind.OAUTH2,
        token_url=_first(flows, _CLIENT_FLOWS, "tokenUrl"),
        refresh_url=_first(flows, _REFRESHED_FLOWS, "refreshUrl", "tokenUrl"),
        scopes=tuple(sorted(map(str, scopes))) if isinstance(scopes, list) else (),
    )  # fmt: skip


def _first(flows: Mapping[str, Any], names: tuple[str, ...], *fields: str) -> str:
    said = [flows[name] for name in names if isinstance(flows.get(name), Mapping)]
    found = (flow[field] for field in fields for flow in said if isinstance(flow.get(field), str))
    return next(found, "")


def _unsupported(name: str, why: str) -> Demand:
    return Demand(scheme=name, kind=DemandKind.UNSUPPORTED, why=why)


def demands_of(plan: Plan) -> Iterator[tuple[Call, Security]]:
    """Each call of a workflow of whose credentials its API's document says something."""
    for step in plan.steps:
        calls = [step.call, *(step.compensation.calls if step.compensation else ())]
        for call in [*calls, *(one.verify for one in calls if one.verify is not None)]:
            said = call.template.get("security")
            if said is not None:
                yield call, security_from_json(said)
