"""Blast radius: what is counted over groups equals what is seen run by run, by brute force."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.plan import Call, Compensation, Effects, OnCancel, Plan, PlanStep
from orchestrator.core.saga import Perform, Saga, Verify, Wait, stuck
from orchestrator.core.states import FINAL, Direction, LinkStatus, RunStatus
from orchestrator.definitions.children import child_call
from orchestrator.errors import IllegalTransition
from orchestrator.ports import (
    LinkWrite,
    NewEscalation,
    NewRerun,
    NewRun,
    RunFilter,
    RunRecord,
    RunWrite,
    StepRecord,
)
from orchestrator.service.impact import KEPT_SECONDS, Counts, Impact, Impacts
from orchestrator.store import SqlStore, open_store
from tests.store.making import ME, new_id, new_run, plan, registered

APIS = ("shop", "bank", "mail")
HOUR = 3600.0
RUNS = 300
F, B = Direction.FORWARD, Direction.BACKWARD


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """A store on a fresh database."""
    opened = open_store(url, pool_size=2)
    yield opened
    await opened.close()


# --- random plans and runs ------------------------------------------------------------------------


def call(rng: random.Random, name: str, effects: Effects | None = None) -> Call:
    chosen = effects or rng.choice(list(Effects))
    verify = None
    if chosen is Effects.UNKEYED and rng.random() < 0.5:
        verify = call(rng, f"{name}?", Effects.NONE)
    return Call(label=name, api=rng.choice(APIS), effects=chosen, template={}, verify=verify)


def some_plan(rng: random.Random, name: str) -> Plan:
    pivot = rng.choice([None, None, *range(5)])
    steps: list[PlanStep] = []
    for at in range(rng.randint(2, 5)):
        forward = call(rng, f"{name}.s{at}")
        undo = None
        if rng.random() < 0.7 and (pivot is None or at < pivot):
            cases = [call(rng, f"{name}.u{at}", Effects.KEYED) for _ in range(rng.randint(1, 2))]
            undo = Compensation(call=cases[0], otherwise=tuple(cases[1:]))
        undoes = (steps[0].id,) if steps and steps[0].compensation and rng.random() < 0.5 else ()
        steps.append(
            PlanStep(id=f"s{at}", call=forward, compensation=undo, pivot=at == pivot, undoes=undoes)
        )
    return Plan(workflow=name, steps=tuple(steps), digest=name, jumps=rng.random() < 0.3)


def event(rng: random.Random, saga: Saga, command: Any) -> e.Event:
    """Something that may happen to it now."""
    if isinstance(command, Perform):
        if saga.link(command.step, command.direction).status is not LinkStatus.STARTED:
            return e.Began()
        moves = ()
        if saga.plan.jumps and command.direction is F and rng.random() < 0.4:
            follows = min(command.step + 1, len(saga.plan.steps) - 1)
            to = rng.choice([follows, rng.randrange(len(saga.plan.steps))])
            moves = (e.Move(to=to, limit=None, via=None, after_seconds=None),)
        if rng.random() < 0.05 and command.direction is F:
            return e.Landed(accepted=False, reason="odd")
        if rng.random() < (0.6 if moves else 0.9):
            return e.Landed(moves=moves)
        return rng.choice([e.NotLanded(reason="no", moves=moves), e.InDoubt(reason="?")])
    if isinstance(command, Verify):
        return rng.choice([e.Landed(), e.NotLanded(reason="no")])
    if saga.status is RunStatus.ESCALATED:
        return rng.choice([e.Retried(), e.Resolved(landed=True), e.Skipped()])
    return e.Resumed()


def some_saga(rng: random.Random, saga: Saga, now: datetime) -> Saga:
    """The saga after a few events, not ended."""
    command: Any = None
    for _ in range(rng.randint(0, 16)):
        now += timedelta(seconds=60 if isinstance(command, Wait) else 0)
        try:
            happens = event(rng, saga, command)
            decision = decide(saga, happens, now)
        except IllegalTransition:
            continue
        if decision.saga.status in FINAL:
            return saga
        saga = decision.saga
        command = command if isinstance(happens, e.Began) else decision.command
    if rng.random() < 0.2:
        try:
            saga = decide(saga, e.Parked(until=now + timedelta(hours=1)), now).saga
        except IllegalTransition:
            return saga
    return saga


def links_of(saga: Saga) -> tuple[LinkWrite, ...]:
    return tuple(
        LinkWrite(step=at, direction=direction, link=saga.link(at, direction))
        for at in range(len(saga.steps)) for direction in Direction
        if saga.link(at, direction).status is not LinkStatus.PENDING
    )  # fmt: skip


numbers = count(1)


async def filled(store: SqlStore, rng: random.Random, *, odd: str) -> None:
    """Runs that stand anywhere, as their workers record it; of two tenants, one oddly named."""
    await registered(store, ME)
    versions = [
        (await store.publish(some_plan(rng, f"w{at}"), document="", by="ada"))[0]
        for at in range(12)
    ]
    plans: dict[str, Plan] = {}
    fresh: list[NewRun] = []
    for _ in range(RUNS):
        version = rng.choice(versions)
        run = new_run(
            version, tenant=rng.choice(["acme", odd]),
            deadline_seconds=rng.choice([None, 600.0, 100_000.0]),
        )  # fmt: skip
        plans[run.id] = version.plan
        if rng.random() < 0.1 and version.plan.pivot_index is None:
            await accept_rerun(store, rng, run, version.plan)
        else:
            fresh.append(run)
    await store.accept(fresh)
    taken_up = [(run_id, 0) for run_id in plans if rng.random() < 0.85]
    now = await store.now()
    await store.record([
        write(some_saga(rng, found.saga(plans[found.run.id]), now), found.run.id,
              release=rng.random() < 0.5)
        for found in await store.claim(taken_up, owner=ME)
    ])  # fmt: skip


async def accept_rerun(store: SqlStore, rng: random.Random, run: NewRun, plan: Plan) -> None:
    """It stands after some steps that another run did, whose they are to undo."""
    old = msgspec.structs.replace(run, id=new_id(), idempotency_key=new_id())
    await store.accept([old])
    (claimed,) = await store.claim([(old.id, 0)], owner=ME)
    ended = replace(claimed.saga(plan), status=RunStatus.ABANDONED)
    await store.record([write(ended, old.id, release=True)])
    saga = replace(Saga.new(plan), status=RunStatus.RUNNING)
    for at in range(rng.randrange(len(plan.steps))):
        landed = saga.link(at, F).moved(LinkStatus.LANDED, doubt=False, sequence=at + 1)
        unneeded = saga.link(at, B).moved(LinkStatus.NOT_NEEDED, doubt=False)
        saga = saga.with_link(at, F, landed).with_link(at, B, unneeded)
    await store.accept_rerun(
        NewRerun(
            run=run, of=old.id, step="s0", by="ada", reason="again", saga=saga,
            links=links_of(saga),
        )
    )  # fmt: skip


def write(saga: Saga, run_id: str, *, release: bool) -> RunWrite:
    at = stuck(saga)
    escalation = None
    if saga.status is RunStatus.ESCALATED:
        escalation = NewEscalation(
            id=new_id(), reason="in_doubt", detail="", step=None if at is None else at[0],
            direction=saga.direction, context={},
        )  # fmt: skip
    return RunWrite(
        run_id=run_id, owner=ME, epoch=1, saga=saga, number=next(numbers), links=links_of(saga),
        release=release, escalation=escalation,
    )  # fmt: skip


# --- brute force, from each run's own records -----------------------------------------------------


def needs(made: Call | None, api: str) -> bool:
    return made is not None and api in {made.api, *([made.verify.api] if made.verify else [])}


def brute(plan: Plan, run: Any, steps: tuple[StepRecord, ...], api: str, until: datetime) -> Counts:
    """One run's counts, said again in other words."""
    by_id = {step.id: step for step in plan.steps}
    of = [by_id[step.step_id] for step in steps]
    done = {"landed", "resolved", "not_needed", "skipped", "handled"}
    forward = [str(step.forward.link.status) for step in steps]
    undone = [str(step.undo.link.status) for step in steps]
    happened = [at for at, status in enumerate(forward) if status in {"landed", "resolved"}]
    goes_forward = run.direction == "forward"
    to_undo = [at for at in happened if undone[at] not in done]
    to_undo.sort(key=lambda at: -(steps[at].forward.link.sequence or 0))
    todo = [at for at, status in enumerate(forward) if status not in done]

    def undo_needs(at: int) -> bool:
        undo = of[at].compensation
        return undo is not None and any(needs(each, api) for each in (undo.call, *undo.otherwise))

    if goes_forward:
        here = bool(todo) and needs(of[todo[0]].call, api)
    else:
        here = bool(to_undo) and undo_needs(to_undo[0])
    ahead = goes_forward and bool(todo) and any(
        needs(of[at].call, api) for at in range(todo[0] + 1, len(of))
    )  # fmt: skip
    past_pivot = any(of[at].pivot for at in happened)
    undo = any(undo_needs(at) for at in to_undo) and not (goes_forward and past_pivot)
    stuck_forward = goes_forward and (here or ahead)
    late = run.deadline_at is not None and run.deadline_at <= until
    turning = stuck_forward and late and not past_pivot
    return Counts(
        affected=here or ahead or undo, blocked=here, ahead=ahead, undo=undo,
        parked=here and run.status == "parked",
        past=any(needs(of[at].call, api) for at in happened),
        waiting=stuck_forward and not late, turning_back=turning,
        escalating=stuck_forward and late and past_pivot,
        undo_waiting=undo and (turning or not goes_forward),
    )  # fmt: skip


