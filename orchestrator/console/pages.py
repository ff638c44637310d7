"""Puts the console on an application: pages, and the way in where keys are asked for."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse
from nicegui import ui

from orchestrator.console import apis, approvals, escalations, overview, runs, workflows
from orchestrator.console.desk import COOKIE, Desk
from orchestrator.console.frame import ROOT, dress, to_login
from orchestrator.errors import NotAuthenticated
from orchestrator.wiring_services import Services


def add_console(app: FastAPI, services: Callable[[], Services], *, wants_keys: bool) -> None:
    """Serve it under /console. Once in a process: NiceGUI keeps pages for all of it."""
    desk = Desk(services, wants_keys)
    for module in (overview, runs, escalations, approvals, apis, workflows):
        module.register(desk)
    _add_login(app, desk)
    ui.run_with(
        app, mount_path=ROOT, title="Orchestrator", language="en-US", dark=None,
        show_welcome_message=False, storage_secret=secrets.token_hex(16),
    )  # fmt: skip


def _add_login(app: FastAPI, desk: Desk) -> None:
    @ui.page("/login")
    async def login(wrong: bool = False) -> None:
        dress("Log in")
        with ui.element("main").classes("w-full column items-center q-mt-xl gap-4"):
            ui.label("Orchestrator").classes("text-h5").props('role="heading" aria-level="1"')
            with (
                ui.element("form")
                .props(f'method="post" action="{ROOT}-login"')
                .classes("column gap-4")
            ):
                ui.input("Key", password=True).props('name="key" autofocus').classes("w-80")
                ui.button("Log in").props('type="submit"')
            if wrong:
                ui.label("No such key, or it has expired or was revoked.").classes("text-negative")

    @ui.page("/logout")
    async def leave() -> Response:
        answer = to_login()
        answer.delete_cookie(COOKIE)
        return answer

    @app.post(f"{ROOT}-login", include_in_schema=False)
    async def enter(
        request: Request, key: Annotated[str, Form(max_length=200)]
    ) -> RedirectResponse:
        try:
            await desk.services().access.authenticate(key)
        except NotAuthenticated:
            return RedirectResponse(f"{ROOT}/login?wrong=true", 303)
        answer = RedirectResponse(f"{ROOT}/", 303)
        # Of this browser's session, out of reach of scripts, and never sent by other sites' pages.
        safe = request.url.scheme == "https"
        answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=safe)
        return answer

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse(f"{ROOT}/")
