"""What each request brings along: who asks, the services, and the page that is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.api.problems import PreconditionFailed, PreconditionRequired
from orchestrator.errors import NotAuthenticated, NotFound, Problem
from orchestrator.service.principal import LOCAL, Principal
from orchestrator.wiring_services import Services

UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_bearer = HTTPBearer(
    auto_error=False, scheme_name="key", description="A key of `orchestrator keys create`."
)


def services_of(request: Request) -> Services:
    """The services that the application was started with."""
    services: Services = request.app.state.services
    return services


async def principal_of(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Who asks. Raises NotAuthenticated."""
    if not request.app.state.wants_keys:
        return LOCAL
    if shown is None:
        problem = Problem(
            place="header Authorization", found=_shown(request), wanted="Bearer and a key"
        )
        raise NotAuthenticated("a key is needed", problems=[problem])
    return await services_of(request).access.authenticate(shown.credentials)


def _shown(request: Request) -> str:
    scheme = request.headers.get("authorization", "").partition(" ")[0]
    return f"the scheme {scheme[:20]}" if scheme else "nothing"


Asker = Annotated[Principal, Depends(principal_of)]


async def _streaming(request: Request, who: Asker) -> AsyncIterator[None]:
    """While the answer goes on. Raises Overloaded."""
    with request.app.state.streams.one(who.tenant or who.name):
        yield


Streaming = Depends(_streaming)
"""Of an operation whose answer stays open: each tenant has its share of these."""
Use = Annotated[Services, Depends(services_of)]
RunId = Annotated[str, Path(pattern=UUID, description="A run's id.")]
EscalationId = Annotated[str, Path(pattern=UUID, description="An escalation's id.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Things on a page.")]
Cursor = Annotated[str | None, Query(pattern=UUID, description="`next` of the page before.")]
TEXT = r"^[^\x00]*$"
SAYS_SOMETHING = r"^[^\x00]*[^\x00\s][^\x00]*$"
LONGEST_AGE = 3_153_600_000.0  # seconds in a hundred years
Age = Annotated[
    float | None,
    Query(ge=0, le=LONGEST_AGE, description="Seconds since then, on the database's clock."),
]
Tenant = Annotated[
    str | None,
    Query(max_length=200, pattern=TEXT, description="Of this tenant alone; a key may be bound."),
]


IfMatch = Annotated[str | None, Header(description="The ETag of what this is based on, if any.")]


def hidden(what: str, known: str) -> NotFound:
    """The answer to who asks for what belongs to another tenant: as if it were not there."""
    problem = Problem(place=what, found=known, wanted=f"the whole id of a {what.lower()}")
    return NotFound(f"no such {what}: {known}", problems=[problem])


def require_match(given: str | None, tag: str, what: str) -> set[str]:
    """The tags of an If-Match, of which one is this one or `*`.

    Raises PreconditionRequired or PreconditionFailed.
    """
    if given is None:
        problem = Problem(place="header If-Match", found="nothing", wanted=f"the ETag of {what}")
        raise PreconditionRequired("say what this was decided on", problems=[problem])
    return _matched(given, tag, what)


def check_match(given: str | None, tag: str, what: str) -> bool:
    """The same where a tag may be left out: who acts twice is told so anyway.

    Whether it was this one: then the act has to be held against what was read as well, since more
    may happen before it is written.
    """
    return given is not None and "*" not in _matched(given, tag, what)


def _matched(given: str, tag: str, what: str) -> set[str]:
    tags = {each.strip() for each in given.split(",")}
    if tag not in tags and "*" not in tags:
        problem = Problem(place="header If-Match", found=given[:200], wanted=tag)
        raise PreconditionFailed(f"{what} has changed since it was read", problems=[problem])
    return tags
