"""Values for the tests of the store."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import uuid_utils
from msgspec.structs import replace

from orchestrator.core.exchange import FrozenRequest, Outcome
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.saga import EscalationReason, Link, Saga
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    ClaimedRun,
    LinkWrite,
    NewEscalation,
    NewRun,
    RunWrite,
    Store,
    WorkerRecord,
    WorkflowVersion,
)
from orchestrator.ports.surveys import SurveyTimes

F, B = Direction.FORWARD, Direction.BACKWARD
ME, YOU = "worker-me", "worker-you"
AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


SURVEYED = SurveyTimes(dead_after=60, lost_after=60, left_after=0)


def new_id() -> str:
    return str(uuid_utils.uuid7())


def plan(name: str = "order", steps: int = 3, digest: str = "digest-1") -> Plan:
    return Plan(
        workflow=name,
        digest=digest,
        title="An order",
        inputs_schema={"type": "object"},
        outputs={"id": "$steps.s1.outputs.id"},
        steps=tuple(
            PlanStep(
                id=f"s{n}",
                call=Call(
                    label=f"{name}.s{n}", api="shop", effects=Effects.KEYED, template={"n": n}
                ),
                compensation=Compensation(
                    call=Call(
                        label=f"{name}.undo-s{n}", api="shop", effects=Effects.NONE, template={}
                    )
                ),
            )
            for n in range(1, steps + 1)
        ),
    )


async def published(store: Store, name: str = "order") -> WorkflowVersion:
    return (await store.publish(plan(name), document="doc", by="ada"))[0]


def new_run(version: WorkflowVersion, **changes: Any) -> NewRun:
    run_id = new_id()
    run = NewRun(
        id=run_id,
        workflow_id=version.id,
        workflow=version.workflow,
        version=version.version,
        inputs={"item": "book"},
        inputs_digest="inputs-1",
        idempotency_key=run_id,
    )
    return replace(run, **changes)


async def accepted(store: Store, count: int = 1, **changes: Any) -> list[NewRun]:
    version = await published(store)
    runs = [new_run(version, **changes) for _ in range(count)]
    await store.accept(runs)
    return runs


async def claimed(
    store: Store, count: int = 1, *, owner: str = ME, **changes: Any
) -> list[ClaimedRun]:
    """Fresh runs in the hands of `owner`, in order of their ids."""
    runs = await accepted(store, count, **changes)
    await registered(store, owner)
    taken = await store.claim([(run.id, 0) for run in runs], owner=owner)
    return sorted(taken, key=lambda each: each.run.id)


async def registered(store: Store, *ids: str) -> None:
    for worker_id in ids:
        await store.register(worker(worker_id))


def worker(worker_id: str) -> WorkerRecord:
    return WorkerRecord(
        id=worker_id, name=f"{worker_id}@host", pid=1, started_at=AT, heartbeat_at=AT,
        active_runs=0, reserved=0, version="0.1.0",
    )  # fmt: skip


def saga(run: ClaimedRun, **changes: Any) -> Saga:
    return dataclasses.replace(run.saga(plan()), **changes)


_numbers = count(1)


def write(run: ClaimedRun, **changes: Any) -> RunWrite:
    """A write that only says that the run is running; `status` and `wake_at` go to its saga.

    Each has a higher number than all before it.
    """
    about_saga = {
        name: changes.pop(name)
        for name in ("status", "direction", "wake_at", "cancel", "cause", "deadline_at")
        if name in changes
    }
    about_saga.setdefault("status", RunStatus.RUNNING)
    made = RunWrite(
        run_id=run.run.id,
        owner=run.run.owner or "",
        epoch=run.run.epoch,
        saga=saga(run, **about_saga),
        number=next(_numbers),
    )
    return replace(made, **changes)


def begun(step: int = 0, direction: Direction = F) -> LinkWrite:
    return LinkWrite(
        step=step, direction=direction, started_at=AT, request=request(),
        link=Link(status=LinkStatus.STARTED, attempts=1, first_started_at=AT),
    )  # fmt: skip


def landed(step: int = 0, direction: Direction = F, sequence: int = 1) -> LinkWrite:
    return LinkWrite(
        step=step, direction=direction, outputs={"id": "o-1"}, finished_at=AT,
        link=Link(
            status=LinkStatus.LANDED, attempts=1, first_started_at=AT, sequence=sequence
        ),
    )  # fmt: skip


def request() -> FrozenRequest:
    return FrozenRequest(
        method="PUT", target="/records/1?x=%20", headers=(("content-type", "application/json"),),
        body=b'{"a":"\xff"}', key="k" * 64,
    )  # fmt: skip


def attempt(step: int = 0, number: int = 1) -> AttemptRecord:
    return AttemptRecord(
        id=new_id(), step=step, direction=F, number=number, kind="call", outcome=Outcome.LANDED,
        reason="201 Created", status_code=201, started_at=AT, finished_at=AT, worker=ME,
    )  # fmt: skip


def audit(seq: int, kind: str = "step.begun", **data: Any) -> AuditRecord:
    return AuditRecord(seq=seq, at=AT, kind=kind, actor=ME, data=data)


def escalation(step: int | None = 1) -> NewEscalation:
    return NewEscalation(
        id=new_id(), reason=EscalationReason.COMPENSATION_FAILED, detail="412", step=step,
        direction=B, context={"undone": ["s2"]},
    )  # fmt: skip


async def escalated(store: Store, count: int = 1) -> list[tuple[str, ClaimedRun]]:
    """Escalation ids with the runs as they were claimed."""
    runs = await claimed(store, count)
    opened = [escalation() for _ in runs]
    await store.record(
        [
            write(run, status=RunStatus.ESCALATED, escalation=one, release=True, cause="412")
            for run, one in zip(runs, opened, strict=True)
        ]
    )
    return [(one.id, run) for one, run in zip(opened, runs, strict=True)]


async def waiting(
    store: Store, seconds: float, count: int = 1, *, status: RunStatus = RunStatus.WAITING
) -> list[ClaimedRun]:
    """Released runs that wait until `seconds` from the database's now (negative: it has come)."""
    runs = await claimed(store, count)
    until = await store.now() + timedelta(seconds=seconds)
    await store.record([write(run, status=status, wake_at=until, release=True) for run in runs])
    return runs


async def eventually(
    check: Callable[[], Awaitable[bool]], what: str, *, seconds: float = 10.0
) -> None:
    """Wait for a condition that somebody else brings about; fail when it does not come."""
    for _ in range(int(seconds / 0.02)):
        if await check():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def ids(found: Sequence[Any]) -> list[str]:
    """Run ids of records, claims or redeliveries, sorted."""
    return sorted(
        each.run.id if isinstance(each, ClaimedRun) else getattr(each, "run_id", None) or each.id
        for each in found
    )
