"""A token endpoint and an API behind it, on a free loopback port."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from aiohttp import web

CLIENT, SECRET = "the:client", "s3cret-of-the-client"


@dataclass
class TokenServer:
    """What it got and what it gave. Tokens are "token-1", "token-2", …"""

    life_seconds: float = 3600.0
    rotates: bool = False  # each refresh token may be used once
    answer: Callable[[], web.Response] | None = None  # instead of a token
    open_for_tokens: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    forms: list[dict[str, str]] = field(default_factory=list)  # that asked for tokens
    good_until: dict[str, float] = field(default_factory=dict)  # by token
    refresh_tokens: set[str] = field(default_factory=lambda: {"refresh-0"})
    calls: list[tuple[str, str, bytes]] = field(
        default_factory=list
    )  # token, key, body; that went well
    revoke_after: int | None = None  # calls
    refused: int = 0
    port: int = 0
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.open_for_tokens.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def issued(self) -> int:
        return len(self.good_until)

    def revoke_all(self) -> None:
        for token in self.good_until:
            self.good_until[token] = 0.0

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        self.asked.set()
        await self.open_for_tokens.wait()
        if self.answer is not None:
            return self.answer()
        if _client(request, form) != (CLIENT, SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        number = next(self._numbers)
        answer = {"token_type": "Bearer", "expires_in": self.life_seconds}
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refresh_tokens:
                return web.json_response({"error": "invalid_grant"}, status=400)
            if self.rotates:
                self.refresh_tokens = {f"refresh-{number}"}
                answer["refresh_token"] = f"refresh-{number}"
        token = f"token-{number}"
        self.good_until[token] = time.monotonic() + self.life_seconds
        return web.json_response({**answer, "access_token": token})

    async def call(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body = await request.read()
        if time.monotonic() >= self.good_until.get(token, 0.0):
            self.refused += 1
            return web.Response(status=401)
        self.calls.append((token, request.headers.get("Idempotency-Key", ""), body))
        if len(self.calls) == self.revoke_after:
            self.revoke_all()
        return web.json_response({})


def _client(request: web.Request, form: dict[str, str]) -> tuple[str, str]:
    head = request.headers.get("Authorization")
    if head is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    user, _, password = base64.b64decode(head.removeprefix("Basic ")).decode().partition(":")
    return unquote_plus(user), unquote_plus(password)


@asynccontextmanager
async def token_server(server: TokenServer) -> AsyncIterator[TokenServer]:
    """Serve `/token` and everything else."""
    app = web.Application()
    app.router.add_post("/token", server.token)
    app.router.add_route("*", "/{path:.*}", server.call)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        server.open_for_tokens.set()
        await runner.cleanup()
