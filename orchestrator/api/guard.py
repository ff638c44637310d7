"""Before anything else: who may talk to a face without keys, how much may be sent, and, with each
answer, what browsers are told not to do with it."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.problems import TooLarge, problem_response
from orchestrator.errors import NotAllowed, OrchestratorError, Problem

_ONLY_LOOK = frozenset({"GET", "HEAD", "OPTIONS"})


class LocalOnly:
    """For a face without keys: pages of other sites, and names that were bent here, are refused.

    A browser on this machine runs the pages of strangers; without this check they could send
    requests to loopback (cross-site request forgery, DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str]) -> None:
        self._app, self._names = app, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = None if scope["type"] == "lifespan" else self._refused(scope)
        if refused is not None:
            await _refuse(refused, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> OrchestratorError | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if _name_of(f"//{host}") not in self._names:
            return _not_allowed("header Host", host, "this machine")
        origin = headers.get(b"origin")
        if origin is not None and _place_of(origin) != host:
            return _not_allowed("header Origin", origin, "this machine's own pages")
        return None


class OwnPages:
    """For a face with keys: the console's pages are asked by themselves alone.

    Their cookie is not sent by other sites (SameSite=Strict); without this check these could still
    log somebody in as another, or open a page's socket from a neighbouring subdomain.
    """

    def __init__(self, app: ASGIApp, *, below: str, public_url: str = "") -> None:
        """`below`: what the paths of pages begin with. `public_url`: where people reach them."""
        self._app, self._below, self._public = app, below, _place_of(public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "websocket" or scope.get("method") not in {None, *_ONLY_LOOK}
        if asked and scope["path"].startswith(self._below) and (refused := self._refused(scope)):
            await _refuse(refused, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> OrchestratorError | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        own = {headers.get(b"host"), headers.get(b"x-forwarded-host"), self._public or None}
        if origin is None or _place_of(origin) in own - {None, ""}:
            return None  # browsers say it with whatever changes something; programs need not
        problem = Problem(
            place="header Origin", found=origin[:200],
            wanted="this console's own pages: the host of the request, or of public_url",
        )  # fmt: skip
        return NotAllowed("the request comes from another site's page", problems=[problem])


async def _refuse(refused: OrchestratorError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await problem_response(refused)(scope, receive, send)
    else:  # a web socket, of the console
        await send({"type": "websocket.close"})


def _name_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _place_of(url: str) -> str:
    """Host and port; nothing for what is no URL."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _not_allowed(place: str, found: str, wanted: str) -> NotAllowed:
    problem = Problem(place=place, found=found[:200] or "nothing", wanted=wanted)
    return NotAllowed(
        "the request comes from elsewhere, and no keys are asked for", problems=[problem]
    )


class AnnouncedSize:
    """A body that says it is too large is refused in our words; FastAPI's limit counts the rest."""

    def __init__(self, app: ASGIApp, *, most: int, streamed: Collection[str]) -> None:
        self._app, self._most, self._streamed = app, most, frozenset(streamed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._streamed:
            announced = dict(scope["headers"]).get(b"content-length", b"0")
            if announced.isdigit() and int(announced) > self._most:
                problem = Problem(
                    place="body", found=f"{int(announced)} bytes",
                    wanted=f"at most {self._most} bytes",
                )  # fmt: skip
                refused = TooLarge("the body is too large", problems=[problem])
                await problem_response(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)


_TO_BROWSERS = {
    # Nobody's page may put ours below its own buttons.
    "content-security-policy": "frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # Addresses of ours hold ids, and links to approvals the right to decide.
    "referrer-policy": "same-origin",
}


class ForBrowsers:
    """What each answer tells browsers, whoever has made it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _TO_BROWSERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, tell if scope["type"] == "http" else send)
