"""Workflows that begin others, the runs of one family, and what holds for all of them together."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.core.plan import OnCancel, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.retry import NO_RETRY, RetryPolicy
from orchestrator.core.states import FINAL, SETTLED, RunStatus
from orchestrator.crashpoints import Reached
from orchestrator.definitions.children import child_call, output_of_child, undo_of_child
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.service.auditing import Auditing
from orchestrator.service.consistency import Consistency
from tests.integration.engine.house import House, dying_at
from tests.integration.engine.world import Kind, shop_plan, shop_step

ORDER = "o-1"
ROUNDS = 80


def leaf(name: str = "payment", *steps: str, **changes: Any) -> Plan:
    """A workflow that calls the shop alone: each step keyed, with an undo."""
    made = tuple(shop_step(step, name, Kind.KEYED, Kind.KEYED) for step in steps or ("c1", "c2"))
    plan = shop_plan([(Kind.KEYED, Kind.KEYED)], name=name)
    outputs = {"id": f"$steps.{made[-1].id}.outputs.id"}
    return with_digest(replace(plan, steps=made, outputs=outputs, **changes))


def begins(
    child: Plan,
    step: str = "pay",
    *,
    on_cancel: OnCancel | None = OnCancel.CANCEL,
    on_failure: list[dict[str, Any]] | None = None,
) -> PlanStep:
    """A step that begins a run of it."""
    more: dict[str, Any] = {
        "outputs": {"run": "$response.body#/run", "id": output_of_child("id")}
    }  # fmt: skip
    if on_failure:
        more["onFailure"] = on_failure
    call = child_call(
        f"order.{step}", child, {"order": "$inputs.order"}, on_cancel=on_cancel, more=more,
        retry=RetryPolicy(max_attempts=3) if on_failure else NO_RETRY,
    )  # fmt: skip
    if on_cancel is None:
        return PlanStep(id=step, call=call, no_compensation_reason="it is detached")
    return PlanStep(id=step, call=call, compensation=undo_of_child(f"order.{step}.undo"))


def family(*steps: PlanStep | str, name: str = "order", **changes: Any) -> Plan:
    """A workflow of these steps; a text is a call of the shop, keyed and with an undo."""
    made = tuple(
        shop_step(step, name, Kind.KEYED, Kind.KEYED) if isinstance(step, str) else step
        for step in steps
    )
    plan = shop_plan([(Kind.KEYED, Kind.KEYED)], name=name)
    return with_digest(replace(plan, steps=made, outputs={}, children=True, **changes))


async def publish(house: House, *plans: Plan) -> None:
    for plan in plans:
        await house.store.publish(plan, document="", by="test")


async def relatives(house: House, run_id: str) -> list[RunRecord]:
    """A run and all below it, oldest first."""
    found = [await house.store.run(run_id)]
    for each in found:
        found += await house.store.runs(RunFilter(parent=each.id, limit=None))
    return sorted(found, key=lambda run: run.id)


async def settled(house: House, run_id: str) -> RunRecord:
    """Work and sweep until nothing of the family is under way."""
    for _ in range(ROUNDS):
        await house.work()
        everybody = await relatives(house, run_id)
        root = everybody[0]
        waits_for_a_person = any(run.status is RunStatus.ESCALATED for run in everybody)
        if root.status in SETTLED and all(run.status in SETTLED for run in everybody):
            return root
        asleep = RunStatus.WAITING, *SETTLED
        if waits_for_a_person and all(run.status in asleep for run in everybody):
            return root
        await house.sweep()
        # The house gives lost hints again only where no other is left; a parent looks every time.
        lost = await house.store.take_lost(silent_seconds=-1, limit=500)
        await house.redeliverer.publish(lost)
    raise AssertionError([(run.workflow, run.status, run.cause) for run in everybody])


async def check_family(house: House, run_id: str, recorded: list[str] | None = None) -> None:
    """What holds once all has settled, whoever died when.

    `recorded`: in which order completions were, where it need not be the one of the effects.
    """
    everybody = await relatives(house, run_id)
    everyone = await house.store.runs(RunFilter(limit=None))
    assert {run.id for run in everybody} == {run.id for run in everyone}, "an orphan"
    assert all(run.wait_id is None for run in everybody if run.status in FINAL), "untold"
    assert house.shop.other_bytes == []
    applied = house.shop.applied[ORDER]
    assert len(applied) == len(set(applied)), f"done twice: {applied}"
    done = [name for name in applied if not name.endswith(".undo")]
    if recorded is not None:
        assert sorted(recorded) == sorted(done)
        done = recorded
    undone = [name.removesuffix(".undo") for name in applied if name.endswith(".undo")]
    root = everybody[0]
    if root.status is RunStatus.SUCCEEDED:
        assert undone == []
    if root.status is RunStatus.COMPENSATED:
        assert undone == done[::-1], applied
    for run in everybody:
        waits = await house.store.waits_of(run.id)
        if run.status in FINAL:
            assert all(not wait.is_open for wait in waits), "it waits although it has ended"
        audit = await house.store.audit(run.id)
        assert [record.seq for record in audit] == list(range(1, len(audit) + 1))
    look = Consistency(house.store, Auditing(house.store).verify_run, again_seconds=0.0)
    assert (await look.look(most=50)).found == []


async def deaths(
    empty: Path,
    folder: Callable[[], Path],
    stride: int,
    begin: Callable[[House], Awaitable[str]],
) -> AsyncIterator[tuple[House, RunRecord]]:
    """A run, settled, whose process has died at its 1st point, at its 1st + `stride`th, and so on.

    Each in a house of its own, a copy of the file `empty`, until there is no further point: those
    of its relatives count like its own.
    """
    nth = 1 - stride
    hit = True
    while hit:
        nth += stride
        copy = folder() / "o.db"
        shutil.copy(empty, copy)
        house = House(f"sqlite:///{copy}")
        run_id = await begin(house)
        with dying_at(_is_nth(nth)) as reached:
            run = await settled(house, run_id)
        yield house, run
        await house.close()
        hit = bool(reached)
    assert nth > 30, "so many points there are at least"


def _is_nth(wanted: int) -> Callable[[Reached], bool]:
    seen = itertools.count(1)
    return lambda reached: next(seen) == wanted