def add(sums: Counts, more: Counts) -> None:
    for name, number in asdict(more).items():
        sums.add([name], number)


async def unfinished(store: SqlStore) -> list[tuple[Plan, RunRecord, tuple[StepRecord, ...]]]:
    return [
        ((await store.workflow_by_id(run.workflow_id)).plan, run, await store.steps(run.id))
        for run in await store.runs(RunFilter(limit=10_000)) if run.status not in FINAL
    ]  # fmt: skip


def by_brute_force(runs: Any, api: str, at: datetime) -> dict[str, Any]:
    sums: dict[str, Counts] = {"total": Counts()}
    for its_plan, run, steps in runs:
        counts = brute(its_plan, run, steps, api, at + timedelta(seconds=HOUR))
        if counts.affected or counts.past:
            for name in ("total", f"workflow {run.workflow}", f"tenant {run.tenant}"):
                add(sums.setdefault(name, Counts()), counts)
    return {name: asdict(each) for name, each in sums.items()}


def told(found: Impact) -> Iterator[tuple[str, Any]]:
    yield "total", asdict(found.total)
    for kind, by in (("workflow", found.by_workflow), ("tenant", found.by_tenant)):
        for name, counts in by.items():
            yield f"{kind} {name}", asdict(counts)


@pytest.mark.parametrize(("seed", "odd"), [(1, 'zoo, "east"\x1f'), (2, "\x1ezoo\x1eacme")])
async def test_groups_say_the_same_as_each_run_by_itself(
    store: SqlStore, seed: int, odd: str
) -> None:
    await filled(store, random.Random(seed), odd=odd)
    runs, impacts, seen = await unfinished(store), Impacts(store, None), Counts()
    for api in APIS:
        found = await impacts.of(api, outage_seconds=HOUR)
        assert found.active == len(runs)
        assert dict(told(found)) == by_brute_force(runs, api, found.at)
        add(seen, found.total)
    assert all(asdict(seen).values()), seen


