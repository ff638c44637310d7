"""Look at runs and cancel them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import datetime

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.plan import Call, Plan
from orchestrator.core.saga import Saga, undo_order
from orchestrator.core.states import FINAL, SETTLED, Direction, LinkStatus, RunStatus
from orchestrator.definitions.blocks import is_block
from orchestrator.definitions.maps import is_map, is_undo_of_map
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict, NotFound, Problem
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    ClaimedRun,
    EscalationRecord,
    Flow,
    JobItem,
    LinkRecord,
    Pause,
    Redelivery,
    RunFilter,
    RunRecord,
    StepRecord,
    Store,
)
from orchestrator.ports.maps import MapRecord
from orchestrator.service.privacy import Privacy, Veil
from orchestrator.service.redelivery import Redeliverer
from orchestrator.telemetry import redact

MOST_CHILDREN = 100
"""That are shown of one run."""
MOST_RERUNS = 100
"""Of one run, that are shown with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainLink:
    """One link as a person reads it: forward steps first, then the undos in their order."""

    step: int  # position in the run's chain
    step_id: str
    iteration: int  # how many visits of the same step come before
    version: int | None = None  # of the workflow, of a run that was moved; None: the run's
    label: str
    direction: Direction
    kind: str  # "http", "task", "wait", "local"; with the compensation's kind for an undo
    pivot: bool
    record: LinkRecord
    attempts: tuple[AttemptRecord, ...]
    sequence: int | None  # place in the run's order of completion
    passed_by: bool = False  # the run has turned back, or ended, and never comes here

    @property
    def standing(self) -> str:
        """Its status, in people's words: not all that is pending is still to come."""
        link = self.record.link
        if link.status is not LinkStatus.PENDING:
            return link.status.value.replace("_", " ")
        # Who began runs is in doubt until these have ended.
        if self.record.started_at is None and not link.doubt:
            return "not reached" if self.passed_by else "pending"
        return (
            "waiting" if self.kind.split(",")[0] in {"wait", "child", "block", "map"} else "pending"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemView:
    """An item of a map, with its run."""

    index: int  # from 0
    outcome: ItemOutcome
    run: RunRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOutline:
    """A run with its chain: what who follows it wants to know, by two statements."""

    run: RunRecord
    plan: Plan
    forward: tuple[ChainLink, ...]
    backward: tuple[ChainLink, ...]  # links that were, are or would be undone, in order


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView(RunOutline):
    """A run with its chain, attempts, audit and escalations."""

    audit: tuple[AuditRecord, ...]
    escalations: tuple[EscalationRecord, ...]
    now: datetime  # the database's, to show ages
    stopped_by: Pause | None = None  # the pause that lets it begin nothing now
    reruns: tuple[RunRecord, ...] = ()  # those that took over what it did, newest first
    children: tuple[RunRecord, ...] = ()  # those that its steps began, newest first
    maps: tuple[MapRecord, ...] = ()  # of its steps, oldest first; their items are read by page
    attributes: Mapping[str, str] = field(default_factory=dict)  # by which it is looked up
    code: str | None = None  # the function that no worker has had for it yet, for which it waits

    @property
    def alias(self) -> str:
        """The alias that led to its version; empty: none did."""
        return alias_told(self.audit)


class Runs:
    """Runs, for people and programs, without what is secret in them."""

    def __init__(
        self,
        store: Store,
        programs: Programs,
        redeliverer: Redeliverer,
    ) -> None:
        self._store, self._programs = store, programs
        self._privacy = Privacy(programs)
        self._redeliverer = redeliverer

    async def list(self, which: RunFilter) -> list[RunRecord]:
        """A page, newest first."""
        return [await self._privacy.run(each) for each in await self._store.runs(which)]

    async def attributes(self, run_ids: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        """By name, of those of the runs that have some."""
        return await self._store.attributes(run_ids)

    async def count_by_status(self, *, since: datetime | None = None) -> dict[RunStatus, int]:
        """How many runs are in each status; of final ones those accepted since then."""
        return await self._store.count_by_status(since=since)

    async def flow(self, *, seconds: float) -> Flow:
        """How many were accepted, and how many settled, in the last seconds."""
        return await self._store.flow(seconds=seconds)

    async def now(self) -> datetime:
        """The database's clock."""
        return await self._store.now()

    async def get(self, run_id: str) -> RunRecord:
        """The run's row. Raises NotFound."""
        return await self._privacy.run(await self._store.run(run_id))

    async def audit(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> Sequence[AuditRecord]:
        """What happened to it: records with a seq above `after`, oldest first."""
        rules = redact.rules()
        found = await self._store.audit(run_id, after=after, limit=limit)
        return [replace(each, data=rules.value(each.data)) for each in found]

    async def outline(self, run_id: str) -> RunOutline:
        """A run and how far it has come, its links without attempts. Raises NotFound."""
        run = await self._store.run(run_id)
        program = await self._programs.get(run.workflow_id)
        steps = await self._store.steps(run.id)
        veil = Veil(program.secrets, run, steps)
        saga = ClaimedRun(run=run, steps=steps).saga(program.plan)
        forward, backward = _chain(saga, steps, [], veil)
        return RunOutline(run=veil.run(run), plan=program.plan, forward=forward, backward=backward)

    async def show(self, run_id: str) -> RunView:
        """Everything about one run. Raises NotFound."""
        run = await self._store.run(run_id)
        program = await self._programs.get(run.workflow_id)
        plan, steps = program.plan, await self._store.steps(run.id)
        veil = Veil(program.secrets, run, steps)
        attempts = [veil.attempt(each) for each in await self._store.attempts(run.id)]
        saga = ClaimedRun(run=run, steps=steps).saga(plan)
        forward, backward = _chain(saga, steps, attempts, veil)
        return RunView(
            run=veil.run(run),
            plan=plan,
            forward=forward,
            backward=backward,
            audit=tuple([veil.audit(each) for each in await self._store.audit(run.id)]),
            escalations=tuple(
                [veil.escalation(each) for each in await self._store.escalations_of(run.id)]
            ),
            now=await self._store.now(),
            stopped_by=await self._stopping(run, saga),
            reruns=await self._reruns(run),
            children=await self.children(run.id),
            maps=await self.maps(run.id),
            attributes=(await self._store.attributes([run.id])).get(run.id, {}),
            code=await self._code(run),
        )

    async def _code(self, run: RunRecord) -> str | None:
        parked = run.status is RunStatus.PARKED
        return await self._store.code_wanted(run.id) if parked else None

    async def alias(self, run_id: str) -> str:
        """The alias that led to its version, as its first record says; empty: none did."""
        return alias_told(await self._store.audit(run_id, limit=1))

    async def children(self, run_id: str) -> tuple[RunRecord, ...]:
        """Those that its steps began, newest first; the newest alone, where there are very many."""
        return tuple(await self.list(RunFilter(parent=run_id, limit=MOST_CHILDREN)))

    async def maps(self, run_id: str) -> tuple[MapRecord, ...]:
        """The maps over data of its steps, oldest first, those that undo others among them."""
        rules = redact.rules()
        return tuple(
            replace(each, counts=changed(each.counts, stopped=rules.text(each.counts.stopped)))
            for each in await self._store.maps_of(run_id)
        )

    async def items(
        self, run_id: str, *, step: str | None = None, outcome: ItemOutcome | None = None,
        after: int = -1, limit: int = 100,
    ) -> Sequence[ItemView]:  # fmt: skip
        """Items of a step's map that have begun, by index; those after one of them.

        Without a step those of the run's only map. Raises NotFound.
        """
        run = await self._store.run(run_id)
        found = _the_map(run.id, await self._store.maps_of(run.id), step)
        page = await self._store.map_items(found.id, outcome=outcome, after=after, limit=limit)
        ids = tuple(each.run_id for each in page)
        runs = {each.id: each for each in await self.list(RunFilter(ids=ids, limit=None))}
        return [
            ItemView(index=each.index, outcome=each.outcome, run=runs[each.run_id])
            for each in page if each.run_id in runs  # which may have been deleted since
        ]  # fmt: skip

    async def _reruns(self, run: RunRecord) -> tuple[RunRecord, ...]:
        if run.status not in FINAL:
            return ()  # only what has ended is run again
        return tuple(await self._store.runs(RunFilter(rerun_of=run.id, limit=MOST_RERUNS)))

    async def _stopping(self, run: RunRecord, saga: Saga) -> Pause | None:
        if run.status in SETTLED:
            return None
        undoing = saga.direction is Direction.BACKWARD or saga.cancel is not None
        stopping = (
            pause for pause in await self._store.pauses()
            if pause.stops(
                run_id=run.id, workflow=run.workflow, tenant=run.tenant, undoing=undoing,
                whole_id=run.whole_id,
            )
        )  # fmt: skip
        return next(stopping, None)

    async def cancel(
        self,
        run_id: str,
        *,
        mode: CancelMode = CancelMode.UNDO,
        reason: str,
        by: str,
        seen: RunRecord | None = None,
    ) -> RunRecord:
        """Ask for the end of a run; with `seen` only if nothing has happened to it since.

        Raises Conflict when it is settled or past its pivot.
        """
        redelivery = await self.wish_end(run_id, mode=mode, reason=reason, by=by, seen=seen)
        if redelivery is not None:
            await self._redeliverer.publish([redelivery])
        return await self.get(run_id)

    async def wish_end(
        self,
        run_id: str,
        *,
        mode: CancelMode,
        reason: str,
        by: str,
        item: JobItem | None = None,
        seen: RunRecord | None = None,
    ) -> Redelivery | None:
        """Write the wish to cancel in the table alone, for a job if one is given.

        The wake-up, if one is answered, is the caller's; a sweep sees to it otherwise. Raises
        Conflict, JobHeld, NotFound.
        """
        run = await self._store.run(run_id)
        plan = (await self._programs.get(run.workflow_id)).plan
        saga = ClaimedRun(run=run, steps=await self._store.steps(run.id)).saga(plan)
        if saga.past_pivot:
            raise Conflict(
                "the run can no longer be cancelled",
                problems=[
                    Problem(
                        place=f"run {run.id}", found="its pivot has landed",
                        wanted="a run before its pivot: after it, a run only goes forward",
                    )
                ],
            )  # fmt: skip
        return await self._store.request_cancel(
            run.id, mode=mode, reason=reason, by=by, item=item, seen=seen
        )


def _the_map(run_id: str, maps: Sequence[MapRecord], step: str | None) -> MapRecord:
    """The latest of a step; without one the steps must leave no choice."""
    done = {each.step_id: each for each in maps if each.undoes is None}
    if step is None and len(done) == 1:
        return next(iter(done.values()))
    if step is None or step not in done:
        known = ", ".join(done) or "it has none"
        wanted = f"a step that is a map over data: {known}"
        problem = Problem(place=f"run {run_id}", found=f"step {step or '(none)'}", wanted=wanted)
        raise NotFound("nobody knows which items are meant", problems=[problem])
    return done[step]


def _chain(
    saga: Saga, steps: Sequence[StepRecord], attempts: list[AttemptRecord], veil: Veil
) -> tuple[tuple[ChainLink, ...], tuple[ChainLink, ...]]:
    """(forward links, undos in their order)."""
    order = undo_order(saga) if saga.direction is Direction.BACKWARD else []
    undos = [step for step in order if saga.has_call(step, Direction.BACKWARD)]
    forward = (
        _link(saga, step, i, Direction.FORWARD, attempts, veil) for i, step in enumerate(steps)
    )
    backward = (_link(saga, steps[i], i, Direction.BACKWARD, attempts, veil) for i in undos)
    return tuple(forward), tuple(backward)


def _kind(call: Call) -> str:
    if call.is_local:
        return "local"
    if call.is_child:
        if is_map(call) or is_undo_of_map(call):
            return "map"
        return "block" if is_block(call) else "child"
    if call.is_wait:
        return "wait"
    return "task" if call.task_name else "http"


def _link(
    saga: Saga,
    step: StepRecord,
    index: int,
    direction: Direction,
    attempts: list[AttemptRecord],
    veil: Veil,
) -> ChainLink:
    plan_step = saga.plan_step(index)
    forward = direction is Direction.FORWARD
    record = veil.link(step.step_id, step.forward if forward else step.undo)
    compensation = plan_step.compensation
    call = plan_step.call if forward or compensation is None else compensation.call
    kind = _kind(call)
    if not forward and compensation is not None:
        kind = f"{kind}, {compensation.kind}"
    return ChainLink(
        step=index,
        step_id=plan_step.id,
        iteration=step.iteration,
        version=step.version,
        label=call.label,
        direction=direction,
        kind=kind,
        pivot=plan_step.pivot,
        record=record,
        attempts=tuple(a for a in attempts if a.step == index and a.direction is direction),
        sequence=record.link.sequence,
        passed_by=saga.status in FINAL or (forward and saga.direction is Direction.BACKWARD),
    )


def alias_told(audit: Sequence[AuditRecord]) -> str:
    """What the first record says of the alias that led to the run's version."""
    found = audit[0].data.get("alias") if audit else None
    return found if isinstance(found, str) else ""
