"""Puts the console on an application: pages, and the way in where keys are asked for."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse
from nicegui import ui

from orchestrator.console import (
    agents,
    apis,
    approvals,
    escalations,
    impact,
    inbox,
    insights,
    items,
    jobs,
    overview,
    pauses,
    proposals,
    run,
    runs,
    schedules,
    slos,
    workflows,
)
from orchestrator.console.desk import COOKIE, Desk
from orchestrator.console.frame import ROOT, dress, login_address, page_here
from orchestrator.console.links import page
from orchestrator.console.signing_in import (
    THERE,
    add_allowed,
    add_sign_in,
    leave_for,
    set_key,
)
from orchestrator.errors import NotAllowed, NotAuthenticated, Unavailable
from orchestrator.wiring_services import Services

LONGEST = 16_384
LONGEST_KEPT = 3_800
"""Browsers keep no longer cookie than 4,096 bytes with its name."""
WRONG = {
    "key": "No such key, or it has expired or was revoked; a token may be somebody else's.",
    "role": "The token is good, but gives no role or no tenant here.",
    "provider": "The identity provider does not answer: its keys are not known yet. Use a key.",
    "state": "This login was not begun in this browser, or more than ten minutes ago. Try again.",
    "refused": "The identity provider did not let you in.",
    "issuer": "Another identity provider answered than the one that was asked. Try again.",
    "token": "The identity provider's answer is not good. Try again; else an admin finds why in"
    " the log.",
    "long": f"Longer than the {LONGEST_KEPT:,} characters that a browser keeps. Use a key.",
}
_AWAY_SECONDS = (
    30.0  # a browser that was out of reach so long finds its page, and what was typed, again
)


def add_console(
    app: FastAPI, services: Callable[[], Services], *, wants_keys: bool, flower_url: str = ""
) -> None:
    """Serve it under /console. Once in a process: NiceGUI keeps pages for all of it."""
    desk = Desk(services, wants_keys, flower_url)
    for module in (
        overview,
        runs,
        run,
        items,
        inbox,
        escalations,
        approvals,
        proposals,
        jobs,
        pauses,
        apis,
        impact,
        schedules,
        slos,
        workflows,
        insights,
        agents,
    ):
        module.register(desk)
    _add_login(desk)
    add_entry(app, desk)
    ui.run_with(
        app, mount_path=ROOT, title="Orchestrator", language="en-US", dark=None,
        show_welcome_message=False, storage_secret=secrets.token_hex(16),
        reconnect_timeout=_AWAY_SECONDS,
    )  # fmt: skip


def _add_login(desk: Desk) -> None:
    @page("/login")
    async def login(wrong: str = "", then: str = "") -> None:
        sign_in = desk.services().sign_in
        dress("Log in")
        with ui.element("div").classes("w-full column items-center q-mt-xl gap-4"):
            ui.label("Orchestrator").classes("text-h5").props('role="heading" aria-level="1"')
            if sign_in is not None:
                there = f"{THERE}?{urlencode({'then': page_here(then)})}"
                host = urlsplit(sign_in.issuer).hostname
                button = ui.button(f"Log in with {host}").props(f'href="{there}"')
                button.classes("w-80")
                ui.label("or")
            with (
                ui.element("form")
                .props(f'method="post" action="{ROOT}-login"')
                .classes("column gap-4")
            ):
                ui.element("input").props(f'type="hidden" name="then" value="{page_here(then)}"')
                field = ui.input("Key, or an identity provider's token", password=True)
                field.props('name="key" autofocus').classes("w-80")
                ui.button("Log in").props('type="submit"')
            if wrong:
                told = WRONG.get(wrong, WRONG["key"])
                ui.label(told).classes("text-negative").props('role="alert"')

    @page("/logout")
    async def leave(request: Request) -> Response:
        answer = RedirectResponse(await leave_for(desk, request), 303)
        answer.delete_cookie(COOKIE)
        return answer


def add_entry(app: FastAPI, desk: Desk) -> None:
    """What the form is sent to, and the way from the root."""

    @app.post(f"{ROOT}-login", include_in_schema=False)
    async def enter(
        request: Request,
        key: Annotated[str, Form(max_length=LONGEST)],
        then: Annotated[str, Form(max_length=LONGEST)] = "",
    ) -> RedirectResponse:
        wrong = await _wrong(desk, key.strip())
        if wrong:
            again = login_address(then)
            return RedirectResponse(f"{again}{'&' if '?' in again else '?'}wrong={wrong}", 303)
        answer = RedirectResponse(page_here(then), 303)
        set_key(answer, key.strip(), request)
        return answer

    add_sign_in(app, desk)
    add_allowed(app, desk)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse(f"{ROOT}/")


async def _wrong(desk: Desk, key: str) -> str:
    """What is wrong with a key or token, as WRONG names it; empty: nothing."""
    if len(key) > LONGEST_KEPT:
        return "long"
    try:
        await desk.services().access.authenticate(key)
    except NotAuthenticated:
        return "key"
    except NotAllowed:
        return "role"
    except Unavailable:
        return "provider"
    return ""
