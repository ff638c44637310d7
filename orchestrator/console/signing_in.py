"""Logging in with the identity provider: the way there, the way back, and out; and for Flower.

A proxy asks `/console-allowed` whether who wants to see Flower is logged in here.
"""

from __future__ import annotations

import html
import re
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from orchestrator.console.desk import COOKIE, Desk
from orchestrator.console.frame import ROOT, login_address, page_here
from orchestrator.errors import NotAllowed, Unavailable
from orchestrator.service.sessions import PREFIX
from orchestrator.service.signing_in import SECONDS, LoginRefused, SignIn

log = structlog.get_logger(__name__)

THERE = f"{ROOT}-sign-in"
BACK = f"{ROOT}-signed-in"
"""The redirect URI, as the provider has to know it, after `public_url`."""
ALLOWED = f"{ROOT}-allowed"
KEPT = "orchestrator_login"
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


def add_sign_in(app: FastAPI, desk: Desk) -> None:
    """The addresses that a login with the provider goes through."""

    @app.get(THERE, include_in_schema=False)
    async def leave(request: Request, then: str = "") -> Response:
        sign_in = desk.services().sign_in
        if sign_in is None:
            return RedirectResponse(f"{ROOT}/login", 303)
        try:
            begun = await sign_in.begin(then=page_here(then))
        except Unavailable as error:
            log.warning("login.not_begun", why=str(error))
            return _refused("provider")
        answer = RedirectResponse(begun.address, 303, headers=_HEADERS)
        # Lax: the provider's page sends the browser back here.
        answer.set_cookie(
            _name(begun.state), begun.kept, max_age=int(SECONDS), path=BACK, httponly=True,
            samesite="lax", secure=_is_safe(request, sign_in),
        )  # fmt: skip
        return answer

    @app.get(BACK, include_in_schema=False)
    async def come_back(request: Request) -> Response:
        sign_in = desk.services().sign_in
        if sign_in is None:
            return RedirectResponse(f"{ROOT}/login", 303)
        name = _name(request.query_params.get("state", ""))
        answer = await _ended(sign_in, request, request.cookies.get(name, ""))
        answer.delete_cookie(name, path=BACK)
        return answer


def add_allowed(app: FastAPI, desk: Desk) -> None:
    """What a proxy asks before it lets somebody see what belongs to all tenants."""

    @app.get(ALLOWED, include_in_schema=False)
    async def allowed(request: Request) -> Response:
        try:
            visitor = await desk.visitor(request)
            if visitor is not None:
                (await visitor.principal()).require_all_tenants()
                return Response(status_code=204)
        except NotAllowed as error:
            return Response(str(error), 403, media_type="text/plain", headers=_HEADERS)
        except Unavailable as error:
            return Response(str(error), 503, media_type="text/plain", headers=_HEADERS)
        wanted = request.headers.get("x-forwarded-uri", "")
        return RedirectResponse(login_address(wanted), 303, headers=_HEADERS)


async def _ended(sign_in: SignIn, request: Request, kept: str) -> Response:
    try:
        who, then = await sign_in.end(request.query_params, kept)
    except LoginRefused as error:
        log.warning("login.refused", why=error.why.value, problems=[*map(str, error.problems)])
        return _refused(error.why)
    except NotAllowed as error:
        log.warning("login.refused", why="role", problems=[*map(str, error.problems)])
        return _refused("role")
    except Unavailable as error:
        log.warning("login.refused", why="provider", problems=[str(error)])
        return _refused("provider")
    log.info("login", who=who.name, role=who.role.value)
    answer = _onwards(then)
    _set(answer, sign_in.sessions.of(who), secure=_is_safe(request, sign_in))
    return answer


def _onwards(then: str) -> Response:
    """A page of ours that goes on by itself.

    A redirect would still be the provider's navigation, on which browsers keep back the strict
    cookie that was just set.
    """
    to = html.escape(then, quote=True)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Logged in</title>'
        f'<meta http-equiv="refresh" content="0;url={to}">'
        f'<p>You are logged in. <a href="{to}">Go on</a></p></html>',
        headers=_HEADERS,
    )


async def leave_for(desk: Desk, request: Request) -> str:
    """Where who logs out goes: by way of the provider, where it knows them."""
    sign_in = desk.services().sign_in
    login = f"{ROOT}/login"
    if sign_in is None or not request.cookies.get(COOKIE, "").startswith(PREFIX):
        return login
    return await sign_in.farewell(path=login) or login


def set_key(answer: Response, key: str, request: Request) -> None:
    """What a browser shows from now on."""
    _set(answer, key, secure=request.url.scheme == "https")


def _set(answer: Response, key: str, *, secure: bool) -> None:
    """Of this browser's session, out of reach of scripts, and never sent by other sites' pages."""
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure)


def _refused(why: str) -> Response:
    return RedirectResponse(f"{ROOT}/login?wrong={quote(why)}", 303, headers=_HEADERS)


def _is_safe(request: Request, sign_in: SignIn) -> bool:
    """Whether the browser came, and comes back, over TLS: a proxy may have ended it."""
    return request.url.scheme == "https" or sign_in.public_url.startswith("https:")


def _name(state: str) -> str:
    """Of the cookie of one login: a browser may have begun several."""
    return f"{KEPT}_{re.sub(r'[^A-Za-z0-9_-]', '', state)[:32]}"