async def test_who_asks_again_at_once_is_told_of_the_same_moment(store: SqlStore) -> None:
    now = [100.0]
    impacts = Impacts(store, None, monotonic=lambda: now[0])
    version = (await store.publish(plan("order"), document="", by="ada"))[0]
    await store.accept([new_run(version)])
    first = await impacts.of("shop")
    await store.accept([new_run(version)])
    assert (await impacts.of("shop")).at == first.at
    assert (await impacts.of("shop", outage_seconds=60)).active == 2
    now[0] += KEPT_SECONDS
    assert (await impacts.of("shop")).total.affected == 2


async def test_what_runs_are_going_to_begin_counts_with_them(store: SqlStore) -> None:
    child = replace(plan("payment", steps=1), digest="p")
    child = replace(child, steps=tuple(
        replace(step, call=replace(step.call, api="bank")) for step in child.steps
    ))  # fmt: skip
    await store.publish(child, document="", by="ada")
    begins = child_call("pay", child, {}, on_cancel=OnCancel.CANCEL)
    parent = replace(
        plan("order", steps=2), digest="o", children=True,
        steps=(*plan("order", steps=2).steps, PlanStep(id="pay", call=begins)),
    )  # fmt: skip
    version = (await store.publish(parent, document="", by="ada"))[0]
    await store.accept([new_run(version)])
    found = (await Impacts(store, None).of("bank")).total
    assert (found.ahead, found.blocked, found.affected) == (1, 0, 1)
