"""A call whose credential is not at hand waits before the gate, and nothing waits with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import RunStatus
from orchestrator.engine.gate import SharedGate
from orchestrator.errors import NoCredential, NotLanded
from orchestrator.ports import Permit, Seen, Visit
from tests.integration.engine.checking import check, outcome
from tests.integration.engine.house import House, Worker
from tests.integration.engine.world import Kind, shop_plan

KINDS = [(kind, kind) for kind in (Kind.KEYED, Kind.UNKEYED)]


class Token:
    """Implements Readiness: there is no token for the n-th call before somebody brings it."""

    def __init__(self, missing_at: int) -> None:
        self.calls, self.missing_at = 0, missing_at
        self.wanted, self.there = asyncio.Event(), asyncio.Event()

    def ready(self, api: str, tenant: str, request: FrozenRequest) -> bool:
        self.calls += 1
        return self.calls != self.missing_at

    async def until_ready(self, api: str, tenant: str, request: FrozenRequest) -> None:
        self.wanted.set()
        async with asyncio.timeout(30):
            await self.there.wait()


class CountingGate(SharedGate):
    """Lets everybody in and counts them."""

    def __init__(self) -> None:
        super().__init__(None, {})
        self.entered = 0

    def try_enter(self, visit: Visit) -> Permit | None:
        self.entered += 1
        return super().try_enter(visit)


async def worker_with(house: House, token: Token) -> tuple[Worker, CountingGate]:
    worker, gate = await house.worker(), CountingGate()
    worker.deps = replace(worker.deps, readiness=token, gate=gate)
    return worker, gate


@pytest.mark.parametrize("kind", KINDS)
async def test_the_gate_is_entered_with_the_token_in_hand(
    house: House, kind: tuple[Kind, Kind]
) -> None:
    run_id = await house.submit(shop_plan([kind] * 3))
    token = Token(missing_at=2)
    worker, gate = await worker_with(house, token)
    driving = asyncio.create_task(worker.drive(house.broker.hints.popleft()))
    async with asyncio.timeout(30):
        await token.wanted.wait()
    assert gate.entered == 1
    steps = await house.store.steps(run_id)
    assert outcome(steps[0])[0] == "landed"  # what has happened is in the table
    token.there.set()
    assert await driving
    assert gate.entered == 3
    assert (await house.store.run(run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


class Reporting(CountingGate):
    """Keeps what it is told of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Seen | None] = []

    def try_enter(self, visit: Visit) -> Permit | None:
        return _Reporting(self.told)


class _Reporting:
    fresh = True

    def __init__(self, told: list[Seen | None]) -> None:
        self._told = told

    def release(self, seen: Seen | None = None) -> None:
        self._told.append(seen)

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None:
        raise AssertionError("nobody gives these calls up")

    def hand_back(self) -> None:
        raise AssertionError("nothing keeps these calls from being made")


class WithoutCredential:
    """Implements Transport."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def send(self, *_: object, **__: object) -> Response:
        raise self.error


@pytest.mark.parametrize(
    ("error", "tells"),
    [(NoCredential("no token", retryable=False), False), (NotLanded("no connection"), True)],
)
async def test_the_gate_is_told_only_what_shows_how_the_api_is(
    house: House, error: NotLanded, tells: bool
) -> None:
    run_id = await house.submit(shop_plan([KINDS[0]] * 2))
    worker, gate = await house.worker(), Reporting()
    worker.deps = replace(worker.deps, http=WithoutCredential(error), gate=gate)
    assert await worker.drive(house.broker.hints.popleft())
    assert [seen is not None for seen in gate.told] == [tells]
    run = await house.store.run(run_id)
    assert (run.status, run.cause) == (RunStatus.COMPENSATED, error.reason)


async def test_a_worker_that_is_asked_to_end_does_not_wait_for_a_token(house: House) -> None:
    run_id = await house.submit(shop_plan([KINDS[0]] * 2))
    token = Token(missing_at=1)
    worker, gate = await worker_with(house, token)
    driving = asyncio.create_task(worker.drive(house.broker.hints.popleft()))
    async with asyncio.timeout(30):
        await token.wanted.wait()
        assert worker.driver is not None
        worker.driver.hand_over()
        assert await driving
    assert gate.entered == 0
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.SUCCEEDED
    await check(house, run_id)
