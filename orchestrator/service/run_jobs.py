"""Acts on many runs, as kinds of jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.joining import MOVABLE
from orchestrator.core.states import FINAL, SETTLED, RunStatus
from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.ports import JobItem, JobRecord, RunFilter, Which
from orchestrator.service.jobs import Aftermath, JobKind, require_arguments
from orchestrator.service.moving import Migration, Moving
from orchestrator.service.pausing import Pausing, Scope
from orchestrator.service.rerunning import Rerun, Rerunning
from orchestrator.service.runs import Runs

GOING = frozenset(RunStatus) - SETTLED

Act = Callable[[JobRecord, str], Awaitable[Aftermath]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunJob:
    """Implements JobKind: one act on each run."""

    does: Act
    among: frozenset[RunStatus]  # those that can be acted on so
    takes: Mapping[str, type]  # arguments
    needed: Sequence[str] = ()

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises InvalidInput for what the act cannot be told, and for what it lacks."""
        require_arguments(arguments, self.takes, needed=self.needed)
        if "mode" in arguments and arguments["mode"] not in set(CancelMode):
            wanted = "one of " + ", ".join(CancelMode)
            problem = Problem(place="argument mode", found=repr(arguments["mode"]), wanted=wanted)
            raise InvalidInput("the act cannot be told this", problems=[problem])

    def chosen(self, which: Which) -> RunFilter:
        """All that fit, in the statuses in which the act makes sense."""
        assert isinstance(which, RunFilter), which
        status = self.among if which.status is None else which.status & self.among
        return replace(which, status=status, before=None, limit=None)

    async def act(self, job: JobRecord, item: str) -> Aftermath:
        """Act on it. Raises Conflict, InvalidInput, JobHeld, NotFound."""
        return await self.does(job, item)


def run_jobs(
    runs: Runs, pausing: Pausing, rerunning: Rerunning, moving: Moving
) -> Mapping[str, JobKind]:
    """The kinds, by their names: `runs.cancel` and so on."""

    async def cancel(job: JobRecord, run_id: str) -> Aftermath:
        wake = await runs.wish_end(
            run_id, mode=CancelMode(job.arguments.get("mode", CancelMode.UNDO)), reason=job.reason,
            by=job.by, item=_item(job, run_id, "cancel asked for"),
        )  # fmt: skip
        return Aftermath(wake=wake)

    async def pause(job: JobRecord, run_id: str) -> Aftermath:
        await pausing.pause(
            Scope(run_id=run_id), by=job.by, reason=job.reason, item=_item(job, run_id, "paused"),
            also_undoing=job.arguments.get("also_undoing", False),
            seconds=job.arguments.get("seconds"),
        )  # fmt: skip
        return Aftermath()

    async def resume(job: JobRecord, run_id: str) -> Aftermath:
        item = _item(job, run_id, "its pause is over")
        await pausing.resume_run(run_id, by=job.by, reason=job.reason, item=item)
        return Aftermath()

    async def rerun(job: JobRecord, run_id: str) -> Aftermath:
        wish = Rerun(
            run_id=run_id, step=job.arguments["step"], by=job.by, reason=job.reason,
            version=job.arguments.get("version"),
            repeat_effects=job.arguments.get("repeat_effects", False),
        )  # fmt: skip
        accepted = await rerunning.rerun(wish, job_id=job.id)
        if accepted.repeated:
            raise _run_again_already(run_id, accepted.run_id)
        return Aftermath()

    async def migrate(job: JobRecord, run_id: str) -> Aftermath:
        wish = Migration(to=job.arguments["version"], step=job.arguments.get("step"))
        item = _item(job, run_id, f"goes on by version {wish.to}")
        wake = await moving.move(run_id, wish, by=job.by, reason=job.reason, item=item)
        return Aftermath(wake=wake)

    return {
        "runs.cancel": RunJob(does=cancel, among=GOING, takes={"mode": str}),
        "runs.pause": RunJob(
            does=pause, among=GOING - {RunStatus.PAUSED},
            takes={"also_undoing": bool, "seconds": float},
        ),
        "runs.resume": RunJob(does=resume, among=frozenset({RunStatus.PAUSED}), takes={}),
        "runs.rerun": RunJob(
            does=rerun, among=frozenset(FINAL), needed=("step",),
            takes={"step": str, "version": int, "repeat_effects": bool},
        ),
        "runs.migrate": RunJob(
            does=migrate, among=MOVABLE, needed=("version",), takes={"version": int, "step": str},
        ),
    }  # fmt: skip


def _item(job: JobRecord, run_id: str, outcome: str) -> JobItem:
    return JobItem(job_id=job.id, item=run_id, outcome=outcome)


def _run_again_already(old: str, new: str) -> Conflict:
    problem = Problem(
        place=f"run {old}", found=f"taken over by run {new}", wanted="a run that is not"
    )
    return Conflict("it was run again already", problems=[problem])
