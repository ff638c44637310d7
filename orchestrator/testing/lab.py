"""A deployment in one process, on virtual time, for tests of workflows.

    lab = Lab("config/workflows/order.arazzo.yaml")
    lab.answer("charge", 201, {"id": "ch_1"})
    lab.fail("order", Fault.REFUSED)
    run = lab.run(amount=500, item="book")
    assert_compensated_in_reverse(run)

Core, services and engine are the real ones, the database, the broker and the gate's memory are in
memory (they pass the suites of the real ones), and APIs answer as the test says or as their
documents do. Nothing waits: an hour of a run costs what happens in it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from datetime import datetime
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from orchestrator.core.plan import Plan
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.definitions.authoring import Workflow
from orchestrator.definitions.programs import Programs
from orchestrator.engine.apis import ApiConfig, load_apis
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.tasks import TaskTransport
from orchestrator.ports import Asks, RunRecord, Store, WaitRecord
from orchestrator.service.admission import Admission
from orchestrator.service.escalations import Escalations
from orchestrator.service.four_eyes import FourEyes
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.runs import Runs
from orchestrator.service.submitting import Submission, Submitter
from orchestrator.service.waiting import Waiting
from orchestrator.testing.api import ApiLink, TaskLink, World
from orchestrator.testing.coverage import Coverage
from orchestrator.testing.definitions import Source, read, unconfined
from orchestrator.testing.faults import Failing, Fault, Link, Way
from orchestrator.testing.ids import EPOCH, Ids, moment
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.memory.broker import MemoryBroker, MemoryDeadLetters, MemoryHints
from orchestrator.testing.memory.health import HealthServer, MemoryHealth
from orchestrator.testing.memory.limits import LimitServer, MemoryLimits
from orchestrator.testing.memory.locks import MemoryLocks
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from orchestrator.testing.people import People
from orchestrator.testing.played import Played
from orchestrator.testing.process import Surroundings
from orchestrator.testing.quiet import quiet
from orchestrator.testing.scripts import Answer, Reply, Script
from orchestrator.testing.worker import Place, Worker

T = TypeVar("T")
PATIENCE_SECONDS = 7 * 86400.0
LATEST_SECONDS = 100 * 366 * 86400.0
RESTARTED_AFTER_SECONDS = 1.0
LOOKS_EVERY_SECONDS = 0.1
LONG_SECONDS = 30.0
"""A run that sleeps longer is not watched: the time until it is due passes at once."""
_REDIS_BEGAN = 1e6  # its clock is nobody else's
_MAX_BYTES = 1_000_000
_OF_OTHERS = (Asks.SIGNAL, Asks.APPROVAL)
_OF_RUNS = (Asks.CHILD, Asks.BLOCK, Asks.MAP, Asks.UNDO)


class NotSettled(AssertionError):
    """A run has not come to its end, or to a wait for somebody, within the patience.

    What it sleeps by its workflow's own word does not count.
    """


class Lab(People):
    """One deployment with the workflows of a source. Not thread-safe; `close` it in the end.

    `tasks` names the modules with Python steps (none there: none are needed), `apis` a folder of
    API files, whose limits hold on virtual time. `coverage` counts what the runs went through.
    Raises InvalidDefinition with every problem of a document, NotFound, InvalidSetting.
    """

    def __init__(
        self,
        source: Source,
        *,
        tasks: Sequence[str] = ("tasks",),
        apis: str | Path | None = None,
        coverage: Coverage | None = None,
        seed: int = 0,
    ) -> None:
        found, registry = read(source, tasks)
        self.definitions = {each.name: each for each in found}
        self._main = source.name if isinstance(source, Workflow) else None
        self._tasks, self._seed, self._coverage = unconfined(registry), seed, coverage
        self._apis: Mapping[str, ApiConfig] = {} if apis is None else load_apis(Path(apis))
        self.script = Script()
        self._open()
        if coverage is not None:
            coverage.know(found)

    # --- what happens -----------------------------------------------------------------------------

    def answer(
        self, step: str, status: int | Reply = 200, body: Any = None, *more: Reply,
        headers: Mapping[str, str] | None = None, seconds: float = 0.01,
        undo: bool = False, verify: bool = False,
    ) -> None:  # fmt: skip
        """What the API answers to a step, its undo or its verification.

        Either one answer by its parts, or `Answer`s and functions of the request, one after the
        other; the last one counts from then on. For a Python function: its result. `seconds` of
        virtual time until it is there. Raises LookupError for a call that no workflow has.
        """
        first = status
        if isinstance(first, int):
            first = Answer(first, body, headers or {}, seconds)
        elif body is not None:
            more = (body, *more)
        self.script.reply(self._link(step, undo=undo, verify=verify), first, *more)

    def fail(
        self, step: str, fault: Fault, *, times: int | None = 1, undo: bool = False,
        verify: bool = False,
    ) -> None:  # fmt: skip
        """Let the next call go wrong, or the next `times` (None: all). Raises LookupError."""
        link = self._link(step, undo=undo, verify=verify)
        self.script.fail(Failing(link=link, fault=fault, times=times))

    def fail_as(self, *failing: Failing) -> None:
        """Let all of these happen, each with what leads to it. Raises LookupError."""
        for each in failing:
            way = each.link.way
            self.fail(
                each.link.step, each.fault, times=each.times, verify=way.is_verification,
                undo=way in (Way.UNDO, Way.VERIFY_UNDO),
            )  # fmt: skip
            if each.after is not None:
                self.fail_as(each.after)

    def _link(self, step: str, *, undo: bool, verify: bool) -> Link:
        link = Link(step, Way.of(undo=undo, verify=verify))
        known = {each for one in self.definitions.values() for each in one.links()}
        if link not in known:
            names = ", ".join(sorted(map(str, known)))
            raise LookupError(f"no workflow here calls {str(link)!r}; wanted one of: {names}")
        return link

    # --- runs -------------------------------------------------------------------------------------

    def run(self, workflow: str | None = None, /, **inputs: Any) -> Played:
        """Submit a run and wait until it has settled, or asks somebody.

        The name may be left out where there is one workflow. Raises InvalidInput, and NotSettled
        after a week of virtual time.
        """
        return self.go_on(self.submit(workflow, inputs))

    def submit(self, workflow: str | None, inputs: Mapping[str, Any], **more: Any) -> str:
        """Submit a run and leave it; its id. `more` as of `Submission`. Raises InvalidInput."""
        name = workflow or self._only_name()
        wish = Submission(workflow=name, inputs=inputs, actor="a test", **more)
        (accepted,) = self._play(self._submitter.submit([wish]))
        return accepted.run_id

    def go_on(self, run: str | Played, *, patience_seconds: float = PATIENCE_SECONDS) -> Played:
        """Wait until a run has settled, or asks somebody. Raises NotSettled."""
        run_id = run if isinstance(run, str) else run.id
        played = self._play(self._until_settled(run_id, patience_seconds))
        if self._coverage is not None:
            self._coverage.count(played)
        return played

    def advance(self, seconds: float) -> None:
        """Let so much virtual time pass, with all that comes due in it."""
        self._play(self._pass(self._loop.time() + seconds))

    def look(self, run: str | Played) -> Played:
        """A run as it stands."""
        return self._play(self._look(run if isinstance(run, str) else run.id))

    @property
    def now(self) -> datetime:
        """Virtual time, UTC."""
        return moment(self._loop.time())

    def close(self) -> None:
        """The end of the worker and of time. Safe to call twice."""
        if self._loop.is_closed():
            return
        with quiet(self._seed):
            self._worker.kill()
            for task in asyncio.all_tasks(self._loop):
                _end(task)
            self._loop.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    # --- inside -----------------------------------------------------------------------------------

    def _open(self) -> None:
        loop = self._loop = VirtualLoop(latest=LATEST_SECONDS, most_steps=10**12)
        self._new_id, self._chance = Ids(loop.time), random.Random(self._seed)  # noqa: S311 - spreads waits
        self._database = MemoryDatabase(lambda: moment(loop.time()))
        self._store = MemoryStore(self._database)
        self._broker = MemoryBroker(on_arrival=lambda queue: self._worker.wake())
        self._hints = MemoryHints(self._broker)
        self._limits = LimitServer(lambda: _REDIS_BEGAN + loop.time())
        self._health = HealthServer(lambda: _REDIS_BEGAN + loop.time())
        self.world = World(self.definitions, self.script, self._store, loop)
        programs = self._programs = _programs_of(self._store)
        self._submitter = Submitter(
            self._store, self._store, programs, self._hints, new_id=self._new_id,
            max_input_bytes=_MAX_BYTES,
            admission=Admission(
                self._store, max_pending_runs=10**6, max_pending_runs_per_tenant=None
            ),
        )  # fmt: skip
        redeliverer = Redeliverer(self._hints, programs)
        self._waiting = Waiting(
            self._store, redeliverer, max_data_bytes=_MAX_BYTES,
            four_eyes=FourEyes(None, programs, new_id=self._new_id),
        )  # fmt: skip
        self._runs = Runs(self._store, programs, redeliverer)
        self._escalations = Escalations(
            self._store, MemoryDeadLetters(self._broker), programs, redeliverer
        )
        self._workers = 0
        self._dead: list[Worker] = []  # kept until `close` ends what they were at
        self._start_worker()
        self._play(self._publish())

    async def _publish(self) -> None:
        for each in self.definitions.values():
            await self._store.publish(each.loaded.plan, document=each.loaded.document, by="a test")

    def _start_worker(self) -> None:
        self._workers += 1
        locks = MemoryLocks(self._database)
        place = Place(
            loop=self._loop, broker=self._broker, locks=locks, new_id=self._new_id,
            surroundings=lambda worker: self._surroundings(worker, locks),
        )  # fmt: skip
        self._worker = Worker(place, f"worker-{self._workers}")
        self._worker.start(self._worker.live(), name=self._worker.name)

    def _kill(self) -> None:
        """The worker dies, and its supervisor starts another one."""
        self._dead.append(self._worker)
        self._worker.kill()
        self._loop.call_later(
            RESTARTED_AFTER_SECONDS, self._start_worker, context=self._loop.nowhere
        )

    def _surroundings(self, worker: Worker, locks: MemoryLocks) -> Surroundings:
        time = self._loop.time
        limits = MemoryLimits(self._limits, holder_id=worker.name, monotonic=time)
        health = MemoryHealth(self._health, holder_id=worker.name)
        functions = TaskTransport(self._tasks, executor=_AtOnce())
        return Surroundings(
            store=self._store, locks=locks, hints=self._hints,
            letters=MemoryDeadLetters(self._broker), gate=SharedGate(limits, self._apis, health),
            http=ApiLink(self.world, self._kill),
            tasks=TaskLink(self.world, functions, self._kill), programs=_programs_of(self._store),
            monotonic=time, new_id=self._new_id, jitter=self._chance.random,
        )  # fmt: skip

    def _play(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the lab's loop. Raises what a test's own answers raise."""
        with quiet(self._seed) as errors:
            result = self._loop.run_until_complete(work)
        complaints = [repr(each.get("exception")) for each in self._loop.complaints]
        if errors or complaints:
            raise AssertionError("\n".join(["the engine failed:", *errors, *complaints]))
        return result

    async def _until_settled(self, run_id: str, patience_seconds: float) -> Played:
        until = self._loop.time() + patience_seconds
        while True:
            if self.world.failures:
                raise self.world.failures.pop(0)
            runs = await self._runs_from(run_id)
            waits = [wait for each in runs for wait in await self._waits(each)]
            if runs[0].status in SETTLED or _is_up_to_people(runs, waits):
                return await self._look(run_id)
            for each in waits:
                if each.asks is Asks.SLEEP and each.expires_at is not None:
                    until = max(until, _second(each.expires_at) + patience_seconds)
            if self._loop.time() >= until:
                told = await self._look(run_id)
                raise NotSettled(f"not settled after {patience_seconds:g} s of its time\n{told}")
            await self._sleep_until(min(max(self._due(), self._soon()), until))

    async def _runs_from(self, run_id: str) -> list[RunRecord]:
        """The run, and those below it that somebody waits for."""
        below, found = self._below(), [await self._store.run(run_id)]
        for each in found:
            children = [await self._store.run(known) for known in below.get(each.id, ())]
            found += [child for child in children if child.wait_id or child.map_id]
        return found

    def _below(self) -> Mapping[str, list[str]]:
        """Of each run that has begun others the ids of these, the first one first."""
        found: dict[str, list[str]] = {}
        for known, row in sorted(self._database.runs.items()):
            if row.parent_id is not None:
                found.setdefault(row.parent_id, []).append(known)
        return found

    async def _waits(self, run: RunRecord) -> list[WaitRecord]:
        """What it is asleep for."""
        if run.status is not RunStatus.WAITING or run.owner is not None:
            return []
        return [each for each in await self._store.waits_of(run.id) if each.is_open]

    async def _pass(self, until: float) -> None:
        while self._loop.time() < until:
            await self._sleep_until(min(max(self._due(), self._soon()), until))

    def _soon(self) -> float:
        return self._loop.time() + LOOKS_EVERY_SECONDS

    def _due(self) -> float:
        """When the next run has something to do; in the past where one has now."""
        due = inf
        for row in self._database.runs.values():
            if row.status not in SETTLED:
                sleeps = row.owner is None and row.wake_at is not None
                due = min(due, _second(row.wake_at) if sleeps else 0.0)
        return due

    async def _sleep_until(self, until: float) -> None:
        """Passes of the worker would cost time, real one: in a long sleep it stands still."""
        seconds = until - self._loop.time()
        if seconds <= LONG_SECONDS:
            await asyncio.sleep(max(seconds, 0.0))
            return
        self._worker.freeze()
        self._loop.pass_over(until)
        await asyncio.sleep(0)
        self._worker.thaw()

    async def _look(self, run_id: str, below: Mapping[str, Sequence[str]] | None = None) -> Played:
        store: Store = self._store
        run = await store.run(run_id)
        below = self._below() if below is None else below
        children = [await self._look(each, below) for each in below.get(run.id, ())]
        theirs = {run.id, *(one.id for child in children for one in child.runs)}
        until = run.settled_at or moment(self._loop.time())
        return Played(
            definition=self.definitions[run.workflow], record=run,
            steps=await store.steps(run.id), audit=await store.audit(run.id),
            escalations=await store.escalations_of(run.id), waits=await store.waits_of(run.id),
            sent=[each for each in self.world.sent if each.run_id in theirs],
            seconds=(until - run.created_at).total_seconds(), children=children,
        )  # fmt: skip

    def _only_name(self) -> str:
        if self._main is not None:
            return self._main
        if len(self.definitions) != 1:
            names = ", ".join(sorted(self.definitions))
            raise LookupError(f"which workflow is to run? wanted one of: {names}")
        return next(iter(self.definitions))


