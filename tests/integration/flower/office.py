"""The API of the errands: it keeps each errand at one of its steps until it is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

HELD_AT = {
    0: ("errand.file", "PUT", "papers"),
    1: ("errand.stamp", "PUT", "stamps"),
    2: ("errand.post", "PUT", "letters"),
    3: ("errand.stamp.undo", "DELETE", "stamps"),  # its letter is refused
}
"""By errand number modulo four: the step, and the request that gets no answer."""


@dataclass
class Office:
    """A server on loopback."""

    url: str = ""
    held: set[int] = field(default_factory=set)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer at once, or when all are let go."""
        number, what = int(request.match_info["number"]), request.match_info["what"]
        _, method, held = HELD_AT[number % 4]
        if (request.method, what) == (method, held):
            self.held.add(number)
            await self.go_on.wait()
        refused = what == "letters" and number % 4 == 3
        return web.json_response({}, status=400 if refused else 201)


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    """The office is open."""
    open_one = Office()
    app = web.Application()
    app.router.add_route("*", "/{what}/{number}", open_one.answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    open_one.url = f"http://{host}:{port}"
    try:
        yield open_one
    finally:
        open_one.go_on.set()
        await runner.cleanup()
