"""The review desk: somebody else, who changes records of the shop while runs are under way.

An order may ask for the review of an earlier record: of its payment, its customer, its reservation.
The desk leaves a remark on that record (which makes it a new version) and then files the review;
the workflow waits for that filing before it goes on. So the change comes after the record's step
and before any undo, in every run, whatever the timing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from orchestrator.demo.kinto import KintoClient
from orchestrator.demo.world import record_path, records_path

USER = "review-desk"
_LOOK_SECONDS = 0.5
_AT_ONCE = 8


class ReviewDesk:
    """Looks for orders to review until cancelled. Repeating a review changes nothing."""

    def __init__(self, client: KintoClient) -> None:
        self._client = client
        self._done: set[str] = set()
        self._desks = asyncio.Semaphore(_AT_ONCE)

    @property
    def reviewed(self) -> int:
        """How many orders it has reviewed."""
        return len(self._done)

    async def work(self) -> None:
        """Review whatever asks for it, again and again."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Review every order that asks for it now."""
        path = f"{records_path('orders')}?not_review=none"
        waiting = [order async for order in self._client.listed(path)]
        fresh = [order for order in waiting if order["order_id"] not in self._done]
        await asyncio.gather(*(self._review(order) for order in fresh))

    async def _review(self, order: Mapping[str, Any]) -> None:
        order_id, subject = order["order_id"], order["review"]
        async with self._desks:
            await self._remark(subject, order_id)
            filing = {"order_id": order_id, "changed_by": USER, "subject": subject}
            path = record_path("reviews", order_id)
            await self._client.expect({200, 201}, "PUT", path, {"data": filing})
        self._done.add(order_id)

    async def _remark(self, collection: str, record: str) -> None:
        path = record_path(collection, record)
        current = (await self._client.expect({200}, "GET", path))["data"]
        if current["changed_by"] != USER:
            remark = {"changed_by": USER, "remark": "looked at; address to be confirmed"}
            await self._client.expect({200}, "PATCH", path, {"data": remark})
