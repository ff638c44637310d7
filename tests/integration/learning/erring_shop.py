"""A shop whose operations have one fault each, by the number that a call brings along."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TIGHT_USUAL, TIGHT_SLOW = 1.5, 2.6
"""Seconds of the quick and of the slow answers to `quote`."""
FINDERS = 60


@dataclass
class Shop:
    """Counts what it is asked for."""

    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    hung: asyncio.Event = field(default_factory=asyncio.Event)  # set: nobody hangs any more

    found_by_all: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `find` was asked by FINDERS."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["operation"]
        body: Any = await request.json() if request.can_read_body else {}
        number = int(body.get("n", request.query.get("n", 0)))
        self.calls[name] += 1
        self.seen[name, number] += 1
        act = getattr(self, f"_{name}", None)
        if act is not None:
            found: web.StreamResponse | None = await act(number, request)
            if found is not None:
                return found
        return web.json_response({"id": f"x{number}", "amount": 5})

    def _is_first(self, name: str, number: int) -> bool:
        return self.seen[name, number] == 1

    async def _quote(self, number: int, _: web.Request) -> None:
        """Half of its answers come later than its callers wait."""
        await asyncio.sleep(TIGHT_SLOW if number % 2 else TIGHT_USUAL)

    async def _claim(self, number: int, _: web.Request) -> web.Response | None:
        """What is taken stays taken."""
        return None if number % 2 else web.json_response({"error": "taken"}, status=409)

    async def _send(self, number: int, _: web.Request) -> web.Response | None:
        """Every third caller is told to come back once."""
        if number % 3 == 0 and self._is_first("send", number):
            return web.json_response({"error": "too many"}, status=429)
        return None

    async def _find(self, number: int, _: web.Request) -> None:
        """Some calls hang; the same again is answered at once."""
        if self.calls["find"] >= FINDERS:
            self.found_by_all.set()
        if number % 15 == 0 and self._is_first("find", number):
            await self.hung.wait()

    async def _sell(self, number: int, _: web.Request) -> web.Response | None:
        """One of four is not for sale."""
        if number % 4 == 0:
            return web.json_response({"error": f"item {number} is not for sale"}, status=422)
        return None

    async def _free(self, number: int, _: web.Request) -> web.Response | None:
        """Nothing that was held can be freed."""
        return web.json_response({"error": "unknown hold"}, status=404)

    async def _release(self, number: int, _: web.Request) -> None:
        await asyncio.sleep(2.2)

    async def _pay(self, number: int, request: web.Request) -> None:
        """Now and then the line is cut when the money is gone."""
        if number % 4 == 0 and request.transport is not None:
            request.transport.abort()

    async def _stock(self, number: int, _: web.Request) -> web.Response:
        """Not as it was documented: a text for a number, a field more, one less, 203."""
        status = 203 if number % 2 else 200
        return web.json_response({"amount": "5", "shelf": "B"}, status=status)

    async def _look(self, number: int, _: web.Request) -> None:
        await asyncio.sleep(0.6)

    async def _listing(self, number: int, _: web.Request) -> None:
        await asyncio.sleep(0.6)


@asynccontextmanager
async def opened_shop() -> AsyncIterator[Shop]:
    """It is served on a port of its own."""
    shop = Shop()
    app = web.Application()
    app.router.add_route("*", "/{operation}", shop.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield shop
    finally:
        shop.hung.set()
        await runner.cleanup()
