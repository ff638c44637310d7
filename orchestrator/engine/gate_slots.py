"""A process's part of slots that all workers share: leased, filled, renewed, given back."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from orchestrator.ports import Lease, SharedLimits

SHORT_POLL_SECONDS = 0.1  # how often a process that is short of slots asks for more
SURPLUS_POLL_SECONDS = 0.02  # how often a process above its share says what it no longer holds


@dataclass(slots=True)
class Demand:
    """What is wanted of an API, or of a part of it; the queue writes, the supply reads."""

    in_use: int = 0  # requests in flight
    peak: int = 0  # most of them since the lease was renewed
    waiting: int = 0
    used_at: float = 0.0  # time.monotonic() of the latest permit
    given_up_until: float = 0.0  # until then a call may be at the API that nobody waits for

    @property
    def is_busy(self) -> bool:
        """Whether anybody waits or is at the API."""
        return bool(self.waiting or self.in_use)

    def gave_up(self, seconds: float) -> None:
        """A call may be at the API for so much longer, and nobody says when it is over."""
        self.given_up_until = max(self.given_up_until, time.monotonic() + seconds)

    def took(self) -> None:
        """A request may leave."""
        self.in_use += 1
        self.peak = max(self.peak, self.in_use)
        self.used_at = time.monotonic()


class Slots:
    """Slots of an API (scope "") or of a part of it; never more than `most` in this process."""

    def __init__(self, api: str, scope: str, *, limit: int | None, most: int, demand: Demand):
        self.limit, self.most = limit, most
        self._api, self._scope = api, scope
        self._demand = demand
        self._lease: Lease | None = None
        self._unbroken_since = math.inf  # no other process was given our slots since then
        self._asked_at = -math.inf

    def usable(self) -> int:
        """Requests that may be in flight now."""
        if self.limit is None:
            return self.most
        lease = self._lease
        if lease is None or time.monotonic() >= lease.valid_until:
            return 0
        most = min(self.most, self.limit)  # it may have changed
        return min(lease.allowance, lease.share, most)

    def still_holds(self, taken_at: float) -> bool:
        """Whether a slot that was taken then is ours to this day: the lease never ran out."""
        if self.limit is None:
            return True
        lease = self._lease
        held = lease is not None and time.monotonic() < lease.valid_until
        return held and taken_at >= self._unbroken_since

    def due_at(self, usable: float) -> float:
        """When to renew, where `usable` slots may be filled."""
        if self.limit is None:
            return math.inf
        lease = self._lease
        if lease is None:
            return -math.inf
        if lease.allowance > max(self._demand.in_use, lease.share):
            return min(lease.review_at, self._asked_at + SURPLUS_POLL_SECONDS)
        if self._demand.waiting and self._demand.in_use >= usable:
            return min(lease.review_at, self._asked_at + SHORT_POLL_SECONDS)
        return lease.review_at

    @property
    def is_leased(self) -> bool:
        """Whether others have to leave some of them to this process."""
        return self._lease is not None

    async def renew(self, shared: SharedLimits) -> None:
        """Say what is wanted and held, and learn what may be filled. Raises Unavailable."""
        if self.limit is None:
            return
        self._asked_at = time.monotonic()
        demand = self._demand
        wanted = max(demand.peak, demand.in_use + demand.waiting)
        wanted = min(wanted, self.most)  # more would be kept from the others
        held = max(demand.in_use, self.usable())
        demand.peak = demand.in_use
        before = self._lease
        self._lease = await shared.lease(
            self._api, limit=self.limit, wanted=wanted, held=held, scope=self._scope
        )
        now = time.monotonic()
        if before is None or now >= before.valid_until:
            self._unbroken_since = now

    async def leave(self, shared: SharedLimits) -> None:
        """Give back all but what is in use; the lease of that runs out. Raises Unavailable."""
        self._lease = None
        demand = self._demand
        await shared.leave(
            self._api, in_use=0 if self.limit is None else demand.in_use, scope=self._scope,
            seconds=max(demand.given_up_until - time.monotonic(), 0.0),
        )  # fmt: skip
