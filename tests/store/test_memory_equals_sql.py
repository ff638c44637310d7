"""Any history of calls leaves the same in memory as in SQL, and is answered alike.

SQLite stands for SQL: its clock can be set. The suite itself holds PostgreSQL to the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.saga import Saga, StepState
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.errors import RefusedError
from orchestrator.ports import (
    Asks,
    Awaiting,
    ClaimedRun,
    Decision,
    EscalationFilter,
    NewPause,
    NewRun,
    NewSignal,
    NewWait,
    Pause,
    RunFilter,
    RunWrite,
    SignalReceipt,
    Store,
    WorkflowVersion,
)
from orchestrator.ports.surveys import Survey, SurveyTimes
from orchestrator.store import codec, open_store
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.store.making import AT, attempt, audit, begun, escalation, landed, plan, worker
from tests.sweeps import so_many, sweep

WORKERS = ("w0", "w1", "w2")
STATUSES = sorted(set(RunStatus) - {RunStatus.PENDING})  # nothing goes back to it


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call; the numbers choose what it is about."""

    what: str
    a: int
    b: int
    c: int
    flags: int
    seconds: float  # that pass before


SIGNALS = ("paid", "sent")
OFTEN = ["accept", "claim", "claim", "record", "record", "record", "record"]
RARE = [
    "cancel", "cancel", "cancel", "heartbeat", "register", "deregister", "recover", "due", "lost",
    "take letter", "return letter", "act", "act", "batch", "ask", "ask", "ask", "ask",
    "signal", "signal", "decide", "decide", "pause", "pause", "end pause", "hold paused",
    "hold paused", "release paused",
]  # fmt: skip
small = st.integers(0, 7)
steps = st.builds(
    Step,
    what=st.sampled_from(OFTEN * 2 + RARE),
    a=small,
    b=small,
    c=st.integers(0, 63),
    flags=st.integers(0, 1023),
    seconds=st.sampled_from([0.000001, 0.5, 2.0, 7.25]),
)


class Clock:
    """Of both databases."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def micros(self) -> int:
        """As SQLite's statements take it."""
        return codec.micros(self.now)


@dataclass(kw_only=True)
class World:
    """Both stores, and what the callers remember."""

    stores: tuple[Store, Store]
    versions: tuple[WorkflowVersion, WorkflowVersion]
    clock: Clock
    runs: list[str] = field(default_factory=list)
    held: dict[str, ClaimedRun] = field(default_factory=dict)  # as last claimed
    sequences: dict[str, int] = field(default_factory=dict)
    letters: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    kinds: dict[tuple[str, int], Asks] = field(default_factory=dict)  # by run and step
    pauses: list[str] = field(default_factory=list)
    made: int = 0

    def new_id(self) -> str:
        """Not in order of age, so that nobody relies on it."""
        self.made += 1
        return f"{self.made * 7919 % 65536:08x}-0000-7000-8000-{self.made:012x}"

    async def both(self, call: Callable[[Store, WorkflowVersion], Awaitable[Any]]) -> Any:
        """The same call on both; the memory's answer, after a comparison."""
        answers = [
            await _answer(call(store, version))
            for store, version in zip(self.stores, self.versions, strict=True)
        ]
        sql, memory = (_comparable(answer) for answer in answers)
        assert memory == sql
        return answers[1]


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except RefusedError as refused:
        return type(refused), str(refused)