def _is_up_to_people(runs: Sequence[RunRecord], waits: Sequence[WaitRecord]) -> bool:
    """Whether somebody is asked, or has to settle something, and nothing else can go on."""
    asked = {each.run_id for each in waits if each.asks in _OF_OTHERS}
    waiting = {each.run_id for each in waits if each.asks in _OF_RUNS}
    here = {each.id for each in runs if each.id in asked or each.status is RunStatus.ESCALATED}
    going = [each for each in runs if each.status not in SETTLED and each.id not in here | waiting]
    return bool(here) and not going


def _end(task: asyncio.Task[Any]) -> None:
    """End what a killed process was at, here and now instead of whenever it is collected.

    It is in no state to be ended in good order, and what it complains of does not matter.
    """
    coroutine = task.get_coro()
    if isinstance(coroutine, Coroutine):
        with suppress(RuntimeError, ValueError):
            coroutine.close()


class _AtOnce(Executor):
    """Plain functions run in the one thread that there is."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Its result, or what it raised."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result raises it
            future.set_exception(error)
        return future


def _programs_of(store: MemoryStore) -> Programs:
    async def load(workflow_id: str) -> Plan:
        return (await store.workflow_by_id(workflow_id)).plan

    return Programs(load)


def _second(at: datetime | None) -> float:
    return 0.0 if at is None else (at - EPOCH).total_seconds()
