"""What a sick API sees of several processes that share its health: in virtual time.

In one of two ways each, unless there is time for both (`make long`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from orchestrator.core.exchange import Outcome
from orchestrator.core.health import HealthRules
from orchestrator.engine.api_rules import Rule
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.rates import parse_rates
from orchestrator.ports import GateBusy, Seen, Visit
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.quiet import quiet
from tests.faults.mutants.deadline import time_limit
from tests.faults.sick_api import API, Fleet
from tests.sweeps import every

RATE = 100  # a second
LIMITED = ApiConfig(name=API, rates=parse_rates(f"{RATE}/second"))
SLOTS = ApiConfig(name=API, concurrency=10)
FREE = ApiConfig(name=API, connections=10)


def play(scene: Callable[[Fleet], Awaitable[None]], config: ApiConfig, processes: int = 2) -> None:
    """Run one scene of real gates."""

    async def whole() -> None:
        fleet = Fleet(loop, config, processes=processes)
        try:
            await scene(fleet)
        finally:
            await fleet.end()

    with quiet(1), time_limit(60.0):
        loop = VirtualLoop()
        loop.run_until_complete(whole())
        loop.close()


@pytest.mark.parametrize("config", every(2, [LIMITED, SLOTS]))
def test_in_an_outage_all_park_and_come_back_slowly(config: ApiConfig) -> None:
    async def scene(fleet: Fleet) -> None:
        for number in range(2):
            fleet.start(number, 200)
        await asyncio.sleep(20.0)
        usual = fleet.api.calls(10.0, 20.0) / 10
        fleet.api.ill = True
        opened = await fleet.until(lambda: fleet.states() == ["open", "open"])
        assert opened - 20.0 < 2.5
        await asyncio.sleep(40.0)
        during = fleet.api.calls(opened + 0.5, 60.0)
        assert during < 3 * 10, "only probes"
        assert all(gate.snapshot()[API].in_use == 0 for gate in fleet.gates)
        fleet.api.ill = False
        healed = fleet.loop.time()
        closed = await fleet.until(lambda: fleet.states() == ["closed", "closed"], 65.0)
        await asyncio.sleep(30.0)
        assert fleet.api.calls(closed, closed + 1.0) < 0.5 * usual, "a slow start"
        assert fleet.api.peak(healed, fleet.loop.time()) <= 1.2 * max(usual, RATE)
        assert fleet.api.calls(closed + 20.0, closed + 30.0) / 10 > 0.9 * usual
        assert fleet.failed == 0
        assert fleet.parked >= 400

    play(scene, config)


REPORT, SEARCH = "GET /reports/x", "GET /search"
REPORTS = Rule(name="reports", operation="/reports/*", health=HealthRules(), concurrency=20)


@pytest.mark.parametrize("apart", [True, False])
def test_one_operation_that_is_ill_keeps_the_others_only_without_a_breaker(apart: bool) -> None:
    async def scene(fleet: Fleet) -> None:
        for number in range(2):
            fleet.start(number, 10, operation=SEARCH)
            fleet.start(number, 30, operation=REPORT)
        await asyncio.sleep(5.0)
        fleet.api.ill_operations = {REPORT}
        await asyncio.sleep(25.0)
        states = fleet.states()
        searches = [at for at in fleet.api.came_to[SEARCH] if 15.0 <= at < 30.0]
        if not apart:
            assert "closed" not in states
            assert len(searches) < 150
            return
        assert states == ["closed", "closed"]
        assert len(searches) > 0.9 * 15 * RATE, "the rate is theirs alone"
        assert sum(15.0 <= at < 30.0 for at in fleet.api.came_to[REPORT]) <= 15, "only probes"
        fleet.api.ill_operations = set()
        await asyncio.sleep(50.0)
        reports = sum(at >= 70.0 for at in fleet.api.came_to[REPORT])
        assert reports > 0.3 * 10 * RATE, "it is taken up again"
        assert fleet.failed == 0

    play(scene, replace(LIMITED, rules=(REPORTS,) if apart else ()))


def test_an_api_that_does_not_answer_is_ill_as_a_whole() -> None:
    """What fails of an operation with its own breaker without an answer counts for the API too."""

    async def scene(fleet: Fleet) -> None:
        visit = Visit(api=API, operation=REPORT)
        for _ in range(40):
            with suppress(GateBusy):
                permit = await fleet.gates[0].enter(visit, patience_seconds=1.0)
                permit.release(Seen(outcome=Outcome.NOT_LANDED, response=None, seconds=0.1))
        await asyncio.sleep(1.0)
        assert fleet.states() == ["open"]

    play(scene, replace(LIMITED, rules=(REPORTS,)))


def test_half_open_lets_no_more_than_the_probes_go_over_all() -> None:
    async def scene(fleet: Fleet) -> None:
        fleet.api.ill = True
        for number in range(3):
            fleet.start(number, 50)
        await fleet.until(lambda: "open" in fleet.states())
        await asyncio.sleep(1.0)
        fleet.api.seconds, fleet.api.most_in_flight = 0.7, 0
        await asyncio.sleep(60.0)
        assert 1 <= fleet.api.most_in_flight <= 3

    play(scene, FREE, processes=3)


def test_the_others_stop_soon_after_one_has_seen_it() -> None:
    async def scene(fleet: Fleet) -> None:
        for _ in range(40):
            fleet.call_every(0, 0.5)
        fleet.call_every(1, 0.05)
        await asyncio.sleep(20.0)
        fleet.api.ill = True
        first = await fleet.until(lambda: "open" in fleet.states())
        assert first - 20.0 < 2.1
        await asyncio.sleep(4.0)
        assert fleet.api.calls(first + 0.55, first + 4.0) == 0
        assert fleet.states() == ["open", "open"]

    play(scene, FREE)


def test_a_killed_prober_does_not_keep_it_half_open() -> None:
    config = replace(FREE, health=HealthRules(probes=1))

    async def scene(fleet: Fleet) -> None:
        fleet.api.ill = True
        fleet.start(0, 30)
        await fleet.until(lambda: fleet.states() == ["open"])
        fleet.api.ill, fleet.api.seconds = False, 30.0
        await fleet.until(lambda: fleet.api.in_flight == 1)
        fleet.processes[0].kill()
        killed, sent = fleet.loop.time(), len(fleet.api.came)
        fleet.api.seconds = 0.02
        fleet.start(1, 30)
        await fleet.until(lambda: fleet.states()[1:] == ["closed"] and len(fleet.api.came) > sent)
        assert fleet.loop.time() - killed < 5.0
        assert fleet.api.calls(killed, killed + 5.0) > 1

    play(scene, config)


@pytest.mark.parametrize("what", ["away", "wiped"])
def test_without_redis_each_process_goes_by_what_it_knows(what: str) -> None:
    async def scene(fleet: Fleet) -> None:
        for number in range(2):
            fleet.start(number, 50)
        await asyncio.sleep(5.0)
        fleet.api.ill = True
        opened = await fleet.until(lambda: fleet.states() == ["open", "open"])
        if what == "away":
            fleet.health.away = True
        else:
            fleet.health.flush()
        await asyncio.sleep(20.0)
        assert fleet.api.calls(opened + 0.5, opened + 20.0) < 30, "it is still left alone"
        fleet.api.ill = False
        await fleet.until(lambda: fleet.states() == ["closed", "closed"], 65.0)
        await asyncio.sleep(15.0)
        before = len(fleet.api.came)
        await asyncio.sleep(5.0)
        assert len(fleet.api.came) - before > 1000
        assert fleet.failed == 0

    play(scene, FREE)


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_asked_to_wait_waits_with_all_processes(status: int) -> None:
    async def scene(fleet: Fleet) -> None:
        for number in range(2):
            fleet.start(number, 20)
        await asyncio.sleep(5.0)
        fleet.api.headers, fleet.api.status = {"retry-after": "7"}, status
        await asyncio.sleep(0.6)
        fleet.api.status = None
        asked = fleet.loop.time()
        assert fleet.api.calls(asked, asked + 6.3) == 0
        await asyncio.sleep(6.3)
        assert fleet.api.calls(asked, asked + 6.3) == 0
        await asyncio.sleep(3.0)
        assert fleet.api.calls(asked + 6.3, asked + 9.3) > 50
        assert fleet.failed == 0

    play(scene, LIMITED)


@pytest.mark.parametrize("headers", every(2, [{}, {"retry-after": "1"}]))
def test_an_api_that_silently_halves_its_limit(headers: dict[str, str]) -> None:
    async def scene(fleet: Fleet) -> None:
        fleet.api.headers = headers
        for number in range(2):
            fleet.start(number, 100)
        fleet.api.limit = RATE
        await asyncio.sleep(20.0)
        full = fleet.api.calls(10.0, 20.0) / 10
        assert full > 0.9 * RATE
        fleet.api.limit = RATE // 2
        await asyncio.sleep(70.0)
        calls = fleet.api.calls(30.0, 90.0)
        refused = fleet.api.refused(30.0, 90.0)
        print(f"full {full:.1f}/s; halved: {calls / 60:.1f}/s, {refused / calls:.2%} refused")
        assert refused < 0.01 * calls
        assert calls / 60 > 0.7 * RATE / 2
        fleet.api.limit = RATE
        await asyncio.sleep(60.0)
        again = fleet.api.calls(145.0, 150.0) / 5
        print(f"healed: {again:.1f}/s")
        assert again > 0.95 * full
        assert fleet.failed == 0

    play(scene, LIMITED)


@pytest.mark.parametrize("headers", every(2, [{"retry-after": "1"}, {}]))
def test_an_api_that_allows_a_tenth_all_of_a_sudden_fails_no_run(headers: dict[str, str]) -> None:
    """Its refusals must not use up the attempts of a run."""

    async def scene(fleet: Fleet) -> None:
        for number in range(2):
            fleet.start(number, 100)
        await asyncio.sleep(10.0)
        fleet.api.limit, fleet.api.headers = RATE // 10, headers
        await asyncio.sleep(120.0)
        calls, refused = fleet.api.calls(30.0, 130.0), fleet.api.refused(30.0, 130.0)
        print(f"{calls / 100:.1f}/s of {RATE // 10}, {refused / calls:.2%} refused")
        assert fleet.failed == 0
        assert calls - refused > 0.5 * 100 * RATE / 10

    play(scene, LIMITED)


def test_retries_are_a_small_part_of_all_calls() -> None:
    config = replace(FREE, breaker=False, retry_share=0.2, retries_a_second=2.0)

    async def scene(fleet: Fleet) -> None:
        ended = [fleet.call_every(number % 2, 0.1, retry=True) for number in range(200)]
        for number in range(2):
            fleet.start(number, 1)
        await asyncio.sleep(60.0)
        retries = [at for each in ended for at in each]
        calls = len(fleet.api.came) - len(retries)
        assert len(retries) < 0.3 * calls + 70 * 2.0
        assert sum(at > 50.0 for at in retries) > 10, "some go all the time"

    play(scene, config)


def test_what_it_costs_and_that_silence_costs_nothing() -> None:
    async def scene(fleet: Fleet) -> None:
        for number in range(2):
            fleet.start(number, 20)
        await asyncio.sleep(30.0)
        busy = len(fleet.health.reports)
        assert busy <= 2 * 30 * 2 * 1.1, "twice a second and process"
        for process in fleet.processes:
            process.freeze()
        await asyncio.sleep(1.0)
        for process in fleet.processes:
            process.kill()
        await asyncio.sleep(60.0)
        assert len(fleet.health.reports) <= busy + 2

    play(scene, LIMITED)


def test_a_process_at_rest_reports_nothing() -> None:
    async def scene(fleet: Fleet) -> None:
        for _ in range(30):
            await fleet.call(fleet.gates[0])
        await asyncio.sleep(1.0)
        reports = len(fleet.health.reports)
        await asyncio.sleep(600.0)
        assert len(fleet.health.reports) == reports

    play(scene, FREE)
