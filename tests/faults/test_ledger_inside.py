"""What only the ledger of this process can do: crash points, senders that end, being away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from msgspec.structs import replace

from orchestrator import crashpoints
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import Direction
from orchestrator.errors import HeldUp, InDoubt, NotLanded
from orchestrator.ports import AttemptContext, hop_id_of
from tests.faults.ledger.desk import Desk, Settings
from tests.faults.ledger.driving import until
from tests.faults.ledger.faults import Fate, Fault
from tests.faults.ledger.limits import Limit
from tests.faults.ledger.transport import LedgerTransport
from tests.faults.ledger.writing import MemoryWriter
from tests.faults.workload import KEY_HEADER

CONTEXT = AttemptContext(
    run_id="r", step_id="s2", attempt=1, direction=Direction.BACKWARD, tenant="t"
)
PATIENCE_SECONDS = 0.2
POINTS = ["after_send", "before_effect", "after_effect", "before_answer"]
LATENCIES = pytest.mark.parametrize("latency", [0.0, 0.01])


class Stopped(Exception):
    """What a worker is ended with."""


class World:
    """A desk and one worker's way to it."""

    def __init__(self, latency: float = 0.0) -> None:
        self.writer = MemoryWriter()
        settings = Settings(latency_seconds=(latency, latency))
        self.desk = Desk(self.writer, time.time, settings=settings)
        self.transport = LedgerTransport(self.desk, worker="w1")

    async def send(
        self, target: str = "/keyed/k1-000001/s2", method: str = "POST",
        context: AttemptContext = CONTEXT,
    ) -> Response:  # fmt: skip
        """One request."""
        request = FrozenRequest(method=method, target=target, headers=((KEY_HEADER, "a"),))
        return await self.transport.send(
            "ledger", request, context, timeout_seconds=PATIENCE_SECONDS
        )

    def effects(self) -> int:
        """So far."""
        return self.desk.effects


@pytest.fixture
def install() -> Iterator[Callable[[crashpoints.Hook], None]]:
    yield crashpoints.install
    crashpoints.install(None)


@LATENCIES
async def test_a_request_comes_to_the_points_outside_its_worker(
    install: Callable[[crashpoints.Hook], None], latency: float
) -> None:
    world, seen, effects = World(latency), [], []

    def hook(reached: crashpoints.Reached) -> None:
        seen.append(reached)
        effects.append(world.effects())

    install(hook)
    await world.send()
    await world.send("/plain/k1-000001/s2/do", "GET")  # a question comes to none
    at = (1, Direction.BACKWARD)
    assert [reached.point for reached in seen] == POINTS
    assert effects == [0, 0, 1, 1]
    assert {(r.run_id, r.at, r.hop_id, r.worker) for r in seen} == {
        ("r", at, hop_id_of("r", at), "w1")
    }


@LATENCIES
@pytest.mark.parametrize("point", POINTS)
async def test_what_a_hook_raises_is_the_senders_and_the_request_goes_on(
    install: Callable[[crashpoints.Hook], None], point: str, latency: float
) -> None:
    world = World(latency)

    def hook(reached: crashpoints.Reached) -> None:
        if reached.point == point:
            raise Stopped

    install(hook)
    with pytest.raises(Stopped):
        await world.send()
    await until(lambda: world.desk.in_flight == 0)
    [record] = world.writer.records().requests
    assert (record.applied, record.status, world.desk.in_flight) == (True, 200, 0)


@pytest.mark.parametrize("point", POINTS)
async def test_a_sender_that_is_held_finds_its_answer_when_it_is_let_go(
    install: Callable[[crashpoints.Hook], None], point: str
) -> None:
    world, let_go = World(), asyncio.Event()

    def hook(reached: crashpoints.Reached) -> Awaitable[None] | None:
        return _wait(let_go) if reached.point == point else None

    install(hook)
    sending = asyncio.create_task(world.send())
    await asyncio.sleep(1.5 * PATIENCE_SECONDS)
    assert (world.effects(), sending.done()) == (1, False)
    let_go.set()
    assert (await sending).status == 200


@LATENCIES
async def test_a_sender_ended_at_a_point_goes_no_further(
    install: Callable[[crashpoints.Hook], None], latency: float
) -> None:
    world, went_on = World(latency), False

    async def send_and_go_on() -> None:
        nonlocal went_on
        await world.send()
        went_on = True

    sending = asyncio.create_task(send_and_go_on())
    install(lambda reached: _cancel(sending))
    with pytest.raises(asyncio.CancelledError):
        await sending
    await until(lambda: world.desk.in_flight == 0)
    assert (world.effects(), went_on) == (1, False)


async def test_a_hang_ends_with_the_senders_patience_or_life() -> None:
    world = World()
    world.desk.faults.will("k1-000001", "s2", "do", *[Fate(fault=Fault.HANG)] * 2)
    sending = asyncio.create_task(world.send())
    await asyncio.sleep(0.01)
    assert world.desk.in_flight == 1
    sending.cancel()
    await asyncio.wait([sending])
    assert world.desk.in_flight == 0


@LATENCIES
@pytest.mark.parametrize("effect", [False, True])
async def test_a_hang_takes_none_of_the_places_that_are_limited(
    latency: float, effect: bool
) -> None:
    world = World(latency)
    world.desk.limits.replace([Limit(amount=2)])
    fates = [Fate(fault=Fault.HANG, effect=effect)] * 3 + [Fate(fault=Fault.DELAY, seconds=0.02)]
    world.desk.faults.will("k1-000001", "s2", "do", *fates)
    hanging = []
    for _ in range(3):
        hanging.append(asyncio.create_task(world.send()))
        await asyncio.sleep(latency + 0.01)
    assert (await world.send()).status == 200
    ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert [type(end) for end in ends] == [InDoubt] * 3
    assert world.desk.exceeded == 0
    await asyncio.gather(*(world.send() for _ in range(3)))
    assert world.desk.exceeded == (1 if latency else 0)  # three at once, or one after the other


async def test_while_the_ledger_is_away_no_request_leaves() -> None:
    world = World()
    world.transport.away = True
    with pytest.raises(NotLanded) as caught:
        await world.send()
    assert (caught.value.retryable, caught.value.settles_doubt) == (True, False)
    assert world.desk.requests == 0


async def test_a_request_that_may_not_leave_does_not() -> None:
    world = World()
    with pytest.raises(HeldUp):
        await world.send(context=replace(CONTEXT, may_leave=lambda: False))
    assert world.desk.requests == 0


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