def _comparable(answer: Any) -> Any:
    """Without ids of versions, which each store draws; lists whose order nobody promises sorted."""
    if isinstance(answer, list):
        return sorted((_comparable(each) for each in answer), key=repr)
    if isinstance(answer, tuple):
        return tuple(_comparable(each) for each in answer)
    if isinstance(answer, ClaimedRun):
        return replace(answer, run=_comparable(answer.run))
    if isinstance(answer, SignalReceipt):
        return replace(answer, redelivery=_comparable(answer.redelivery))
    if hasattr(answer, "workflow_id"):
        return replace(answer, workflow_id="")
    return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moves only when the test says so."""
    made = Clock()
    monkeypatch.setattr("orchestrator.store.engine._microseconds", made.micros)
    return made


@sweep
@pytest.mark.timeout(400)  # shrinking takes its time
@settings(
    max_examples=so_many(10, whole=25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(steps, min_size=25, max_size=60))
def test_any_history(
    history: list[Step], clock: Clock, sqlite_template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "both.db"
    for each in tmp_path.glob("both.db*"):
        each.unlink() if each.is_file() else shutil.rmtree(each)
    shutil.copy(sqlite_template, path)
    asyncio.run(_play(f"sqlite:///{path}", clock, history))


async def _play(url: str, clock: Clock, history: Sequence[Step]) -> None:
    stores = (open_store(url), MemoryStore(MemoryDatabase(clock)))
    versions = [(await each.publish(plan(), document="", by="ada"))[0] for each in stores]
    world = World(stores=stores, versions=(versions[0], versions[1]), clock=clock)
    try:
        for name in WORKERS:
            for store in stores:
                await store.register(worker(name))
        for step in history:
            clock.now += timedelta(seconds=step.seconds)
            await CALLS[step.what](world, step)
            await _compare_lists(world)
        await _compare_all(world)
    finally:
        await stores[0].close()


async def _compare_lists(world: World) -> None:
    await world.both(lambda store, _: store.runs(RunFilter(limit=100)))
    await world.both(lambda store, _: store.queue_counts())
    assert await world.stores[1].queue_counts() == await world.stores[0].queue_counts()  # ordered
    await world.both(lambda store, _: store.escalations(EscalationFilter(open_only=False)))
    await world.both(lambda store, _: store.workers())
    await world.both(lambda store, _: store.pauses(active_only=False))
    await world.both(lambda store, _: store.approvals(open_only=False))


async def _compare_all(world: World) -> None:
    for run_id in world.runs:
        for name in ("steps", "attempts", "audit", "escalations_of", "waits_of", "signals_of"):
            sql, memory = [await getattr(store, name)(run_id) for store in world.stores]
            assert memory == sql
    for name in ("open_unclaimed", "count_by_status"):
        sql, memory = [await getattr(store, name)() for store in world.stores]
        assert memory == sql


# --- calls ----------------------------------------------------------------------------------------


async def accept(world: World, step: Step) -> None:
    run_id = world.new_id()
    changes: dict[str, Any] = {
        "tenant": ("a", "b")[step.a % 2], "idempotency_key": str(step.c % 16),
        "inputs_digest": str(step.b % 2), "lane": ("default", "fast")[step.flags % 2],
        "deadline_seconds": (None, 90.5)[step.a // 4],
    }  # fmt: skip

    def new(version: WorkflowVersion) -> NewRun:
        return NewRun(
            id=run_id, workflow_id=version.id, workflow="order", version=1,
            inputs={"n": step.a}, **changes,
        )  # fmt: skip

    answer = await world.both(lambda store, version: store.accept([new(version)]))
    if isinstance(answer, list) and not answer[0].repeated:
        world.runs.append(run_id)
        world.sequences[run_id] = 1


def _run(world: World, number: int) -> str:
    return world.runs[number % len(world.runs)] if world.runs else "no such run"


async def claim(world: World, step: Step) -> None:
    run_ids = [_run(world, step.a), _run(world, step.b)]
    hints = []
    for run_id in run_ids:
        row = _memory(world).database.runs.get(run_id)
        off = (0, 0, 0, 1, -1)[step.c % 5]
        hints.append((run_id, off + (0 if row is None else row.epoch)))
    owner = WORKERS[step.flags % 3]
    for run in await world.both(lambda store, _: store.claim(hints, owner=owner)):
        world.held[run.run.id] = run
        world.sequences[run.run.id] = run.run.audit_seq


async def record(world: World, step: Step) -> None:
    write = _write(world, step)
    if write is not None:
        await world.both(lambda store, _: store.record([write]))
        if step.flags & 512:  # its answer was lost
            await world.both(lambda store, _: store.record([write]))


async def batch(world: World, step: Step) -> None:
    others = dataclasses.replace(step, a=step.a + 1, flags=step.flags ^ 255)
    made = [_write(world, each) for each in (step, others, step)]
    writes = [each for each in made if each is not None]
    answers = [await store.record(writes) for store in world.stores]
    assert answers[1] == answers[0]


def _write(world: World, step: Step) -> RunWrite | None:
    if not world.held:
        return None
    run = list(world.held.values())[step.a % len(world.held)]
    flags = [bool(step.flags >> bit & 1) for bit in range(9)]
    saga = _saga(world, run, step)
    write = RunWrite(
        run_id=run.run.id, owner=run.run.owner or "", epoch=run.run.epoch - (step.b == 7),
        saga=saga, progressed=flags[0], release=flags[1], hinted=flags[1] and flags[2],
        refuses_cancel=flags[3], outputs={"n": step.c} if flags[4] else None,
    )  # fmt: skip
    link = (begun if flags[5] else landed)(step.b % 3, Direction.BACKWARD if flags[6] else
                                           Direction.FORWARD)  # fmt: skip
    if step.b == 5:
        link = replace(link, request=None, outputs=None, error="e\x00", started_at=None)
    seq = world.sequences[run.run.id] = world.sequences[run.run.id] + 1
    made = replace(attempt(number=step.c), id=world.new_id(), started_at=AT)
    opened = replace(escalation(step.b % 3), id=world.new_id())
    if saga.status is RunStatus.ESCALATED or flags[7]:
        world.letters.append(opened.id)
        write = replace(write, escalation=opened)
    return replace(
        write, number=seq - 3 * (step.c % 4 == 0),  # some come late
        links=(link,) if flags[8] else (), attempts=(made,),
        audit=(audit(seq, n=step.c),) if step.b != 6 else (),
    )  # fmt: skip


def _saga(world: World, run: ClaimedRun, step: Step) -> Saga:
    status = STATUSES[step.c % len(STATUSES)]
    wake = timedelta(seconds=(-1, 0, 3, 60)[step.b % 4])
    saga = dataclasses.replace(
        run.saga(plan()), status=status, cause=f"c{step.c}\x00",
        direction=(Direction.FORWARD, Direction.BACKWARD)[step.a % 2],
        wake_at=world.clock.now + wake if step.a % 5 else None,
        cancel=CancelMode.UNDO if step.flags % 7 == 0 else None,
    )  # fmt: skip
    done = step.b % 4
    link = dataclasses.replace(landed().link, status=LinkStatus.LANDED)
    states = [
        StepState(forward=dataclasses.replace(link, sequence=n + 1)) if n < done else state
        for n, state in enumerate(saga.steps)
    ]
    return dataclasses.replace(saga, steps=tuple(states))


async def cancel(world: World, step: Step) -> None:
    run_id, mode = _run(world, step.a), sorted(CancelMode)[step.b % 2]
    await world.both(
        lambda store, _: store.request_cancel(run_id, mode=mode, reason=f"r{step.c}", by="ada\x00")
    )


async def register(world: World, step: Step) -> None:
    await world.both(lambda store, _: store.register(worker(WORKERS[step.a % 3])))


async def heartbeat(world: World, step: Step) -> None:
    name = WORKERS[step.a % 3]
    await world.both(lambda store, _: store.heartbeat(name, active_runs=step.b, reserved=step.c))


async def deregister(world: World, step: Step) -> None:
    await world.both(lambda store, _: store.deregister(WORKERS[step.a % 3]))


async def recover(world: World, step: Step) -> None:
    also = [name for n, name in enumerate(WORKERS) if step.c >> n & 1 and step.b % 2]
    await world.both(
        lambda store, _: store.recover_dead(
            dead_after_seconds=(3.0, 1000.0)[step.b // 4], also_dead=also,
            limit=(1, 500)[step.a % 2],
        )
    )  # fmt: skip


async def due(world: World, step: Step) -> None:
    await world.both(lambda store, _: store.take_due())


async def recall(world: World, step: Step) -> None:
    wanted = [*world.runs[step.a % 3 :: 2], "no such run"]
    await world.both(lambda store, _: store.recall(wanted))


async def lost(world: World, step: Step) -> None:
    seconds = (-1.0, 4.0)[step.a % 2]
    await world.both(lambda store, _: store.take_lost(silent_seconds=seconds, limit=100))


def _letter(world: World, step: Step) -> str:
    return world.letters[step.a % len(world.letters)] if world.letters else "no such letter"


async def take_letter(world: World, step: Step) -> None:
    letter = _letter(world, step)
    await world.both(lambda store, _: store.claim_escalation(letter, by=f"p{step.b}"))


async def return_letter(world: World, step: Step) -> None:
    letter = _letter(world, step)
    await world.both(lambda store, _: store.release_escalation(letter, by=f"p{step.b}"))


async def act(world: World, step: Step) -> None:
    letter = _letter(world, step)
    read = await world.both(lambda store, _: store.escalated_run(letter))
    if not isinstance(read[0], type):
        run: ClaimedRun = read[1]
        expected = run.run.epoch - (step.b == 7)
        write = RunWrite(
            run_id=run.run.id, owner="", epoch=run.run.epoch + 1, saga=_saga(world, run, step),
            audit=(audit(run.run.audit_seq + 1),), hinted=bool(step.flags & 1),
            progressed=bool(step.flags & 2), links=(landed(step.b % 3, Direction.BACKWARD),),
        )  # fmt: skip
        if step.flags & 4:
            opened = replace(escalation(), id=world.new_id())
            world.letters.append(opened.id)
            write = replace(write, escalation=opened)
        await world.both(
            lambda store, _: store.act(
                letter, write, expected_epoch=expected, resolution="retried", by="p", reason="r"
            )
        )


async def ask(world: World, step: Step) -> None:
    """A run has one open wait for each name at most, as it has one step at a time."""
    write = _write(world, step)
    if write is None:
        return
    number = step.b % 2
    kind = Asks.SLEEP if step.flags % 3 == 0 else Asks.APPROVAL if step.flags & 1 else Asks.SIGNAL
    # A step that is asked for again asks for what it asked before.
    kind = world.kinds.setdefault((write.run_id, number), kind)
    again = world.clock.now + timedelta(seconds=30)  # nobody sleeps without an end
    sleeping = dataclasses.replace(
        write.saga, status=RunStatus.WAITING, direction=Direction.FORWARD, cancel=None,
        wake_at=again,
    )  # fmt: skip
    write = replace(write, saga=sleeping, release=True, escalation=None)
    expires = timedelta(seconds=(-1.0, 3.0, 60.0)[step.a % 3])
    wait = NewWait(
        id=world.new_id(), run_id=write.run_id, step=number, attempt=1, step_id=f"s{number}",
        asks=kind, signal=SIGNALS[number] if kind is Asks.SIGNAL else None,
        asked={"message": "pay?"},
        expires_at=None if step.c % 3 == 0 else world.clock.now + expires,
        remind_seconds=2.0 if step.c % 2 else None,
    )  # fmt: skip
    world.waits.append(wait.id)
    await world.both(lambda store, _: store.await_answers([Awaiting(wait=wait, write=write)]))
    look = [Awaiting(wait=wait, write=None)]
    await world.both(lambda store, _: store.await_answers(look))


async def signal(world: World, step: Step) -> None:
    new = NewSignal(
        run_id=_run(world, step.a), name=SIGNALS[step.b % 2], key=str(step.c % 4),
        data={"n": step.flags % 2}, by="bank\x00", via="rest",
    )  # fmt: skip
    await world.both(lambda store, _: store.send_signal(new))


async def decide(world: World, step: Step) -> None:
    wait_id = world.waits[-1 - step.a % min(len(world.waits), 2)] if world.waits else "no such wait"
    decision = sorted(Decision)[step.b % 2]
    await world.both(
        lambda store, _: store.decide(
            wait_id, decision, by=f"p{step.c % 2}", via="link", reason="r", data={"n": step.c}
        )
    )


async def pause(world: World, step: Step) -> None:
    run_id = _run(world, step.a) if step.b % 2 else None
    new = NewPause(
        id=world.new_id(), by="cleo\x00", reason="to see", run_id=run_id,
        workflow="order" if run_id is None and step.c % 2 else None,
        tenant=(None, "a", "b")[step.c % 3] if run_id is None else None,
        also_undoing=bool(step.flags & 1), seconds=(None, 1.0, 5.0)[step.flags % 3],
    )  # fmt: skip
    made = await world.both(lambda store, _: store.pause(new))
    if isinstance(made, Pause):
        world.pauses.append(made.id)


async def end_pause(world: World, step: Step) -> None:
    pause_id = world.pauses[step.a % len(world.pauses)] if world.pauses else "no such pause"
    await world.both(lambda store, _: store.end_pause(pause_id, by="cleo", reason="over"))


async def hold_paused(world: World, step: Step) -> None:
    hints = [
        (run_id, _memory(world).database.runs[run_id].epoch - (step.c == 7))
        for run_id in dict.fromkeys((_run(world, step.a), _run(world, step.b)))
        if run_id in _memory(world).database.runs
    ]
    await world.both(lambda store, _: store.hold_paused(hints))


async def release_paused(world: World, _: Step) -> None:
    await world.both(lambda store, _: store.release_paused())


async def survey(world: World, _: Step) -> None:
    times = SurveyTimes(dead_after=6.0, lost_after=5.0, left_after=5.0)

    async def look(store: Store, _: object) -> Survey:
        found = await store.survey(times)
        assert found.workers is not None
        return replace(found, workers=tuple(sorted(found.workers)))

    await world.both(look)


def _memory(world: World) -> MemoryStore:
    store = world.stores[1]
    assert isinstance(store, MemoryStore)
    return store


CALLS: dict[str, Callable[[World, Step], Awaitable[None]]] = {
    "accept": accept, "claim": claim, "record": record, "batch": batch, "cancel": cancel,
    "register": register, "heartbeat": heartbeat, "deregister": deregister, "recover": recover,
    "due": due, "recall": recall, "lost": lost, "take letter": take_letter,
    "return letter": return_letter, "act": act, "ask": ask, "signal": signal, "decide": decide,
    "pause": pause, "end pause": end_pause, "hold paused": hold_paused,
    "release paused": release_paused, "survey": survey,
}  # fmt: skip
