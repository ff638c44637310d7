"""Workers with old and new code side by side: a run waits for one that has its step's function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from orchestrator import task
from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import RunStatus
from orchestrator.definitions.tasks import TaskRegistry, task_of
from orchestrator.engine.lacking import LACKING_SECONDS, Code, CodeWatch
from orchestrator.engine.tasks import TaskTransport
from orchestrator.ports import Done, Hint, Hop
from tests.integration.engine.house import House, Worker

DONE: list[str] = []


@task(name="shop.pack", effects="keyed")
async def pack(order: str) -> None:
    """As the old release has it."""
    DONE.append(f"{order} packed")


@task(name="shop.pack", effects="keyed", version=2)
async def pack_anew(order: str) -> None:
    """As the new one has it."""
    DONE.append(f"{order} packed anew")


@task(name="shop.unpack", effects="keyed")
async def unpack(order: str) -> None:
    """Of both."""
    DONE.append(f"{order} unpacked")


def registry(*functions: object) -> TaskRegistry:
    found = [task_of(each) for each in functions]
    return TaskRegistry([each for each in found if each is not None])


OLD, NEW = registry(pack, unpack), registry(pack_anew, unpack)


def call(name: str) -> Call:
    return Call(
        label=name, api="tasks", effects=Effects.KEYED, task_name=name,
        template={"kind": "task", "arguments": {"order": "$inputs.order"}, "resultIsOutputs": True},
    )  # fmt: skip


def plan(*names: str, undo: str = "shop.unpack") -> Plan:
    return with_digest(
        Plan(
            workflow="parcel",
            steps=tuple(
                PlanStep(id=f"s{n}", call=call(name), compensation=Compensation(call=call(undo)))
                for n, name in enumerate(names)
            ),
        )
    )


async def joined(house: House, code: TaskRegistry) -> Worker:
    worker = Worker(house.store, house.shop, house.broker)
    code_here, tasks = Code(code, house.store), TaskTransport(code, threads=1)
    worker.deps = replace(worker.deps, code=code_here, tasks=tasks)
    await worker.join()
    return worker


async def taken(worker: Worker, code: TaskRegistry) -> list[bool]:
    """What a pass of the worker takes up, driven as far as it goes."""
    hops: list[Hop] = []

    def take(hop: Hop, done: Done) -> None:
        hops.append(hop)

    await CodeWatch(Code(code, worker.store), take).one_pass()
    return [
        await worker.drive(
            Hint(
                run_id=run_id, epoch=epoch, hop_id=hop.hop_id, parent_hop_id=hop.parent_hop_id,
                label=hop.label, task=hop.task, queue=hop.queue,
            )
        )
        for hop in hops
        for run_id, epoch in hop.runs
    ]  # fmt: skip


async def test_a_run_waits_for_its_code_without_an_attempt_and_goes_on_where_it_is(
    house: House,
) -> None:
    DONE.clear()
    run_id = await house.submit(plan("shop.pack", "shop.pack@2"))
    old = await joined(house, OLD)
    assert await old.drive(house.broker.hints.popleft())
    run = await house.store.run(run_id)
    assert (run.status, run.owner, run.claims) == (RunStatus.PARKED, None, 0)
    assert run.wake_at is not None
    assert (run.wake_at - await house.store.now()).total_seconds() > LACKING_SECONDS / 2
    assert [each.step for each in await house.store.attempts(run_id)] == [0]
    (wait,) = await house.store.code_waits()
    assert (wait.code, wait.runs) == ("shop.pack@2", 1)
    assert await house.store.code_wanted(run_id) == "shop.pack@2"
    told = (await house.store.audit(run_id))[-1]
    assert (told.kind, told.data["code"]) == ("run.parked", "shop.pack@2")

    assert await taken(old, OLD) == [], "who has it not leaves it"
    assert not house.broker.hints, "and nobody spins"
    assert await taken(await joined(house, NEW), NEW) == [True]
    assert (await house.store.run(run_id)).status is RunStatus.SUCCEEDED
    assert await house.store.code_waits() == []
    assert DONE == ["o-1 packed", "o-1 packed anew"]
    assert [(a.step, a.number) for a in await house.store.attempts(run_id)] == [
        (0, 1), (1, 1),
    ]  # fmt: skip


async def test_an_undo_waits_for_its_code_too(house: House) -> None:
    run_id = await house.submit(plan("shop.pack", "shop.pack@2", undo="shop.unpack@7"))
    worker = await joined(house, OLD)
    await worker.drive(house.broker.hints.popleft())
    await house.store.request_cancel(run_id, mode=CancelMode.UNDO, reason="x", by="ada")
    await house.redeliverer.publish(await house.store.take_lost(silent_seconds=-1, limit=5))
    while house.broker.hints:
        await worker.drive(house.broker.hints.popleft())
    run = await house.store.run(run_id)
    assert (run.status, run.direction.value) == (RunStatus.PARKED, "backward")
    assert await house.store.code_wanted(run_id) == "shop.unpack@7"


async def test_rows_of_runs_that_wait_no_more_mean_nothing(house: House) -> None:
    run_id = await house.submit(plan("shop.pack"))
    await house.store.wait_for_code(run_id, "shop.pack@9")
    await house.store.wait_for_code(run_id, "shop.pack@2")
    assert await house.store.code_waits() == []
    assert await house.store.take_coded(["shop.pack@2"], limit=5) == []
    await house.execute("UPDATE code_waits SET since = since - 120000000")
    assert await house.store.take_coded(["shop.pack@2"], limit=5) == []
    worker = await joined(house, registry(pack))
    await worker.drive(house.broker.hints.popleft())
    assert (await house.store.run(run_id)).status is RunStatus.SUCCEEDED


async def test_two_workers_take_each_run_once(postgres_house: House) -> None:
    house = postgres_house
    old = await joined(house, OLD)
    for number in range(6):
        await house.submit(plan("shop.pack@2"), order=f"o-{number}")
    while house.broker.hints:
        await old.drive(house.broker.hints.popleft())
    assert [each.runs for each in await house.store.code_waits()] == [6]
    first = await house.store.take_coded(NEW.names(), limit=4)
    second = await house.store.take_coded(NEW.names(), limit=4)
    assert [len(first), len(second)] == [4, 2]
    assert len({each.run_id for each in (*first, *second)}) == 6


@pytest.mark.parametrize("functions", [(pack, pack_anew), (pack_anew, pack)])
def test_documents_get_the_newest_version_and_old_ones_stay(functions: Iterable[object]) -> None:
    both = registry(*functions)
    assert both.names() == ["shop.pack", "shop.pack@2"]
    newest, oldest = both.operation("pack"), both.operation("shop.pack")
    assert newest is not None
    assert oldest is not None
    assert (newest.name, oldest.name) == ("shop.pack@2", "shop.pack")
