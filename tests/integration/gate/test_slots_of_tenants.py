"""Slots go by whose requests wait where: the scripts on a real server, and in memory."""

from __future__ import annotations

from orchestrator.ports import SharedLimits, TenantWaiting
from tests.integration.gate.shared_servers import BEGIN, SECOND, Server, reserve

LIMIT = 20


async def shares(server: Server, crowds: dict[str, list[TenantWaiting]]) -> dict[str, int]:
    """What each process has of twenty slots at last, if all want all of them."""
    processes: dict[str, SharedLimits] = {name: server.process(name) for name in crowds}
    held = dict.fromkeys(crowds, 0)
    for second in range(6):
        await server.at(BEGIN + second * SECOND)
        for name, process in processes.items():
            if crowds[name]:
                await reserve(process, rate=None, count=0, crowd=crowds[name])
            lease = await process.lease("api", limit=LIMIT, wanted=LIMIT, held=held[name])
            held[name] = min(lease.allowance, lease.share)
    return held


def waits(tenant: str, weight: float = 1.0, waiting: int = 100) -> TenantWaiting:
    return TenantWaiting(tenant=tenant, waiting=waiting, weight=weight)


async def test_a_tenant_that_waits_everywhere_is_entitled_to_no_more_than_one(
    server: Server,
) -> None:
    crowds = {"a": [waits("large")], "b": [waits("large")], "c": [waits("small")]}
    assert await shares(server, crowds) == {"a": 5, "b": 5, "c": 10}


async def test_slots_go_by_weight(server: Server) -> None:
    crowds = {"a": [waits("large")], "b": [waits("gold", weight=3.0)]}
    assert await shares(server, crowds) == {"a": 5, "b": 15}


async def test_who_does_not_say_who_waits_counts_as_one_tenant(server: Server) -> None:
    """It may be of an older release, or nobody waits there at the moment."""
    crowds = {"a": [waits("large")], "b": [waits("large")], "c": []}
    assert await shares(server, crowds) == {"a": 5, "b": 5, "c": 10}


async def test_who_has_left_is_entitled_to_nothing(server: Server) -> None:
    crowds = {"a": [waits("large")], "b": [waits("gold", weight=3.0)]}
    await shares(server, crowds)
    gone = server.process("b")
    await gone.leave("api")
    await server.at(BEGIN + 7 * SECOND)
    assert (await gone.lease("api", limit=LIMIT, wanted=LIMIT, held=0)).share == LIMIT // 2


async def test_a_slot_goes_round_whatever_is_left_waiting_by_who_was_served(
    server: Server,
) -> None:
    """Three processes, one slot, one tenant: who has it has fewer waiting than the others."""
    waiting = dict.fromkeys("abc", 3)
    processes = {name: server.process(name) for name in waiting}
    held, turns = dict.fromkeys(waiting, 0), dict.fromkeys(waiting, 0)
    for fifth in range(60):
        await server.at(BEGIN + fifth * SECOND // 5)
        for name, process in processes.items():
            crowd = [waits("large", waiting=waiting[name] - held[name])]
            await reserve(process, rate=None, count=0, crowd=crowd)
            lease = await process.lease("api", limit=1, wanted=waiting[name], held=held[name])
            held[name] = min(lease.allowance, lease.share, 1)
            turns[name] += held[name] * (fifth >= 15)  # by then they know of each other
    assert min(turns.values()) >= 9, turns  # of three turns of five; it is handed on in between
