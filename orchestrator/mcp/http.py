"""The same tools over HTTP (streamable), for many agents at once. Each shows a key of its own.

A key says who acts and for which tenant, as at the REST face; it wants the role `submitter`.
Without keys only this machine is listened to, and all agents are the one that the command names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.errors import NotAllowed, NotAuthenticated, RefusedError, Unavailable
from orchestrator.mcp.callers import Caller, Callers
from orchestrator.ports import Role
from orchestrator.service.access import Access
from orchestrator.service.agents import Actor
from orchestrator.service.looking import Looks
from orchestrator.service.principal import Principal

PATH = "/mcp"
MOST_SESSIONS = 10_000
"""Whose looks are remembered; of more, those that were silent the longest are forgotten."""
_PRINCIPAL = "orchestrator.principal"


def each_its_own(actor: Actor) -> Callers:
    """The actor of a request's key, with what was looked at before; `actor` where none is shown.

    A key for all tenants acts for the tenant of `actor`, whose workflows bound all. Newer clients
    have no session (their requests stand alone), so looks are those of the key, and of the session
    where there is one.
    """
    known: OrderedDict[tuple[str, str, str], Looks] = OrderedDict()

    def caller(context: Context) -> Caller:
        request = context.request_context.request
        principal: Principal | None = None if request is None else request.scope.get(_PRINCIPAL)
        who = actor
        if principal is not None:
            who = replace(actor, name=principal.name, tenant=principal.tenant or actor.tenant)
        session = "" if request is None else request.headers.get("mcp-session-id", "")
        key = (who.tenant, who.name, session)
        looks = known.setdefault(key, Looks())
        known.move_to_end(key)
        if len(known) > MOST_SESSIONS:
            known.popitem(last=False)
        return Caller(who, looks)

    return caller


def http_app(
    server: MCPServer, access: Access | None, *, address: str, hosts: Sequence[str] = ()
) -> ASGIApp:
    """The application at PATH. `access` None: no keys are wanted.

    `hosts` are names under which it is reached besides its address; a request for another one,
    or from a page of another one, which a browser may have been led to send, is refused.
    """
    known = [f"{name}{port}" for name in (address, *hosts) for port in ("", ":*")]
    pages = [f"{scheme}://{name}" for scheme in ("http", "https") for name in known]
    app = server.streamable_http_app(
        streamable_http_path=PATH, host=address,
        transport_security=TransportSecuritySettings(allowed_hosts=known, allowed_origins=pages),
    )  # fmt: skip
    trimmed = _Trimmed(app)
    return trimmed if access is None else _Guard(trimmed, access)


class _Trimmed:
    """Takes the white space after a header's value for none of it (RFC 9110, 5.5).

    uvicorn's parser leaves it there, and the SDK compares values of headers with the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await self._app(scope, receive, send)


class _Guard:
    """Lets in who shows a key that may submit."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            principal = await self._principal(scope)
        except NotAuthenticated as error:
            headers = {"www-authenticate": "Bearer"}
            await _refusal(401, error, headers)(scope, receive, send)
        except NotAllowed as error:
            await _refusal(403, error)(scope, receive, send)
        except Unavailable as error:
            await _refusal(503, error, {"retry-after": "1"})(scope, receive, send)
        else:
            scope[_PRINCIPAL], scope["user"] = principal, _owner(principal)
            await self._app(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal:
        shown = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        scheme, _, key = shown.partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticated("a key is needed: Authorization: Bearer KEY")
        principal = await self._access.authenticate(key.strip())
        principal.require(Role.SUBMITTER)
        return principal


def _owner(principal: Principal) -> AuthenticatedUser:
    """Whose a session is, as the SDK compares it: an id that somebody else has read opens nothing.

    Name and tenant, not the key: a token that is renewed goes on with its session.
    """
    shown = principal.name  # in place of a token, which nobody reads here
    return AuthenticatedUser(
        AccessToken(token=shown, client_id=shown, subject=principal.tenant, scopes=[])
    )


def _refusal(
    status: int, error: RefusedError | Unavailable, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=status, headers=headers)
