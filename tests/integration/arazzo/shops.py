"""The two APIs that the documents call, in memory: a pet store, and orders that are paid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aiohttp import web

REFUSED_ORDER = "order-refused"


class Shops:
    """What they hold, and every request that they saw."""

    def __init__(self) -> None:
        self.pets: dict[int, dict[str, Any]] = {}
        self.paid: dict[str, str] = {}
        self.seen: list[str] = []
        self._ids = count(1)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._see])
        app.add_routes([
            web.post("/pet", self._add_pet),
            web.get("/pet/findByStatus", self._find_pets),
            web.get("/pet/{id}", self._pet),
            web.delete("/pet/{id}", self._delete_pet),
            web.get("/store/inventory", self._inventory),
            web.post("/store/order", self._refuse_order),
            web.post("/orders/{id}/payment", self._pay),
            web.post("/orders/{id}/{act:confirm|cancel}", self._settle),
        ])  # fmt: skip
        return app

    @web.middleware
    async def _see(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _add_pet(self, request: web.Request) -> web.Response:
        pet = {**await request.json(), "id": next(self._ids)}
        self.pets[pet["id"]] = pet
        return web.json_response(pet)

    async def _pet(self, request: web.Request) -> web.Response:
        pet = self.pets.get(int(request.match_info["id"]))
        if request.match_info["id"] == "15":
            pet = {"id": 15, "name": "Fallback"}
        return web.json_response(pet, status=200 if pet else 404)

    async def _delete_pet(self, request: web.Request) -> web.Response:
        gone = self.pets.pop(int(request.match_info["id"]), None)
        return web.json_response(gone, status=200 if gone else 404)

    async def _find_pets(self, request: web.Request) -> web.Response:
        return web.json_response(list(self.pets.values()))

    async def _inventory(self, request: web.Request) -> web.Response:
        return web.json_response({"available": len(self.pets)})

    async def _refuse_order(self, request: web.Request) -> web.Response:
        return web.json_response({"message": "no orders today"}, status=400)

    async def _pay(self, request: web.Request) -> web.Response:
        order = request.match_info["id"]
        self.paid[order] = "REFUSED" if order == REFUSED_ORDER else "OK"
        return web.json_response({"status": self.paid[order], "transactionId": f"t-{order}"})

    async def _settle(self, request: web.Request) -> web.Response:
        order, act = request.match_info["id"], request.match_info["act"]
        self.paid[order] = f"{self.paid[order]}, {act}"
        return web.json_response({"confirmationId": "c-1", "reason": "payment refused"})


@asynccontextmanager
async def open_shops() -> AsyncIterator[tuple[Shops, str]]:
    """Both of them, with their address."""
    shops = Shops()
    runner = web.AppRunner(shops.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield shops, f"http://{host}:{port}"
    finally:
        await runner.cleanup()
