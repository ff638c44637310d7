"""What people read of an API that fell ill and recovered: each change once."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from orchestrator.coordination.connect import connect
from orchestrator.coordination.limits import RedisLimits
from orchestrator.core.exchange import Outcome, Response
from orchestrator.core.health import HealthRules
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.ports import Seen, Visit

VISIT = Visit(api="api")
RULES = HealthRules(open_seconds=0.05, probes=1, ramp_seconds=0.0)
ILL = Seen(outcome=Outcome.UNKNOWN, response=None, seconds=1.0)
WELL = Seen(outcome=Outcome.LANDED, response=Response(status=200), seconds=0.1)
REFUSED = Seen(outcome=Outcome.NOT_LANDED, response=Response(status=402), seconds=0.1)


def gate_of(**more: bool) -> SharedGate:
    nobody = RedisLimits(connect("redis://127.0.0.1:1/0"), holder_id="h")
    return SharedGate(nobody, {"api": ApiConfig(name="api", health=RULES, **more)})


def see(gate: SharedGate, seen: Seen, times: int) -> None:
    permits = [gate.try_enter(VISIT) for _ in range(times)]
    for permit in permits:
        assert permit is not None
        permit.release(seen)


async def test_each_change_is_told_once_and_the_snapshot_shows_the_state() -> None:
    gate = gate_of()
    with capture_logs() as logs:
        see(gate, ILL, 30)
        assert gate.try_enter(VISIT) is None
        busy = gate.turns_away(VISIT, patience_seconds=60.0)
        assert busy is not None
        state = gate.snapshot()["api"]
        assert (state.breaker, state.in_use) == ("open", 0)
        assert 0 < state.closed_seconds <= RULES.open_seconds
        await asyncio.sleep(RULES.open_seconds)
        probe = await gate.enter(VISIT, patience_seconds=5.0)
        assert gate.try_enter(VISIT) is None, "one probe at a time"
        probe.release(WELL)
    assert gate.snapshot()["api"].breaker == "closed"
    assert gate.try_enter(VISIT) is not None
    assert [entry["event"] for entry in logs] == [
        "breaker.opened", "breaker.half_open", "breaker.closed",
    ]  # fmt: skip
    assert {entry["api"] for entry in logs} == {"api"}
    await gate.aclose()


async def test_refusals_are_health_and_off_is_off() -> None:
    gate = gate_of()
    see(gate, REFUSED, 50)
    assert gate.snapshot()["api"].breaker == "closed"
    await gate.aclose()
    off = gate_of(breaker=False)
    see(off, ILL, 50)
    assert off.snapshot()["api"].breaker == "closed"
    await off.aclose()


async def test_a_probe_that_never_left_is_nobody_s() -> None:
    gate = gate_of()
    see(gate, ILL, 30)
    await asyncio.sleep(RULES.open_seconds)
    for _ in range(3):
        probe = await gate.enter(VISIT, patience_seconds=5.0)
        probe.release(None)
    assert gate.snapshot()["api"].breaker == "half_open"
    (await gate.enter(VISIT, patience_seconds=5.0)).release(WELL)
    assert gate.snapshot()["api"].breaker == "closed"
    await gate.aclose()
